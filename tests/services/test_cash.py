"""Cash ties out to the cent: what explains it is recorded once, what nothing explains keeps the next session back."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.alpaca.bench import Bench, alpaca_account, alpaca_bench
from support.alpaca.server import Fault
from support.trading import ACCOUNT, ACTION, RICH, RUN, SESSION, Kit, order, trading_kit

from trading_pipeline.adapters.broker.matching import ExchangeCosts
from trading_pipeline.core.cash import CashBalance, CashComparison, ExpectedCash
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import DataQualityError, OperatorError, TieOutFailed, TieOutMissing, TransientError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.cash import compare_cash, record_cash
from trading_pipeline.services.equity import record_sessions, value_session
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.status import read_status
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.tie_out import accept_cash_difference, require_tied_out, tie_out

FIRST = xnys().next(SESSION)
SECOND = xnys().next(FIRST)
AFTER_THE_CLOSE = datetime(2023, 9, 5, 20, 30, tzinfo=UTC)
THE_NEXT_EVENING = datetime(2023, 9, 6, 20, 30, tzinfo=UTC)
ACTIVITIES = "/v2/account/activities"
CENT = Decimal("0.01")


def _begin(account: TradingAccount) -> None:
    assert tie_out(account, ACTION).agrees


def _buy(account: TradingAccount, bench: Bench, price: Decimal, *, qty: int = 10) -> None:
    sent = SubmissionService(account, RUN).submit(order("AAPL", qty=qty)).order
    bench.exchange.fill(sent.client_order_id, price=price)
    settle(account, SESSION)


def _entries(account: TradingAccount) -> list[tuple[str, Decimal]]:
    return [(row["kind"], row["amount"]) for row in account.ledger.cash.entries(account.account)]


def test_the_first_tie_out_records_where_the_cash_began_with_its_source(account: TradingAccount) -> None:
    """Sealed with who made it, and once."""
    _begin(account)
    _begin(account)
    (opening,) = account.ledger.cash.entries(ACCOUNT)
    assert ("opening", Decimal(1_000_000), "ada") == (opening["kind"], opening["amount"], opening["operator"])
    assert "cash of the Alpaca paper at its first tie-out, less all fills" == opening["reason"]
    assert account.ledger.seals.verify().sound


def test_an_account_that_traded_before_its_first_tie_out_began_with_what_fills_leave(
    account: TradingAccount, bench: Bench
) -> None:
    """What was posted until then is part of it, and no profit or loss of ours."""
    _buy(account, bench, Decimal("189.46"))
    bench.exchange.post("DIV", Decimal("7.77"), symbol="AAPL")
    _begin(account)
    assert [("opening", Decimal("1000007.77"))] == _entries(account)
    assert Decimal(0) == value_session(account, FIRST).dividends


def test_fills_of_whole_cents_fees_dividends_interest_and_a_deposit_tie_out_to_the_cent(
    account: TradingAccount, bench: Bench
) -> None:
    """And each reaches its own line of the profit and loss, the deposit none of it."""
    _begin(account)
    _buy(account, bench, Decimal("100.01"))
    bench.exchange.post("FEE", Decimal("-0.07"))
    bench.exchange.post("DIV", Decimal("12.34"), symbol="AAPL")
    bench.exchange.post("DIVNRA", Decimal("-1.85"), symbol="AAPL")
    bench.exchange.post("INT", Decimal("-3.21"))
    bench.exchange.post("CSD", Decimal(5_000))
    bench.waits.instant = AFTER_THE_CLOSE
    found = tie_out(account, ACTION)
    assert found.agrees, found.describe()
    assert found.cash is not None
    assert ("1004007.11", "1004007.11", "0.00") == tuple(
        found.cash[name] for name in ("expected", "broker", "difference")
    )
    pnl = value_session(account, FIRST)
    shown = (pnl.fees, pnl.dividends, pnl.interest, pnl.other, pnl.transfers)
    assert tuple(map(Decimal, ("0.07", "10.49", "-3.21", "0", "5000"))) == shown
    assert Decimal("-0.10") + Decimal("10.49") - Decimal("3.21") - Decimal("0.07") == pnl.change
    assert not SubmissionService(account, RUN).submit(order("MSFT", session=FIRST)).refused


def test_a_missing_cent_fails_the_tie_out_and_keeps_the_next_session_back_until_it_is_accepted(
    account: TradingAccount, bench: Bench
) -> None:
    """Named with both figures; accepted with a reason, by the amount that was named, and recorded."""
    _begin(account)
    _buy(account, bench, Decimal("100.01"))
    bench.exchange.cash -= CENT
    bench.waits.instant = AFTER_THE_CLOSE
    found = tie_out(account, ACTION)
    assert "cash: ledger 998999.90, broker 998999.89: -0.01 dollars are not explained" in found.describe()
    with pytest.raises(TieOutFailed, match=r"-0\.01 dollars are not explained"):
        SubmissionService(account, RUN).submit(order("MSFT", session=FIRST))
    assert not read_status(account).healthy
    assert not tie_out(account, ACTION).agrees

    (row,) = accept_cash_difference(account, ACTION)
    assert "-0.01" == row["accepted_dollars"]
    with pytest.raises(TieOutFailed):
        require_tied_out(account)
    assert tie_out(account, ACTION).agrees
    assert not SubmissionService(account, RUN).submit(order("MSFT", session=FIRST)).refused
    assert ("accepted", Decimal("-0.01")) == _entries(account)[-1]
    assert Decimal("-0.01") == value_session(account, FIRST).other
    assert "accept_cash" == account.ledger.books.history(ACCOUNT, 1)[0]["action"]
    assert account.ledger.seals.verify().sound


def test_a_difference_is_accepted_only_as_it_was_named(account: TradingAccount, bench: Bench) -> None:
    """Not another one, and not where there is none."""
    with pytest.raises(OperatorError, match="no difference of cash"):
        accept_cash_difference(account, ACTION)
    _begin(account)
    bench.exchange.cash -= 1
    assert not tie_out(account, ACTION).agrees
    bench.exchange.cash -= 100
    with pytest.raises(OperatorError, match=r"-101\.00 dollars are not explained now, and -1\.00 were"):
        accept_cash_difference(account, ACTION)
    bench.exchange.cash += 101
    with pytest.raises(OperatorError, match="the cash is explained"):
        accept_cash_difference(account, ACTION)
    assert [("opening", Decimal(1_000_000))] == _entries(account)


def test_a_fee_posted_the_next_day_is_dated_and_explained_and_no_session_fails(
    account: TradingAccount, bench: Bench
) -> None:
    """Its cash leaves with it; it counts for the session it is of."""
    _begin(account)
    _buy(account, bench, Decimal("100.01"))
    bench.waits.instant = AFTER_THE_CLOSE
    assert tie_out(account, ACTION).agrees
    assert [FIRST] == [one.session for one in record_sessions(account, [FIRST])]
    bench.waits.instant = THE_NEXT_EVENING
    bench.exchange.post("FEE", Decimal("-0.04"), day=FIRST)
    assert tie_out(account, ACTION).agrees
    (fee,) = account.ledger.cash.of_session(ACCOUNT, FIRST)
    assert ("FEE", "fee", Decimal("-0.04")) == (fee["type"], fee["kind"], fee["amount"])
    assert [(FIRST, Decimal("0.04")), (SECOND, Decimal(0))] == [
        (one.session, one.fees) for one in record_sessions(account, [SECOND])
    ]
    kept = account.ledger.fills.session_pnl(ACCOUNT)
    assert kept[-1]["equity"] - RICH == sum(row["change"] for row in kept) == Decimal("-0.14")
    assert [SECOND] == [one.session for one in record_sessions(account, [SECOND])]


def test_accrued_fees_that_left_the_cash_before_their_activity_are_explained_and_shown(
    account: TradingAccount, bench: Bench
) -> None:
    """Nothing is recorded of them until they are charged."""
    _begin(account)
    bench.exchange.accrue(Decimal("0.09"))
    bench.waits.instant = AFTER_THE_CLOSE
    found = tie_out(account, ACTION)
    assert found.agrees, found.describe()
    assert found.cash is not None
    assert ("0.09", "-0.09") == (found.cash["pending_fees"], found.cash["difference"])
    bench.waits.instant = THE_NEXT_EVENING
    bench.exchange.charge(day=FIRST)
    found = tie_out(account, ACTION)
    assert found.agrees, found.describe()
    assert [("opening", Decimal(1_000_000))] == _entries(account)


def test_accrued_fees_explain_only_themselves(account: TradingAccount, bench: Bench) -> None:
    """A cent beside them is a difference."""
    _begin(account)
    bench.exchange.accrue(Decimal("0.09"))
    bench.exchange.cash -= CENT
    assert not tie_out(account, ACTION).agrees


def test_an_activity_of_an_unknown_type_is_counted_named_and_waits_for_a_person(
    account: TradingAccount, bench: Bench
) -> None:
    """By its type and amount; one that moves no money is recorded and waits for nobody."""
    _begin(account)
    bench.exchange.post("SPLIT", None, symbol="AAPL")
    assert tie_out(account, ACTION).agrees
    bench.exchange.post("GIFT", Decimal("2.50"))
    found = tie_out(account, ACTION)
    assert 1 == len(found.differences)
    assert "moved 2.50 dollars and has a type that is not known, GIFT" in found.describe()
    assert [{"session": found.session.isoformat(), "accepted_dollars": "0"}] == [
        {name: row[name] for name in ("session", "accepted_dollars")} for row in accept_cash_difference(account, ACTION)
    ]
    assert tie_out(account, ACTION).agrees
    assert Decimal("2.50") == value_session(account, FIRST).other
    bench.exchange.post("GIFT", Decimal("0.01"))
    assert not tie_out(account, ACTION).agrees


def test_a_fraction_is_kept_and_its_rounding_recorded_so_that_it_never_adds_up(
    account: TradingAccount, bench: Bench
) -> None:
    """A fill that is no whole number of cents may be half a cent off; two cents beside it are not explained."""
    _begin(account)
    _buy(account, bench, Decimal("189.4612345"), qty=1)
    bench.waits.instant = AFTER_THE_CLOSE
    found = tie_out(account, ACTION)
    assert found.agrees, found.describe()
    assert {"AAPL": "1"} == found.positions
    assert [("opening", Decimal(1_000_000)), ("rounding", Decimal("0.0012345"))] == _entries(account)
    bench.exchange.cash -= CENT
    assert not tie_out(account, ACTION).agrees


def test_fractions_of_shares_are_kept_and_tie_out_with_the_cash_they_moved(
    account: TradingAccount, bench: Bench
) -> None:
    """All nine decimals of a share, long and then less of it."""
    _begin(account)
    sent = SubmissionService(account, RUN).submit(order("AAPL", qty=10)).order
    bench.exchange.fill(sent.client_order_id, qty=Decimal("2.123456789"), price=Decimal("189.46"))
    bench.exchange.close_session()
    settle(account, SESSION)
    bench.waits.instant = AFTER_THE_CLOSE
    found = tie_out(account, ACTION)
    assert found.agrees, found.describe()
    assert {"AAPL": "2.123456789"} == found.positions
    assert found.cash is not None
    assert ("-402.31012324394", "999597.69") == (found.cash["fills"], found.cash["broker"])
    bench.exchange.buy_elsewhere("AAPL", Decimal("0.000000001"))
    assert "2.12345679" in tie_out(account, ACTION).describe()


def test_a_crash_between_recording_a_rounding_and_sealing_the_answer_rounds_once(
    account: TradingAccount, bench: Bench, database_url: str
) -> None:
    """The next tie-out expects what was recorded."""
    _begin(account)
    _buy(account, bench, Decimal("189.4612345"), qty=1)
    with psycopg.connect(database_url) as connection:
        connection.execute("alter table ledger.tie_outs add constraint failing check (operator <> 'ada') not valid")
    with pytest.raises(psycopg.errors.CheckViolation):
        tie_out(account, ACTION)
    with psycopg.connect(database_url) as connection:
        connection.execute("alter table ledger.tie_outs drop constraint failing")
    assert tie_out(account, ACTION).agrees
    assert ["opening", "rounding"] == [kind for kind, _ in _entries(account)]


def test_an_activity_that_says_another_thing_than_it_did_is_named_with_the_difference(
    account: TradingAccount, bench: Bench
) -> None:
    """What was recorded stays as it was."""
    _begin(account)
    fee = bench.exchange.post("FEE", Decimal("-0.04"))
    assert tie_out(account, ACTION).agrees
    fee.amount = Decimal("-0.05")
    bench.exchange.cash -= CENT
    found = tie_out(account, ACTION)
    assert f"activity {fee.id} was FEE of -0.04 and is FEE of -0.05 now" in found.describe()
    assert Decimal("-0.04") == account.ledger.cash.of_session(ACCOUNT, FIRST)[0]["amount"]


def test_cash_that_nothing_moved_is_read_with_two_requests(account: TradingAccount, bench: Bench) -> None:
    """The balance, then the activities: none is new, so the balance holds what all of them moved."""
    bench.exchange.post("FEE", Decimal("-0.04"))
    _begin(account)
    bench.server.requests.clear()
    assert compare_cash(account, FIRST, ACTION).comparison.agrees
    assert ["/v2/account", ACTIVITIES, ACTIVITIES] == [one.path for one in bench.server.requests]
    assert "page_token" in bench.server.requests[-1].query


def test_an_activity_that_is_posted_while_the_cash_is_read_is_no_difference(
    account: TradingAccount, bench: Bench
) -> None:
    """The balance of before it is not compared: it is read again once the activity is recorded."""

    class Overtaken:
        """A broker that posts right after it told the balance."""

        def __getattr__(self, name: str) -> object:
            return getattr(account.broker, name)

        def cash(self) -> CashBalance:
            balance = account.broker.cash()
            if not looks:
                bench.exchange.post("DIV", Decimal("12.34"), symbol="AAPL")
            looks.append(balance.cash)
            return balance

    looks: list[Decimal] = []
    _begin(account)
    found = tie_out(replace(account, broker=Overtaken()), ACTION)  # type: ignore[arg-type]
    assert found.agrees, found.describe()
    assert Decimal("12.34") == looks[-1] - looks[0]


def test_what_a_crash_left_unrecorded_is_read_again_and_nothing_twice(account: TradingAccount, bench: Bench) -> None:
    """Between reading and recording; and pages that repeat rows change nothing."""
    _begin(account)
    for number in range(1, 231):
        bench.exchange.post("FEE", Decimal(-number) / 100)
    bench.server.plan_for("GET", ACTIVITIES, None, None, *[Fault(status=502)] * 3)
    with pytest.raises(TransientError):
        tie_out(account, ACTION)
    assert [] == account.ledger.cash.of_session(ACCOUNT, FIRST)
    bench.exchange.repeats_rows = 3
    assert tie_out(account, ACTION).agrees
    assert 230 == len(account.ledger.cash.of_session(ACCOUNT, FIRST))
    assert 0 == record_cash(account, FIRST)


def test_activities_are_recorded_all_or_none(account: TradingAccount, bench: Bench, database_url: str) -> None:
    """A database that fails in the middle leaves none, and the next look records them all."""
    _begin(account)
    bench.exchange.post("FEE", Decimal("-0.01"))
    bench.exchange.post("INT", Decimal("-0.02"))
    with psycopg.connect(database_url) as connection:
        connection.execute("alter table ledger.cash_activities add constraint failing check (type <> 'INT')")
    with pytest.raises(psycopg.errors.CheckViolation):
        record_cash(account, FIRST)
    assert [] == account.ledger.cash.of_session(ACCOUNT, FIRST)
    with psycopg.connect(database_url) as connection:
        connection.execute("alter table ledger.cash_activities drop constraint failing")
    assert 2 == record_cash(account, FIRST)


def test_activities_that_lag_behind_the_cash_fail_the_tie_out_until_they_show(
    account: TradingAccount, bench: Bench
) -> None:
    """It says what is not explained, and mends itself."""
    _begin(account)
    bench.exchange.lag("activities")
    bench.exchange.post("CSD", Decimal(250))
    assert "250.00 dollars are not explained" in tie_out(account, ACTION).describe()
    bench.exchange.catch_up()
    assert tie_out(account, ACTION).agrees


def test_cash_that_cannot_be_read_is_no_tie_out(account: TradingAccount, bench: Bench) -> None:
    """And a session without one keeps the next back."""
    _begin(account)
    _buy(account, bench, Decimal(100))
    bench.waits.instant = AFTER_THE_CLOSE
    bench.exchange.post("FEE", Decimal("NaN"), moves_cash=False)
    with pytest.raises(DataQualityError, match="an activity of Alpaca cannot be read"):
        tie_out(account, ACTION)
    with pytest.raises(TieOutMissing):
        require_tied_out(account)


def test_the_simulated_exchange_ties_out_with_its_costs_exactly(database_url: str, redis_url: str) -> None:
    """Its cash is what it began with, less executions and their fees."""
    costs = ExchangeCosts(
        slippage_bps=Decimal("3.7"), commission_per_share=Decimal("0.0035"), minimum_commission=Decimal("0.35")
    )
    with trading_kit(database_url, redis_url, costs=costs) as kit:
        _begin_simulated(kit)
        SubmissionService(kit.account, RUN).submit(order("AAPL", qty=7))
        SubmissionService(kit.account, RUN).submit(order("MSFT", qty=1_111))
        settle(kit.account, FIRST)
        found = tie_out(kit.account, ACTION)
        assert found.agrees, found.describe()
        assert found.cash is not None
        assert Decimal(0) == Decimal(found.cash["difference"])
        assert 0 < value_session(kit.account, FIRST).fees


def test_a_cent_that_the_simulated_exchange_is_short_of_is_found(kit: Kit, database_url: str) -> None:
    """The same tie-out as on a real broker."""
    _begin_simulated(kit)
    with psycopg.connect(database_url) as connection:
        connection.execute("update exchange.clocks set opening_cash = opening_cash - 0.01")
    assert "-0.01 dollars are not explained" in tie_out(kit.account, ACTION).describe()
    with pytest.raises(TieOutFailed):
        SubmissionService(kit.account, RUN).submit(order("MSFT"))


def _begin_simulated(kit: Kit) -> None:
    found = tie_out(kit.account, ACTION)
    assert found.agrees, found.describe()


_cents = st.integers(-500_000, 500_000).map(lambda number: Decimal(number) / 100)
_prices = st.decimals("1", "500", places=4)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("fill"), st.decimals("0.000001", "50", places=6), _prices, st.sampled_from(Side)),
        st.tuples(st.sampled_from(["FEE", "DIV", "INT", "CSD", "CSW", "JNLC"]), _cents),
        st.tuples(st.just("tie_out")),
    ),
    max_size=40,
)


@given(_steps, st.sampled_from([ROUND_HALF_UP, ROUND_HALF_EVEN, None]))
def test_however_a_broker_rounds_to_the_nearest_cent_its_cash_is_explained_and_two_cents_more_are_not(
    steps: list[tuple[Any, ...]], rounding: str | None
) -> None:
    """Each fill on its own, or only the figure it shows; rounding that was recorded is expected from then on."""
    broker, fills, activities, entries = [Decimal(1000)] + [Decimal(0)] * 3
    rounded = 0
    for step in [*steps, ("tie_out",)]:
        if step[0] == "fill":
            _, qty, price, side = step
            moved = -side.sign * qty * price
            fills += moved
            rounded += moved != moved.quantize(CENT)
            broker += moved if rounding is None else moved.quantize(CENT, rounding=rounding)
        elif step[0] == "tie_out":
            expected = ExpectedCash(
                opening=Decimal(1000), fills=fills, activities=activities, entries=entries, new_rounded_fills=rounded
            )
            shown = broker.quantize(CENT, rounding=rounding or ROUND_HALF_UP)
            found = CashComparison(expected=expected, broker=CashBalance(cash=shown))
            assert found.agrees
            beyond = expected.allowance * 2 + CENT
            off = CashComparison(expected=expected, broker=CashBalance(cash=shown + beyond))
            assert not off.agrees
            entries, rounded = entries + found.rounding, 0
        else:
            activities += step[1]
            broker += step[1]


@settings(
    deadline=None,
    max_examples=15,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("fill"), st.integers(1, 9), st.integers(1, 50_000).map(lambda n: Decimal(n) / 100)),
            st.tuples(st.sampled_from(["FEE", "DIV", "INT", "CSD", "CSW", "DIVNRA", "PTC", "JNLC"]), _cents),
            st.tuples(st.just("tie_out")),
        ),
        max_size=12,
    ),
    st.integers(-3, 3).map(lambda number: number * CENT),
)
def test_whatever_happened_in_whole_cents_the_tie_out_agrees_if_and_only_if_no_cent_is_missing(
    database_url: str, redis_url: str, steps: list[tuple[Any, ...]], missing: Decimal
) -> None:
    """On a real ledger against the server; profit and loss is what the cash says."""
    with alpaca_bench(redis_url) as bench:
        bench.counter.flushdb()
        _wipe(database_url)
        with alpaca_account(database_url, redis_url, bench) as account:
            _begin(account)
            for number, step in enumerate([*steps, ("tie_out",)]):
                if step[0] == "fill":
                    sent = SubmissionService(account, RUN).submit(order("AAPL", qty=step[1], repeat=number)).order
                    bench.exchange.fill(sent.client_order_id, price=step[2])
                    settle(account, SESSION)
                elif step[0] == "tie_out":
                    found = tie_out(account, ACTION)
                    assert found.agrees, found.describe()
                else:
                    bench.exchange.post(*step)
            bench.exchange.cash -= missing
            assert (missing == 0) == tie_out(account, ACTION).agrees


def _wipe(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("drop schema if exists ledger cascade; drop schema if exists exchange cascade")


def test_truncation_is_not_taken_for_rounding() -> None:
    """A broker that always keeps the rest of a cent is found out where two such rests are close to one."""
    moved = [Decimal("10.019")] * 2
    expected = ExpectedCash(
        opening=Decimal(0), fills=sum(moved, Decimal(0)), activities=Decimal(0), entries=Decimal(0), new_rounded_fills=2
    )
    kept = sum((one.quantize(CENT, rounding=ROUND_DOWN) for one in moved), Decimal(0))
    assert not CashComparison(expected=expected, broker=CashBalance(cash=kept)).agrees

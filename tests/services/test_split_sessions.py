"""A position held over its split, from the morning of it to the close of the last session: right to the cent."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.actions import act, locked_in_ledger_and_book, shares, trade
from support.alpaca.bench import Bench
from support.session_lake import decide
from support.trading import ACCOUNT, ACTION, RICH, SESSION, order, valuation

from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.core.orders.model import ReferencePrice, TimeInForce
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.limits import LimitChange, RiskLimits
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import TieOutFailed
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.actions import OPERATOR_VERBS, OperatorContext
from trading_pipeline.services.arguments import Arguments
from trading_pipeline.services.equity import record_sessions
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.reconciliation import accept_external, reconcile
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.tie_out import accept_cash_difference

BOUGHT = xnys().next(SESSION)
SPLIT = xnys().next(BOUGHT)
AFTER = xnys().next(SPLIT)
SOLD = xnys().next(AFTER)
MSFT = 330.25


@dataclass
class Market:
    """A lake, an exchange and an account whose closes are one thing."""

    lake: Lake
    bench: Bench
    account: TradingAccount
    closes: dict[date, dict[str, float]]

    def decide(self, session: date, closes: dict[str, float], **wanted: int) -> None:
        """Let a session close, and shares be wanted of it."""
        self.closes[session] = closes
        decide(self.lake, session, closes, wanted)

    def open(self, session: date, prices: dict[str, str]) -> None:
        """Move to the morning of a session, in which these prices will be paid."""
        self.bench.waits.instant = datetime.combine(session, time(12), tzinfo=UTC)
        self.bench.exchange.prices |= {symbol: Decimal(price) for symbol, price in prices.items()}

    def trade(self, session: date) -> dict[str, Decimal]:
        """Send what is decided from a session and fill it; return what was executed, buys positive."""
        before = len(self.bench.exchange.books.fills)
        trade(self.account, self.lake, session)
        self.bench.waits.instant = datetime.combine(xnys().next(session), time(14), tzinfo=UTC)
        self.bench.exchange.fill_all()
        new = self.bench.exchange.books.fills[before:]
        reconcile(self.account, ACTION)
        return {one.symbol: one.qty if one.side == "buy" else -one.qty for one in new}

    def close(self, session: date) -> dict[str, Any]:
        """End a session as its schedule does, and return what it says."""
        self.bench.waits.instant = datetime.combine(session, time(21), tzinfo=UTC)
        (row,) = OPERATOR_VERBS["close_session"].act(
            OperatorContext.of(self.account, self.lake, RiskLimits(), Arguments()), ACTION
        )
        assert session.isoformat() == row["session"]
        return row

    def change(self, session: date) -> Decimal:
        """Value and record a session; return what it gained."""
        *_, valued = record_sessions(self.account, [session])
        return valued.change


@pytest.fixture
def market(tmp_path: Path, bench: Bench, account: TradingAccount) -> Market:
    """Ten shares at 100 dollars, of which a hundred may be held, an order for eight more at 90 that stays, a close."""
    closes: dict[date, dict[str, float]] = {}

    def quotes(session: date, symbols: Collection[str]) -> dict[str, ReferencePrice]:
        newest = max(one for one in closes if one <= session)
        as_of = xnys().close_at(newest)
        return {
            symbol: ReferencePrice(price=Decimal(str(price)), source="close:test", as_of=as_of)
            for symbol, price in closes[newest].items()
            if symbol in symbols
        }

    account = replace(account, valuation=replace(valuation(), quotes=quotes))
    made = Market(Lake(tmp_path), bench, account, closes)
    bench.exchange.prices |= {"AAPL": Decimal(100)}
    RiskOperations(account).change_risk_limits(
        [LimitChange(limit="max_position_shares", value=100, symbol="AAPL")], ACTION
    )
    made.decide(SESSION, {"AAPL": 100.0, "MSFT": MSFT}, AAPL=10)
    assert {"AAPL": Decimal(10)} == made.trade(SESSION)
    waiting = order("AAPL", qty=8, limit_price=Decimal(90))
    waiting = replace(waiting, intent=replace(waiting.intent, time_in_force=TimeInForce.GTC))
    assert not SubmissionService(account, Provenance(run_id="person")).submit(waiting).refused
    made.decide(BOUGHT, {"AAPL": 110.0, "MSFT": MSFT}, AAPL=20, MSFT=5)
    assert "tied out" in made.close(BOUGHT)["tie_out"]
    assert Decimal(100) == made.change(BOUGHT)
    return made


def _own_limit(account: TradingAccount) -> int | None:
    book = account.guard.snapshot()
    assert book is not None
    limits = {
        side.effective(datetime(2023, 9, 8, tzinfo=UTC), "AAPL").max_position_shares
        for side in (account.ledger.books.get(ACCOUNT).limit_set, book.limit_set)
    }
    (one,) = limits
    return one


@pytest.mark.parametrize("late", [False, True])
def test_a_forward_split_from_the_morning_to_the_sale(market: Market, bench: Bench, *, late: bool) -> None:
    """Whether the broker has booked it before the orders or only the next night; others trade all the while."""
    account = market.account
    act(market.lake, kind="split", ratio=4.0, ex_date=SPLIT)
    market.open(SPLIT, {"AAPL": "27.5"})
    if not late:
        bench.exchange.restate("AAPL", "40")
    assert {"MSFT": Decimal(5)} == market.trade(BOUGHT), "the target of AAPL was sized before"
    (row,) = account.ledger.restatements.all(ACCOUNT)
    assert ("10", "100.0000000000") == (row["before"]["AAPL"]["shares"], row["before"]["AAPL"]["average_price"])
    assert ("40", "25.0000000000") == (row["after"]["AAPL"]["shares"], row["after"]["AAPL"]["average_price"])
    (withdrawn,) = row["orders"]
    stored = account.ledger.orders.get(withdrawn["client_order_id"])
    assert stored is not None
    assert (OrderState.CANCELED, "canceled") == (stored.state, bench.exchange.order(stored.client_order_id).status)
    assert 400 == _own_limit(account)
    assert {"AAPL": Decimal(40), "MSFT": Decimal(5)} == shares(account)
    assert ({"AAPL"} if late else set()) == locked_in_ledger_and_book(account)

    market.decide(SPLIT, {"AAPL": 28.0, "MSFT": 331.0}, AAPL=60, MSFT=5)
    assert ("but for AAPL" in market.close(SPLIT)["tie_out"]) is late
    assert Decimal("23.75") == market.change(SPLIT), "40 * 28 - 10 * 110 and 5 * 0.75"
    if late:
        bench.exchange.restate("AAPL", "40")
        reconcile(account, ACTION)
    market.open(AFTER, {"AAPL": "27.5"})
    assert {"AAPL": Decimal(20)} == market.trade(SPLIT), "60 wanted, 40 held"
    market.decide(AFTER, {"AAPL": 29.0, "MSFT": 331.0}, AAPL=0, MSFT=5)
    assert "but for" not in market.close(AFTER)["tie_out"]
    assert Decimal(70) == market.change(AFTER), "40 * (29 - 28) + 20 * (29 - 27.5)"

    market.open(SOLD, {"AAPL": "30"})
    assert {"AAPL": Decimal(-60)} == market.trade(AFTER)
    market.decide(SOLD, {"AAPL": 30.0, "MSFT": 331.0})
    market.close(SOLD)
    assert Decimal(60) == market.change(SOLD)
    (apple,) = account.ledger.query("select realised from ledger.positions where symbol = 'AAPL'")
    assert Decimal(250) == apple["realised"], "1,800 for what cost 1,000 and 550"
    _tied_out_to_the_cent(account, bench)


def test_a_reverse_split_whose_fraction_is_paid_in_cash(market: Market, bench: Bench) -> None:
    """2.5 shares: the broker holds 2 and pays the half share at its price. Two words of a person, and all is exact."""
    account = market.account
    act(market.lake, kind="reverse_split", ratio=0.25, ex_date=SPLIT)
    market.open(SPLIT, {"AAPL": "440"})
    bench.exchange.restate("AAPL", "2")
    assert {"MSFT": Decimal(5)} == market.trade(BOUGHT)
    assert {"AAPL": Decimal("2.5"), "MSFT": Decimal(5)} == shares(account)
    assert 25 == _own_limit(account)
    market.decide(SPLIT, {"AAPL": 448.0, "MSFT": 331.0}, AAPL=4, MSFT=5)
    assert "but for AAPL" in market.close(SPLIT)["tie_out"]

    bench.exchange.post("CIL", Decimal("218.00"), symbol="AAPL", day=SPLIT)
    accept_external(account, "AAPL", ACTION)
    assert set() == locked_in_ledger_and_book(account)
    assert {"AAPL": Decimal(2), "MSFT": Decimal(5)} == shares(account)
    with pytest.raises(TieOutFailed, match="CIL"):
        market.close(SPLIT)
    accept_cash_difference(account, ACTION)
    market.close(SPLIT)
    market.open(AFTER, {"AAPL": "444"})
    assert {"AAPL": Decimal(2)} == market.trade(SPLIT), "4 wanted, 2 held"
    market.decide(AFTER, {"AAPL": 450.0, "MSFT": 331.0})
    market.close(AFTER)
    record_sessions(account, [SPLIT, AFTER])
    _tied_out_to_the_cent(account, bench)


def _tied_out_to_the_cent(account: TradingAccount, bench: Bench) -> None:
    """Ledger and broker are worth the same, and each session's change adds up to it."""
    found = account.ledger.tie_outs.newest(ACCOUNT)
    assert found is not None
    assert (True, {}) == (found.agrees, found.awaited)
    assert found.cash is not None
    assert (f"{bench.exchange.cash:.2f}", "0.00") == (found.cash["broker"], found.cash["difference"])
    assert bench.exchange.positions() == shares(account)
    rows = account.ledger.fills.session_pnl(ACCOUNT)
    newest = xnys().close_at(rows[-1]["session"])
    assert account.valuation is not None
    marks = account.valuation.quotes(newest.date(), list(shares(account)))
    worth = bench.exchange.cash + sum(qty * marks[symbol].price for symbol, qty in shares(account).items())
    assert worth - 1_000_000 == sum(row["change"] for row in rows) == rows[-1]["equity"] - RICH
    assert account.ledger.seals.verify().sound

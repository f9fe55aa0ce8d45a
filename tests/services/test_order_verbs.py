"""One order or one position, as an operator acts on it: read from texts, done at Alpaca, shown in rows."""

from dataclasses import replace
from decimal import Decimal

import polars as pl
import pytest
from support.alpaca.bench import Bench
from support.slices import Prices
from support.trading import ACCOUNT, ACTION, RUN, SESSION, order

from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.bars import BAR_SCHEMA
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.errors import ConfigError, OperatorError, PriceUnavailable
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.actions import OPERATOR_VERBS, OperatorContext
from trading_pipeline.services.arguments import Arguments
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.verification import compare

LIMIT = Decimal("100.50")


@pytest.fixture
def lake(tmp_path) -> Lake:
    """An empty lake: prices are those of order time."""
    return Lake(tmp_path)


@pytest.fixture
def priced(account: TradingAccount) -> TradingAccount:
    """Our account with prices of order time."""
    return replace(account, prices=Prices())


def act(account: TradingAccount, lake: Lake, verb: str, **said: str) -> list[dict[str, object]]:
    """Act as jobs and commands do."""
    context = OperatorContext.of(account, lake, RiskLimits(), Arguments(**said))
    return OPERATOR_VERBS[verb].act(context, ACTION)


def sent(account: TradingAccount) -> str:
    """Send a limit order and return its id."""
    (one,) = SubmissionService(account, RUN).submit_all([order(limit_price=LIMIT)])
    return one.order.client_order_id


def test_an_order_is_replaced_then_cancelled_by_its_new_id(priced: TradingAccount, bench: Bench, lake: Lake) -> None:
    """The row names both orders; the old id leads to the new one; nothing is reserved in the end."""
    old = sent(priced)
    (row,) = act(priced, lake, "replace_order", order=f" {old} ", qty="15", limit_price="100.75")
    assert (15, "accepted", f"limit limit 100.75 day replaces {old}") == (row["qty"], row["state"], row["kind"])
    new = str(row["client_order_id"])
    with pytest.raises(OperatorError, match=new):
        act(priced, lake, "cancel_order", order=old)
    (ended,) = act(priced, lake, "cancel_order", order=new)
    assert (new, "canceled") == (ended["client_order_id"], ended["state"])
    assert not any(one.working for one in bench.exchange.accepted)
    assert {} == priced.guard.snapshot().reservations
    assert [] == compare(priced)


def test_a_replacement_that_the_guard_refuses_leaves_the_order(
    priced: TradingAccount, bench: Bench, lake: Lake
) -> None:
    """The message says which limit; nothing was asked of the broker."""
    old = sent(priced)
    with pytest.raises(OperatorError, match=r"order_shares.*is as it was"):
        act(priced, lake, "replace_order", order=old, qty="900000")
    assert OrderState.ACCEPTED is priced.ledger.orders.get(old).state
    assert [] == [one for one in bench.server.requests if one.method == "PATCH"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"qty": "1.5"}, "whole number of shares"),
        ({"qty": "-5"}, "whole number of shares"),
        ({"qty": "0"}, "whole number of shares"),
        ({"limit_price": "cheap"}, "--limit must be a price"),
        ({"stop_price": "NaN"}, "--stop must be a price"),
        ({"limit_price": "-1"}, "--limit must be a price"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused_by_name(
    priced: TradingAccount, bench: Bench, lake: Lake, said: dict[str, str], words: str
) -> None:
    """Before anybody is asked."""
    old = sent(priced)
    asked = len(bench.server.requests)
    with pytest.raises(ConfigError, match=words):
        act(priced, lake, "replace_order", order=old, **said)
    assert asked == len(bench.server.requests)


def test_a_position_is_closed_at_once_under_the_kill_switch(priced: TradingAccount, bench: Bench, lake: Lake) -> None:
    """What else is under way in the symbol is cancelled, one order closes the rest, and again it closes nothing."""
    filled = sent(priced)
    bench.exchange.fill(filled)
    settle(priced, SESSION)
    (other,) = SubmissionService(priced, RUN).submit_all([order(qty=5, limit_price=Decimal("99.50"))])
    RiskOperations(priced).engage_kill_switch(ACTION)

    cancelled, closing = act(priced, lake, "close_position", symbol=" aapl ")
    assert (other.order.client_order_id, "canceled") == (cancelled["client_order_id"], cancelled["state"])
    assert ("sell", 10, "accepted") == (closing["side"], closing["qty"], closing["state"])
    (again,) = act(priced, lake, "close_position", symbol="AAPL")
    assert "still open: orders over 10 shares are closing it already" == again["reason"]

    bench.exchange.fill(str(closing["client_order_id"]))
    settle(priced, SESSION)
    assert {} == {symbol: one.qty for symbol, one in priced.ledger.fills.positions(ACCOUNT).items() if one.qty}
    assert [] == act(priced, lake, "close_position", symbol="AAPL")


def test_an_order_is_not_replaced_without_a_price_and_a_position_is_still_closed(
    account: TradingAccount, bench: Bench, lake: Lake
) -> None:
    """A close of yesterday judges nobody's new order in session; who wants to get out is not kept from it."""
    old = sent(account)
    bench.exchange.fill(old, 4)
    settle(account, SESSION)
    closes = pl.DataFrame(
        {
            "session": [SESSION],
            "symbol": ["AAPL"],
            "ended_at": [account.calendar.close_at(SESSION)],
            **{name: [100.0] for name in ("open", "high", "low", "close")},
            "volume": [1e6],
            "vwap": [None],
            "source": ["test"],
        },
        schema=BAR_SCHEMA,
    )
    lake.write(Dataset.BARS, closes, sessions=[SESSION])
    unpriced = replace(account, prices=Prices(missing="its quote is 40 s old"))
    with pytest.raises(PriceUnavailable, match=r"AAPL has no price.*40 s old"):
        act(unpriced, lake, "replace_order", order=old, qty="15")
    assert [] == [one for one in bench.server.requests if one.method == "PATCH"]
    closing = act(unpriced, lake, "close_position", symbol="AAPL")[-1]
    assert ("sell", 4, "accepted") == (closing["side"], closing["qty"], closing["state"])

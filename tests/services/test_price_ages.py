"""The price of a quote or a trade ages until its order is judged: what waited is judged at that of now, or waits."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from support.alpaca.bench import Bench
from support.slices import Prices
from support.trading import ACTION, RUN, SESSION, order

from trading_pipeline.adapters.store.ledger import NewOrder
from trading_pipeline.core.orders.model import Purpose, ReferencePrice, Side
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.submission import Submission, SubmissionService

QUOTED = "midpoint:test"


def _aged(bench: Bench, seconds: int, *, source: str = QUOTED, **named: object) -> NewOrder:
    """Build an order whose price was that of so many seconds ago."""
    new = order(**named)
    seen = ReferencePrice(price=Decimal(100), source=source, as_of=bench.waits.now() - timedelta(seconds=seconds))
    return replace(new, intent=replace(new.intent, reference=seen))


def _submit(account: TradingAccount, prices: Prices, *news: NewOrder) -> list[Submission]:
    return SubmissionService(replace(account, prices=prices), RUN).submit_all(news)


@pytest.mark.parametrize("source", [QUOTED, "trade:test"])
def test_an_order_that_waited_is_judged_at_the_price_of_now(account: TradingAccount, bench: Bench, source: str) -> None:
    """A limit near the price of then is far from that of now; within the age allowed nobody asks."""
    dear = Prices(Decimal(125), source=QUOTED)
    limit = {"limit_price": Decimal("100.50")}
    (young,) = _submit(account, dear, _aged(bench, 30, source=source, **limit))
    assert OrderState.ACCEPTED is young.order.state
    assert [] == dear.asked
    (old,) = _submit(account, dear, _aged(bench, 31, source=source, symbol="MSFT", **limit))
    assert old.verdict is not None
    assert VerdictCode.PRICE_COLLAR is old.verdict.code
    assert 1 == len(bench.exchange.accepted)


def test_prices_are_looked_up_anew_together(account: TradingAccount, bench: Bench) -> None:
    """One question for all symbols whose prices are too old; the others keep theirs."""
    prices = Prices(source=QUOTED)
    news = [_aged(bench, age, symbol=symbol) for symbol, age in {"AAPL": 31, "MSFT": 3, "NVDA": 90}.items()]
    assert {OrderState.ACCEPTED} == {one.order.state for one in _submit(account, prices, *news)}
    assert [["AAPL", "NVDA"]] == prices.asked


def test_without_a_newer_price_the_order_waits_and_says_what_to_do(account: TradingAccount, bench: Bench) -> None:
    """Symbol, age, reason and remedy; others of its batch leave, and so does it when the symbol is quoted again."""
    prices = Prices(missing="its quote is 40 s old", source=QUOTED)
    news = [_aged(bench, 40), _aged(bench, 3, symbol="MSFT")]
    refused, sent = _submit(account, prices, *news)
    assert refused.verdict is not None
    assert VerdictCode.REFERENCE_STALE is refused.verdict.code
    for said in ("AAPL", "40.0 s old", prices.missing, "send it again when the symbol is quoted"):
        assert said in refused.verdict.describe()
    assert OrderState.ACCEPTED is sent.order.state
    prices.missing = ""
    assert [OrderState.ACCEPTED] * 2 == [one.order.state for one in _submit(account, prices, *news)]
    assert ["MSFT", "AAPL"] == [one.symbol for one in bench.exchange.accepted]


def test_a_price_that_gets_too_old_while_others_are_sent_keeps_its_order(account: TradingAccount, bench: Bench) -> None:
    """It stays cleared; asked again, it is judged at the price of then and sent, once."""

    class Slow:
        """A broker that takes a while for each order."""

        def __getattr__(self, name: str) -> object:
            return getattr(account.broker, name)

        def submit(self, *asked: Any) -> object:
            bench.waits.sleep(20)
            return account.broker.submit(*asked)

    prices = Prices(source=QUOTED)
    news = [_aged(bench, 5, symbol=symbol) for symbol in ("AAPL", "MSFT", "NVDA")]
    slow = replace(account, broker=Slow())  # type: ignore[arg-type]
    *sent, kept = _submit(slow, prices, *news)
    assert [OrderState.ACCEPTED] * 2 == [one.order.state for one in sent]
    assert OrderState.CLEARED is kept.order.state
    assert kept.verdict is not None
    assert VerdictCode.REFERENCE_STALE is kept.verdict.code
    assert "NVDA: its price of midpoint:test became 45.0 s old before it was sent" in kept.verdict.describe()
    assert OrderState.ACCEPTED is _submit(account, prices, news[-1])[0].order.state
    assert ["AAPL", "MSFT", "NVDA"] == [one.symbol for one in bench.exchange.accepted]


def test_a_close_and_a_flatten_do_not_age_in_seconds(account: TradingAccount, bench: Bench) -> None:
    """A close is judged by the guard's own limit, and nothing unknown keeps a person from getting out."""
    gone = Prices(missing="nobody quotes it", source=QUOTED)
    (closed,) = _submit(account, gone, _aged(bench, 600, source="close:test"))
    assert OrderState.ACCEPTED is closed.order.state
    bench.exchange.fill_all()
    settle(account, SESSION)
    flatten = _aged(bench, 40, side=Side.SELL, purpose=Purpose.FLATTEN)
    operator = SubmissionService(replace(account, prices=gone), Provenance.by_operator(ACTION))
    assert OrderState.ACCEPTED is operator.submit(flatten).order.state

"""Cash and its activities over HTTP: exact, complete over pages, each once, whatever types there are."""

from datetime import date
from decimal import Decimal

import pytest
from support.alpaca.bench import OPEN, Bench
from support.alpaca.server import Fault

from trading_pipeline.adapters.broker.alpaca.cash import cash_activity
from trading_pipeline.core.cash import CashKind
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import DataQualityError, TransientError

TODAY = OPEN.date()
ACTIVITIES = "/v2/account/activities"


def test_every_type_is_read_with_its_exact_amount_its_session_and_what_it_is(bench: Bench) -> None:
    """Fills are not among them; an unknown type keeps its name; Saturday counts for the next session."""
    broker, exchange = bench.broker(), bench.exchange
    exchange.buy_elsewhere("AAPL", Decimal("0.123456789"))
    exchange.post("FEE", Decimal("-0.07"))
    exchange.post("DIV", Decimal("12.34"), symbol="AAPL")
    exchange.post("DIVNRA", Decimal("-1.85"), symbol="AAPL")
    exchange.post("INT", Decimal("-3.21"), day=date(2023, 9, 9))
    exchange.post("CSD", Decimal(5_000))
    exchange.post("JNLC", Decimal("-10.10"))
    exchange.post("GIFT", Decimal("0.01"))
    exchange.post("SPLIT", None, symbol="AAPL")
    found = broker.cash_activities(TODAY)
    assert [
        ("FEE", CashKind.FEE, Decimal("-0.07"), TODAY),
        ("DIV", CashKind.DIVIDEND, Decimal("12.34"), TODAY),
        ("DIVNRA", CashKind.DIVIDEND, Decimal("-1.85"), TODAY),
        ("INT", CashKind.INTEREST, Decimal("-3.21"), date(2023, 9, 11)),
        ("CSD", CashKind.TRANSFER, Decimal(5_000), TODAY),
        ("JNLC", CashKind.TRANSFER, Decimal("-10.10"), TODAY),
        ("GIFT", CashKind.OTHER, Decimal("0.01"), TODAY),
        ("SPLIT", CashKind.OTHER, Decimal(0), TODAY),
    ] == [(one.type, one.kind, one.amount, one.session) for one in found]
    assert ["", "AAPL", "AAPL"] == [one.symbol for one in found[:3]]


def test_cash_is_what_the_trade_moved_and_accrued_fees_are_told_beside_it(bench: Bench) -> None:
    """A buy of today has left the cash already."""
    bench.exchange.buy_elsewhere("AAPL", Decimal(2))
    bench.exchange.accrue(Decimal("0.03"))
    found = bench.broker().cash()
    assert (Decimal("999621.05"), Decimal("0.03")) == (found.cash, found.accrued_fees)


@pytest.mark.parametrize("repeated", [0, 1, 7])
def test_activities_over_many_pages_come_once_though_pages_repeat_rows(bench: Bench, repeated: int) -> None:
    """Also when the server fails in between."""
    posted = [bench.exchange.post("FEE", Decimal(-cents) / 100).id for cents in range(1, 251)]
    bench.exchange.repeats_rows = repeated
    bench.server.plan_for("GET", ACTIVITIES, None, Fault(status=502), Fault(kind="drip", after=True))
    assert posted == [one.activity_id for one in bench.broker().cash_activities(TODAY)]


def test_a_server_that_stays_away_gives_no_part_of_the_activities(bench: Bench) -> None:
    """Nothing, rather than the first page."""
    for _ in range(150):
        bench.exchange.post("FEE", Decimal("-0.01"))
    bench.server.plan_for("GET", ACTIVITIES, None, *[Fault(status=502)] * 10)
    with pytest.raises(TransientError):
        bench.broker().cash_activities(TODAY)


def test_a_cancelled_activity_moved_nothing() -> None:
    """Its document is kept all the same."""
    document = {"id": "1", "activity_type": "FEE", "date": "2023-09-05", "net_amount": "-0.02", "status": "canceled"}
    read = cash_activity(document, xnys())
    assert (Decimal(0), document) == (read.amount, dict(read.document))


@pytest.mark.parametrize(
    "broken",
    [{"net_amount": 0.1}, {"net_amount": "NaN"}, {"net_amount": "ten"}, {"date": "tomorrow"}, {"date": None}],
)
def test_an_activity_that_cannot_be_read_is_named_and_not_left_out(broken: dict[str, object]) -> None:
    """Cash without it would be wrong."""
    document = {"id": "1", "activity_type": "FEE", "date": "2023-09-05", "net_amount": "-0.02"}
    with pytest.raises(DataQualityError, match="an activity of Alpaca cannot be read"):
        cash_activity(document | broken, xnys())

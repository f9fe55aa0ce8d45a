"""A large order as an operator asks for it: read from texts, planned once, cancelled by its id."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from support.alpaca.bench import Bench
from support.slices import Prices
from support.trading import ACCOUNT, ACTION, RUN

from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.orders.twap import WhenLate
from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.errors import ConfigError, OperatorError, OrderError, PipelineError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.actions import OPERATOR_VERBS, OperatorContext
from trading_pipeline.services.arguments import Arguments, twap_request
from trading_pipeline.services.slices import SliceService
from trading_pipeline.services.twap import planned_shares

ASKED = {"side": "buy", "qty": "120", "minutes": "2", "slices": "12"}


def _act(account: TradingAccount, lake: Lake, verb: str, said: Arguments) -> list[dict[str, object]]:
    return OPERATOR_VERBS[verb].act(OperatorContext.of(account, lake, RiskLimits(), said), ACTION)


@pytest.fixture
def lake(tmp_path) -> Lake:
    """An empty lake."""
    return Lake(tmp_path)


def test_what_is_said_is_what_is_asked(account: TradingAccount) -> None:
    """Every text, and a default for what is left out."""
    late = "2023-09-05T10:30:00-04:00"
    said = {"max_adv_bps": "50", "max_volume_bps": "1000", "min_slice_shares": "5", "when_late": "EXPIRE"}
    said |= {"grace_seconds": "60", "repeat": "1", "start": late}
    request = twap_request(account, Arguments(symbol=" aapl ", twap=ASKED | said))
    assert (ACCOUNT, "AAPL", Side.BUY, 120, 2, 12) == (
        request.account, request.symbol, request.side, request.qty, request.minutes, request.slices
    )  # fmt: skip
    assert (50, 1000, 5, WhenLate.EXPIRE, 60, 1) == (
        request.max_adv_bps, request.max_volume_bps, request.min_slice_shares, request.when_late,
        request.grace_seconds, request.repeat,
    )  # fmt: skip
    assert datetime(2023, 9, 5, 14, 30, tzinfo=UTC) == request.start
    plain = twap_request(account, Arguments(symbol="AAPL", twap=ASKED | {"slices": " "}))
    assert (None, None, None, WhenLate.RUN, 300) == (
        plain.slices, plain.start, plain.max_volume_bps, plain.when_late, plain.grace_seconds
    )  # fmt: skip


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        ({"side": "short"}, OperatorError, "buy or sell"),
        ({"qty": "1.5"}, ConfigError, "qty=1.5"),
        ({"qty": "-10"}, ConfigError, "qty=-10"),
        ({"qty": ""}, ConfigError, "its qty"),
        ({"qty": "0"}, OperatorError, "1 or more"),
        ({"start": "2023-09-05T10:30:00"}, ConfigError, "with its offset"),
        ({"when_late": "sometimes"}, ConfigError, "run or expire"),
        ({"minuets": "5"}, ConfigError, "minuets"),
        ({"account": "7"}, ConfigError, "account"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(
    account: TradingAccount, said: dict[str, str], error: type[PipelineError], words: str
) -> None:
    """Before anything is planned."""
    with pytest.raises(error, match=words):
        twap_request(account, Arguments(symbol="AAPL", twap=ASKED | said))


def test_a_large_order_is_started_once_and_cancelled_by_its_id(
    account: TradingAccount, bench: Bench, lake: Lake
) -> None:
    """The same request again is the same parent; what was sent is cancelled at the broker, what was not never is."""
    said = Arguments(symbol="AAPL", twap=ASKED)
    (first,) = _act(account, lake, "start_twap", said)
    (again,) = _act(account, lake, "start_twap", said)
    assert (True, False) == (first["new"], again["new"])
    assert first["parent_id"] == again["parent_id"]
    assert {"AAPL": 120} == planned_shares(account)

    sender = SliceService(account, RUN, Prices())
    sender.send_due()
    assert {"AAPL": 110} == planned_shares(account)
    assert Decimal(10) == account.ledger.orders.exposure(ACCOUNT)["AAPL"].pending

    _act(account, lake, "cancel_twap", Arguments(parent=str(first["parent_id"])))
    assert {} == planned_shares(account)
    assert 1 == len(bench.exchange.accepted)
    bench.waits.sleep(60)
    sender.send_due()
    assert 1 == len(bench.exchange.accepted)


def test_a_parent_of_nobody_is_refused(account: TradingAccount, lake: Lake) -> None:
    """And the message says where they are listed."""
    with pytest.raises(OrderError, match="show-twap"):
        _act(account, lake, "cancel_twap", Arguments(parent="AAPL-none"))

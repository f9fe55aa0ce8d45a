"""The limits of the risk monitor travel with the guard's, as text."""

from decimal import Decimal

import pytest

from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.core.risk.monitor_limits import MonitorLimits
from trading_pipeline.errors import ConfigError
from trading_pipeline.settings import Settings


def test_every_limit_survives_the_way_through_text() -> None:
    """Settings, ledger and audit rows hold the same text."""
    limits = RiskLimits(
        max_order_shares=7, monitor=MonitorLimits(max_daily_loss_dollars=Decimal("1.50"), max_mark_age_minutes=3)
    )
    assert limits == RiskLimits.from_text(limits.as_text())


def test_text_from_before_a_limit_existed_gives_its_default() -> None:
    """An old ledger row is no error."""
    assert RiskLimits(max_order_shares=7) == RiskLimits.from_text({"max_order_shares": "7"})


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("Infinity"), Decimal(-1)])
def test_a_limit_that_no_number_can_exceed_is_refused(value: Decimal) -> None:
    """A comparison with it would never trip anything."""
    with pytest.raises(ValueError, match="max_drawdown_pct"):
        MonitorLimits(max_drawdown_pct=value)


def test_a_limit_in_text_that_is_no_number_is_named() -> None:
    """As a configuration mistake."""
    with pytest.raises(ConfigError, match="not a number"):
        RiskLimits.from_text({"max_mark_age_minutes": "soon"})


def test_each_limit_is_a_variable_with_the_same_default() -> None:
    """`RISK_` and its name in capitals."""
    settings = Settings(_env_file=None)
    assert MonitorLimits() == settings.monitor_limits == settings.limits.monitor
    for name in RiskLimits(monitor=settings.monitor_limits).as_text().keys() & set(MonitorLimits.__slots__):
        assert f"risk_{name}" in Settings.model_fields

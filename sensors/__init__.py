"""Sensors."""

from collections.abc import Sequence

import dagster as dg

from resources import TradingResource
from sensors.order_sweep import build_order_sweep
from sensors.risk_monitor import build_risk_monitor
from sensors.run_failures import build_run_failures


def sensors_of(trading: TradingResource) -> Sequence[dg.SensorDefinition]:
    """Return all sensors of a deployment."""
    return (build_risk_monitor(trading), build_order_sweep(trading), build_run_failures(trading.risk.account))


__all__ = ["build_order_sweep", "build_risk_monitor", "build_run_failures", "sensors_of"]

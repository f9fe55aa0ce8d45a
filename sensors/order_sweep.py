"""Asks a real broker every 30 seconds what became of our orders, for as long as any may work there."""

from typing import Any

import dagster as dg
import polars as pl
import structlog

from assets.context import table
from resources import TradingResource
from sensors.opening import opened_account
from trading_pipeline.errors import TransientError
from trading_pipeline.services.sweep import Sweep, sweep

_SCHEMA = pl.Schema(
    {"client_order_id": pl.String(), "symbol": pl.String(), "side": pl.String(), "qty": pl.Int64(),
     "filled": pl.Decimal(20, 9), "state": pl.String()}
)  # fmt: skip

log = structlog.get_logger(__name__)


def build_order_sweep(trading: TradingResource) -> dg.SensorDefinition:
    """Make the sensor of an account."""

    @dg.sensor(
        name="order_sweep",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Every 30 seconds while orders may work at the broker: books executions and ends nobody told of.",
    )
    def order_sweep() -> dg.SensorResult | dg.SkipReason:
        if trading.alpaca is None:
            return dg.SkipReason("the simulated exchange tells what it did when a session is settled")
        try:
            with opened_account(trading) as account:
                found = sweep(account)
        except TransientError as away:
            log.warning("the broker could not be swept", reason=str(away))
            return dg.SkipReason(f"not swept, the next tick does: {away}")
        if found is None:
            return dg.SkipReason("no order of ours may work at the broker")
        return _report(found)

    return order_sweep


def _report(found: Sweep) -> dg.SensorResult | dg.SkipReason:
    settlement = found.settlement
    summary = (
        f"{len(settlement.booked)} execution(s) and {len(settlement.ended)} end(s) found,"
        f" {len(found.open)} order(s) open, {len(found.unconfirmed)} of them unconfirmed"
    )
    if not (settlement.booked or settlement.ended):
        return dg.SkipReason(summary)
    rows = [
        (one.client_order_id, one.intent.symbol, one.intent.side.value, one.intent.qty, one.filled_qty, one.state.value)
        for one in found.open
    ]
    metadata: dict[str, Any] = {
        "summary": summary,
        "executions_found": len(settlement.booked),
        "shares_found": float(found.shares_found),
        "ends_found": len(settlement.ended),
        "open_orders": table(pl.DataFrame(rows, schema=_SCHEMA, orient="row")),
    }
    return dg.SensorResult(
        asset_events=[dg.AssetObservation(asset_key=dg.AssetKey("fills"), metadata=metadata)], skip_reason=summary
    )

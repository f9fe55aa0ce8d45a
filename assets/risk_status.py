"""How near the account is to being halted: what the risk monitor observes, where an operator looks."""

from typing import Any

import dagster as dg
import polars as pl

from assets.context import table
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.differences import DIFFERENCE_COLUMNS
from trading_pipeline.services.monitor import Assessment
from trading_pipeline.services.status import trading_state

RISK_STATUS = dg.AssetSpec(
    "risk_status",
    group_name="trading",
    kinds={"postgres", "redis"},
    owners=["team:trading"],
    description=(
        "Trading state and the distance to every limit that trips the breaker. Nothing materialises it: the sensor "
        "`risk_monitor` observes it while the exchange is open, whenever something has changed."
    ),
)

_DISTANCES = {
    "rule": pl.String,
    "breached": pl.Boolean,
    "observed": pl.String,
    "limit": pl.String,
    "headroom": pl.String,
    "used_pct": pl.String,
    "unit": pl.String,
    "detail": pl.String,
}
_DIFFERENCES = dict.fromkeys(DIFFERENCE_COLUMNS, pl.String)


def risk_metadata(account: TradingAccount, assessment: Assessment) -> dict[str, Any]:
    """Return what a page of the UI shows of a look: state, distances, differences, and numbers that become plots."""
    state, why = trading_state(account)
    verification = assessment.verification
    found: dict[str, Any] = {
        "trading_state": f"{state}: {why}" if why else state.value,
        "monitor": _summary(assessment),
        "distance_to_limits": table(pl.DataFrame(assessment.rows(), schema=_DISTANCES)),
    }
    if verification is not None:
        found["differences"] = table(pl.DataFrame(verification.rows(), schema=_DIFFERENCES))
    if assessment.equity is not None:
        found["equity_dollars"] = float(assessment.equity)
    return found | {
        f"{one.rule}_used_pct": round(float(one.used_pct), 2) for one in assessment.readings if one.used_pct is not None
    }


def _summary(assessment: Assessment) -> str:
    if assessment.tripped:
        return f"tripped the breaker now: {assessment.tripped}"
    if assessment.breached:
        return "; ".join(one.describe() for one in assessment.breached)
    if assessment.unreachable:
        return f"not everything could be judged: {assessment.unreachable}"
    return "every rule is within its limit" if assessment.readings else "the account has not traded yet"

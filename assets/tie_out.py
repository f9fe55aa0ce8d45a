"""The end of a session, signed: ledger, book and broker agree to share and cent, or no later session is traded."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from assets.context import sessions_of, table
from assets.submitted_orders import ORDER_LANE
from resources import LakeResource, TradingResource
from trading_pipeline.adapters.store.ledger.tie_outs import TieOut
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.partitions import SESSIONS
from trading_pipeline.services.restating import restate_as_the_broker
from trading_pipeline.services.tie_out import tie_out_session

AGREEMENT = "ledger_book_and_broker_agree"


@dg.asset(
    deps=["bars"],
    partitions_def=SESSIONS,
    group_name="trading",
    kinds={"postgres", "redis"},
    owners=["team:trading"],
    tags=ORDER_LANE,
    check_specs=[
        dg.AssetCheckSpec(
            AGREEMENT,
            asset="tie_out",
            blocking=True,
            description="Ledger, book and broker said the same shares and cash after the close of the session.",
        )
    ],
)
def tie_out(context: dg.AssetExecutionContext, trading: TradingResource, lake: LakeResource) -> dg.MaterializeResult:
    """Shares and cash of ledger, book and broker compared after the close, and the answer sealed in the ledger.

    Until it agrees no order of a later session is sent, in this run or any other. The job `tie_out` makes it right
    after the close; a session that the account has left behind shows the answer it got then.
    """
    session = sessions_of(context)[0]
    action = OperatorAction(operator=f"run {context.run.run_id}", reason="the session is over and wants its tie-out")
    restate_as_the_broker(trading.account, lake.lake())
    found = tie_out_session(trading.account, session, action)
    if found is not None and not found.agrees:
        context.log.error(found.describe())
    return dg.MaterializeResult(metadata=_shown(session, found), check_results=[_check(session, found)])


def tie_out_events(found: TieOut) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    """Yield what shows an answer that a job got as the asset's session, which is not addressable before midnight."""
    session = found.session
    yield dg.AssetMaterialization("tie_out", partition=session.isoformat(), metadata=_shown(session, found))
    check = _check(session, found)
    yield dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("tie_out"),
        check_name=AGREEMENT,
        passed=check.passed,
        metadata=check.metadata,
        severity=check.severity,
        blocking=True,
        partition=session.isoformat(),
    )


def _shown(session: date, found: TieOut | None) -> dict[str, Any]:
    if found is None:
        return {"summary": f"session {session} was never tied out, and the account has gone on since"}
    held = [{"symbol": symbol, "shares": shares} for symbol, shares in sorted(found.positions.items())]
    return {
        "summary": found.describe(),
        "signed_by": found.operator,
        "as_of": found.as_of.isoformat() if found.as_of else "unknown",
        "differences": table(pl.DataFrame({"difference": list(found.differences)}, schema={"difference": pl.String})),
        "cash": table(_cash(found)),
        "positions": table(pl.DataFrame(held, schema={"symbol": pl.String, "shares": pl.String})),
    }


def _cash(found: TieOut) -> pl.DataFrame:
    rows = [{"figure": name, "dollars": str(dollars)} for name, dollars in (found.cash or {}).items()]
    return pl.DataFrame(rows, schema={"figure": pl.String, "dollars": pl.String})


def _check(session: date, found: TieOut | None) -> dg.AssetCheckResult:
    if found is None:
        # Nothing that is sent now depends on it: what does is refused by the ledger's own answer.
        never = {"why": f"session {session} has no tie-out"}
        return dg.AssetCheckResult(
            check_name=AGREEMENT, passed=False, severity=dg.AssetCheckSeverity.WARN, metadata=never
        )
    # What is awaited keeps back its own symbol's orders, not the run: it is shown and blocks nothing.
    severity = dg.AssetCheckSeverity.WARN if found.agrees else dg.AssetCheckSeverity.ERROR
    return dg.AssetCheckResult(
        check_name=AGREEMENT,
        passed=found.agrees and not found.awaited,
        severity=severity,
        metadata={"why": found.describe()},
    )

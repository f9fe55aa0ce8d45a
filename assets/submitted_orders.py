"""Orders for the next session, each through the guard."""

from typing import Any

import dagster as dg
import polars as pl

from assets.context import report, sessions_of, table
from assets.risk_status import risk_metadata
from resources import LakeResource, TradingResource
from trading_pipeline.partitions import SESSIONS
from trading_pipeline.services.busy_broker import require_sent
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.rebalance import rebalance
from trading_pipeline.services.session_story import last_stories
from trading_pipeline.services.submission import Submission
from trading_pipeline.services.watching import watch

ORDER_LANE = {"trading/lane": "orders"}
"""Runs with this tag go one at a time: see `dagster.yaml`."""


@dg.asset(
    deps=["target_portfolio", "tie_out"],
    partitions_def=SESSIONS,
    group_name="trading",
    kinds={"postgres", "redis"},
    owners=["team:trading"],
    tags=ORDER_LANE,
)
def submitted_orders(context: dg.AssetExecutionContext, lake: LakeResource, trading: TradingResource) -> None:
    """Target minus position minus pending, submitted through the risk guard for the open of the next session.

    Safe to run again: an order that was sent is never sent twice, and one the guard refused is asked for again. Refuses
    ranges, backfills, and any session but the one the broker takes orders for. Fails when the broker did not take
    all of them in time: the same run again sends the rest.
    """
    sessions = sessions_of(context)
    provenance = Provenance.of_run(context.run.run_id, context.run.tags, sessions)
    provenance.require_tradable()
    session = sessions[0]
    result = rebalance(trading.account, lake.lake(), session, provenance=provenance)
    assessment = watch(trading.account)
    for line in result.refusals:
        context.log.warning(line)
    require_sent(trading.account, session, result.unsent, result.why_unsent)
    rows = [_row(submission) for submission in result.submissions]
    report(
        context,
        [session],
        {
            "summary": result.summary,
            "submitted": result.sent_count,
            "refused": len(result.refusals),
            "why_refused": dg.MetadataValue.md("\n".join(f"- {line}" for line in result.refusals) or "nothing refused"),
            "skipped": ", ".join(f"{one.symbol}: {one.reason}" for one in result.skipped) or "none",
            "trade_session": trading.account.calendar.next(session).isoformat(),
            "broker": trading.account.broker.name,
            "orders": table(pl.DataFrame(rows, schema=_SCHEMA)),
            "last_sessions": table(pl.DataFrame([one.row() for one in last_stories(trading.account)], schema=_STORIES)),
            "verdicts": table(pl.DataFrame([_verdict(one) for one in result.submissions], schema=_VERDICTS)),
        }
        | risk_metadata(trading.account, assessment),
    )


_SCHEMA = {
    "client_order_id": pl.String,
    "symbol": pl.String,
    "side": pl.String,
    "qty": pl.Int64,
    "state": pl.String,
    "guard": pl.String,
    "reference_price": pl.String,
    "reason": pl.String,
}

_STORIES = {
    "session": pl.String,
    "outcome": pl.String,
    "orders": pl.Int64,
    "at_the_broker": pl.Int64,
    "refused": pl.Int64,
    "reason": pl.String,
    "at": pl.String,
}

_VERDICTS = {
    "client_order_id": pl.String,
    "symbol": pl.String,
    "code": pl.String,
    "observed": pl.Int64,
    "limit": pl.Int64,
    "detail": pl.String,
    "wait_seconds": pl.Float64,
    "in_words": pl.String,
}


def _verdict(submission: Submission) -> dict[str, Any]:
    order, verdict = submission.order, submission.verdict
    row = {"client_order_id": order.client_order_id, "symbol": order.intent.symbol}
    if verdict is None:
        return row | {"code": "decided before"}
    wait = None if verdict.retry_after_ms is None else verdict.retry_after_ms / 1000
    return row | {
        "code": verdict.code.value,
        "observed": verdict.observed,
        "limit": verdict.limit,
        "detail": verdict.detail,
        "wait_seconds": wait,
        "in_words": verdict.describe(),
    }


def _row(submission: Submission) -> dict[str, Any]:
    order = submission.order
    return {
        "client_order_id": order.client_order_id,
        "symbol": order.intent.symbol,
        "side": order.intent.side.value,
        "qty": order.intent.qty,
        "state": order.state.value,
        "guard": submission.verdict.code.value if submission.verdict else "decided before",
        "reference_price": str(order.intent.reference.price),
        "reason": order.reason,
    }

"""Whole shares wanted after the rebalance."""

from datetime import date

import dagster as dg
import polars as pl

from assets.context import numbers_by_session, report, sessions_of, table
from resources import LakeResource, PortfolioResource
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.prices import session_closes
from trading_pipeline.core.orders.planning import Skipped
from trading_pipeline.core.portfolio import PortfolioConfig, build_target
from trading_pipeline.partitions import IN_ONE_RUN, SESSIONS

PINS = ["symbol", "model_name", "model_version", "model_digest"]


@dg.asset(
    deps=["predictions", "bars"],
    partitions_def=SESSIONS,
    backfill_policy=IN_ONE_RUN,
    group_name="trading",
    kinds={"polars", "parquet"},
    owners=["team:trading"],
)
def target_portfolio(context: dg.AssetExecutionContext, lake: LakeResource, portfolio: PortfolioResource) -> None:
    """The best scores long and the worst short, equal weights, in whole shares under capital and position limits.

    Sized at the session's close, whose source and time are kept. A symbol without a close is skipped and named.
    """
    sessions = sessions_of(context)
    store, parsed = lake.lake(), portfolio.parsed()
    frames: list[pl.DataFrame] = []
    skipped: list[tuple[date, Skipped]] = []
    for session in sessions:
        rows, left_out = _target(store, session, parsed)
        frames.append(rows)
        skipped += [(session, one) for one in left_out]
    result = pl.concat(frames)
    store.write(Dataset.TARGET_PORTFOLIO, result, sessions=sessions)
    report(
        context,
        sessions,
        {
            "skipped": ", ".join(f"{day} {one.symbol}: {one.reason}" for day, one in skipped) or "none",
            "last_session": table(result.filter(pl.col("session") == sessions[-1]).sort("rank")),
        },
        per_session=numbers_by_session(result, gross_dollars=pl.col("notional").abs().sum().cast(pl.Float64)),
    )


def _target(store: Lake, session: date, config: PortfolioConfig) -> tuple[pl.DataFrame, tuple[Skipped, ...]]:
    predictions = store.read_session(Dataset.PREDICTIONS, session)
    quotes = session_closes(store, session, predictions["symbol"].to_list())
    target = build_target(predictions, session=session, quotes=quotes, config=config)
    return target.rows.join(predictions.select(PINS), on="symbol", how="left", maintain_order="left"), target.skipped

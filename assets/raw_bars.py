"""Raw bars: what the source says, unjudged."""

import dagster as dg
import polars as pl

from assets.context import numbers_by_session, report, sessions_of, table
from resources import LakeResource, MarketDataResource
from trading_pipeline.adapters.clock import SystemClock
from trading_pipeline.adapters.store.raw_bars import record_raw_bars
from trading_pipeline.errors import BarsUnavailable
from trading_pipeline.partitions import IN_ONE_RUN, SESSIONS


@dg.asset(
    partitions_def=SESSIONS,
    backfill_policy=IN_ONE_RUN,
    group_name="market_data",
    kinds={"parquet"},
    owners=["team:data"],
)
def raw_bars(context: dg.AssetExecutionContext, lake: LakeResource, market_data: MarketDataResource) -> None:
    """Daily bars of the universe as the source delivers them: imported files first, then Alpaca or the bundled sample.

    Alpaca's prices are raw; those of the sample are split-adjusted dollars, as its publisher made them. Nothing is
    judged here: see `bars`.

    A bar that is delivered with other values than before becomes a second version with its own `known_at`; the first
    stays as it was.
    """
    sessions = sessions_of(context)
    source = market_data.source()
    frame = source.bars(sessions, market_data.universe)
    missing = sorted(set(sessions) - set(frame["session"].unique()))
    if missing:
        covered = source.coverage()
        coverage = f"{covered[0]} to {covered[1]}" if covered else "nothing"
        raise BarsUnavailable(
            f"{source.name} has no bars of {len(missing)} session(s), the first {missing[0]}; it covers {coverage}. "
            "Import a file with them (`trading-pipeline import-bars FILE`) or choose another range",
            sessions=[day.isoformat() for day in missing[:20]],
        )
    changed = record_raw_bars(lake.lake(), frame, sessions=sessions, now=SystemClock().now())
    source.delivered(sessions, market_data.universe)
    absent = sorted(set(market_data.universe) - set(frame["symbol"].unique()))
    report(
        context,
        sessions,
        {
            "sessions": len(sessions),
            "total_rows": frame.height,
            "symbols": frame["symbol"].n_unique(),
            "sessions_changed": len(changed),
            "source": source.name,
            "absent_symbols": ", ".join(absent) or "none",
            "last_session": table(frame.filter(pl.col("session") == sessions[-1])),
        },
        per_session=numbers_by_session(frame, rows=pl.len()),
    )

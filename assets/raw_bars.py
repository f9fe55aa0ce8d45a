"""Raw bars: what the source says, unjudged."""

from dataclasses import asdict
from typing import Any

import dagster as dg
import polars as pl

from assets.context import numbers_by_session, report, sessions_of, table
from resources import LakeResource, MarketDataResource
from trading_pipeline.adapters.clock import SystemClock
from trading_pipeline.adapters.store.raw_bars import record_raw_bars
from trading_pipeline.errors import BarsUnavailable
from trading_pipeline.partitions import IN_ONE_RUN, SESSIONS


@dg.asset(
    deps=["corporate_actions"],
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
    members = market_data.members()
    expected = set(members.symbols) if len(sessions) > 1 else set(members.on(sessions[0])["symbol"])
    absent = sorted(expected - set(frame["symbol"].unique()))
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
            "members": members.on(sessions[-1]).height,
            **_versions_with_faults(context, market_data),
            "last_session": table(frame.filter(pl.col("session") == sessions[-1])),
        },
        per_session=numbers_by_session(frame, rows=pl.len()),
    )


def _versions_with_faults(context: dg.AssetExecutionContext, market_data: MarketDataResource) -> dict[str, Any]:
    """Name the versions of the universe's file whose sectors, members or symbols are not what they were before."""
    faulty = [one for one in market_data.sector_drift() if one.problem or one.unreadable]
    for one in faulty:
        why = f"not used: {one.problem}" if one.problem else f"used without {', '.join(one.unreadable)}"
        context.log.warning("UNIVERSE: the version of %s is %s", one.as_of, why)
    return {"universe_versions_with_faults": table(pl.DataFrame(map(asdict, faulty)))} if faulty else {}

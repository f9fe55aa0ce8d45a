"""Alpha158 features of fresh symbols."""

from datetime import date

import dagster as dg
import polars as pl

from assets.context import numbers_by_session, report, sessions_of, table
from resources import FeaturesResource, LakeResource, MarketDataResource
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.features import CompiledFeatures
from trading_pipeline.core.manifest import FRESH, HISTORY, freshness_manifest
from trading_pipeline.core.sessions import xnys
from trading_pipeline.partitions import IN_ONE_RUN, SESSIONS

MARGIN = 20
"""Sessions read beyond the look-back, so that a symbol suspended at its start is known to have been listed."""

CHUNK = 756
"""Sessions computed at once: bounds memory on long ranges."""


@dg.asset(
    deps=["bars"],
    partitions_def=SESSIONS,
    backfill_policy=IN_ONE_RUN,
    group_name="research",
    kinds={"polars", "parquet"},
    owners=["team:research"],
)
def features(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    feature_set: FeaturesResource,
    market_data: MarketDataResource,
) -> None:
    """The 158 features of qlib's Alpha158 for every symbol that is fresh as of the session's close.

    Definitions are pyqlib's own expression strings. A symbol of the universe whose bar is missing or old is left out
    and listed; when fewer than `min_fresh_pct` of them are fresh the session stops here.
    """
    sessions = sessions_of(context)
    store = lake.lake()
    manifest = freshness_manifest(
        store.read(
            Dataset.BARS,
            start=xnys().shift(sessions[0], -HISTORY),
            end=sessions[-1],
            columns=["session", "symbol", "ended_at"],
        ),
        sessions=sessions,
        expected=market_data.universe,
        max_age_minutes=market_data.max_age_minutes,
        min_fresh_pct=market_data.min_fresh_pct,
        calendar=xnys(),
    )
    store.write(Dataset.FRESHNESS, manifest, sessions=sessions)
    compiled = feature_set.compiled()
    rows = sum(
        _compute(context, store, compiled, sessions[start : start + CHUNK], manifest)
        for start in range(0, len(sessions), CHUNK)
    )
    last = store.read_session(Dataset.FEATURES, sessions[-1])
    report(
        context,
        sessions,
        {
            "sessions": len(sessions),
            "total_rows": rows,
            "features": last.width - 2,
            "missing_share": _missing_share(last),
            "not_fresh": table(manifest.filter(pl.col("state") != FRESH)),
            "last_session": table(last.select(last.columns[:14])),
        },
        per_session=numbers_by_session(manifest, fresh=(pl.col("state") == FRESH).sum()),
    )


def _compute(
    context: dg.AssetExecutionContext,
    store: Lake,
    compiled: CompiledFeatures,
    sessions: list[date],
    manifest: pl.DataFrame,
) -> int:
    start = xnys().shift(sessions[0], -(compiled.lookback or 0) - MARGIN)
    bars = store.read(Dataset.BARS, start=start, end=sessions[-1])
    values = compiled.compute(bars, calendar=xnys().between(start, sessions[-1]), sessions=sessions)
    fresh = manifest.filter(pl.col("state") == FRESH).select("session", "symbol")
    kept = values.join(fresh, on=["session", "symbol"], how="semi", maintain_order="left")
    store.write(Dataset.FEATURES, kept, sessions=sessions)
    context.log.info("features of %s to %s: %d rows", sessions[0], sessions[-1], kept.height)
    return kept.height


def _missing_share(frame: pl.DataFrame) -> float:
    cells = frame.height * (frame.width - 2)
    return sum(frame.null_count().row(0)) / cells if cells else 0.0

"""Bars that passed the quality gate, and the quarantine of those that did not."""

from collections.abc import Iterator
from datetime import date, timedelta

import dagster as dg
import polars as pl

from assets.context import knowledge_of, numbers_by_session, report, sessions_of, table
from resources import LakeResource, MarketDataResource
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.raw_bars import read_raw_bars
from trading_pipeline.core.bars import validate_bars
from trading_pipeline.core.quality import GateResult, judge_bars
from trading_pipeline.errors import DataQualityError
from trading_pipeline.partitions import IN_ONE_RUN, SESSIONS

LAST_GOOD_LOOKBACK = 30
"""Days looked back for last good closes first; symbols not found there are looked for in all of history."""


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            "bars",
            deps=["raw_bars"],
            description="Daily bars that passed the quality gate. Everything downstream reads these and nothing else.",
            group_name="market_data",
            kinds={"parquet", "polars"},
            owners=["team:data"],
        ),
        dg.AssetSpec(
            "quarantined_bars",
            deps=["raw_bars"],
            description="Rows kept out of `bars`, each with its reasons. Never deleted.",
            group_name="market_data",
            kinds={"parquet", "polars"},
            owners=["team:data"],
        ),
    ],
    partitions_def=SESSIONS,
    backfill_policy=IN_ONE_RUN,
)
def gated_bars(
    context: dg.AssetExecutionContext, lake: LakeResource, market_data: MarketDataResource
) -> Iterator[dg.MaterializeResult]:
    """Judge raw bars: rows that break the OHLC rules or jump past the outlier threshold go to quarantine."""
    sessions = sessions_of(context)
    store = lake.lake()
    raw = read_raw_bars(store, start=sessions[0], end=sessions[-1], known_at=knowledge_of(context))
    gate = judge_bars(
        raw,
        last_good=_last_good(store, sessions[0], set(raw["symbol"])),
        outlier_threshold=market_data.outlier_threshold,
    )
    _require_nothing_dropped(raw, gate)
    bars = validate_bars(gate.bars, where=f"bars {sessions[0]} to {sessions[-1]}")
    store.write(Dataset.BARS, bars, sessions=sessions)
    store.write(Dataset.QUARANTINED_BARS, gate.quarantined, sessions=sessions)
    report(
        context,
        sessions,
        {
            "total_rows": bars.height,
            "sessions": len(sessions),
            "symbols": bars["symbol"].n_unique(),
            "last_session": table(bars.filter(pl.col("session") == sessions[-1])),
        },
        per_session=numbers_by_session(bars, rows=pl.len()),
        asset="bars",
    )
    report(
        context,
        sessions,
        {
            "total_rows": gate.quarantined.height,
            "by_reason": dg.MetadataValue.json(gate.reasons()),
            "rows": table(gate.quarantined),
        },
        per_session=numbers_by_session(gate.quarantined, rows=pl.len()),
        asset="quarantined_bars",
    )
    yield dg.MaterializeResult(asset_key="bars")
    yield dg.MaterializeResult(asset_key="quarantined_bars")


def _last_good(store: Lake, first: date, symbols: set[str]) -> dict[str, float]:
    """Find the last good close of each symbol before a session, however long ago: no split of a range matters."""
    before = first - timedelta(days=1)
    recent = before - timedelta(days=LAST_GOOD_LOOKBACK)
    found: dict[str, float] = {}
    for start, end in ((recent, before), (date.min, recent - timedelta(days=1))):
        missing = symbols - set(found)
        if missing and store.sessions(Dataset.BARS, start=start, end=end):
            history = store.read(Dataset.BARS, start=start, end=end, columns=["session", "symbol", "close"])
            wanted = history.filter(pl.col("symbol").is_in(missing)).sort("session")
            found |= dict(wanted.group_by("symbol").agg(pl.col("close").last()).iter_rows())
    return found


def _require_nothing_dropped(raw: pl.DataFrame, gate: GateResult) -> None:
    kept, quarantined = gate.bars.height, gate.quarantined.height
    if raw.height != kept + quarantined:
        raise DataQualityError(
            f"the gate lost rows: {raw.height} raw, {kept} bars, {quarantined} quarantined",
            raw=raw.height,
            bars=kept,
            quarantined=quarantined,
        )

"""Bars that passed the quality gate, and the quarantine of those that did not."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any

import dagster as dg
import polars as pl

from assets.context import knowledge_of, numbers_by_session, plot, report, sessions_of, table
from resources import LakeResource, MarketDataResource
from trading_pipeline.adapters.plots import as_data_uri
from trading_pipeline.adapters.price_plot import price_plot
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.quality.coverage import USABLE
from trading_pipeline.core.quality.gate import reason_counts
from trading_pipeline.core.sessions import xnys
from trading_pipeline.partitions import IN_ONE_RUN, SESSIONS
from trading_pipeline.services.gate import Judged, judge_sessions
from trading_pipeline.services.inspection import price_histories, worth_a_look

Numbers = dict[str, Any]
QUARANTINED_SHARE = 0.05
"""More of a range in quarantine is worth a look."""
PLOTTED_SYMBOLS = 4
PLOTTED_SESSIONS = 126
"""Half a year, or the whole range of the run where that is longer."""


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            "bars",
            deps=["raw_bars", "corporate_actions"],
            description="Daily bars that passed the quality gate. Everything downstream reads these and nothing else.",
            group_name="market_data",
            kinds={"parquet", "polars"},
            owners=["team:data"],
        ),
        dg.AssetSpec(
            "quarantined_bars",
            deps=["raw_bars", "corporate_actions"],
            description="Rows kept out of `bars`, each with its reasons. Never deleted.",
            group_name="market_data",
            kinds={"parquet", "polars"},
            owners=["team:data"],
        ),
    ],
    check_specs=[
        dg.AssetCheckSpec("nothing_dropped", asset="bars", description="Raw rows are bars and quarantined rows."),
        dg.AssetCheckSpec("sessions_usable", asset="bars", description="No session is a hole of the vendor."),
        dg.AssetCheckSpec("no_look_ahead", asset="bars", description="No bar of a later session, or one filed twice."),
        dg.AssetCheckSpec("jumps_explained", asset="bars", description="No price level waits for an explanation."),
        dg.AssetCheckSpec(
            "quarantined_share", asset="quarantined_bars", description="Few rows of the range are in quarantine."
        ),
    ],
    partitions_def=SESSIONS,
    backfill_policy=IN_ONE_RUN,
)
def gated_bars(
    context: dg.AssetExecutionContext, lake: LakeResource, market_data: MarketDataResource
) -> Iterator[dg.MaterializeResult]:
    """Judge raw bars, row by row, against the rows around them, and session by session.

    Rows that break the bar format, or that no real market can have made, go to quarantine with their reasons; see
    `docs/quality.md`. A session whose verdict later bars have changed is written again.
    """
    sessions = sessions_of(context)
    judged = judge_sessions(
        lake.lake(),
        sessions,
        market_data.gate,
        second_vendor=market_data.reference_vendor,
        known_at=knowledge_of(context),
    )
    report(
        context,
        sessions,
        {
            "total_rows": judged.bars.height,
            "sessions": len(sessions),
            "symbols": judged.bars["symbol"].n_unique(),
            "missing": judged.verdicts.filter(pl.col("verdict") == "missing").height,
            "sessions_not_usable": table(judged.sessions.filter(pl.col("verdict") != USABLE)),
            "sessions_judged_again": ", ".join(map(str, judged.rejudged)) or "none",
            "last_session": table(judged.bars.filter(pl.col("session") == sessions[-1])),
            "prices": _prices(judged, lake.lake(), sessions, knowledge_of(context)),
        },
        per_session=numbers_by_session(judged.bars, rows=pl.len()),
        asset="bars",
    )
    report(
        context,
        sessions,
        {
            "total_rows": judged.quarantined.height,
            "by_reason": dg.MetadataValue.json(reason_counts(judged.quarantined)),
            "rows": table(judged.quarantined),
        },
        per_session=numbers_by_session(judged.quarantined, rows=pl.len()),
        asset="quarantined_bars",
    )
    checks = _checks(judged, lake.lake(), sessions)
    for asset in ("bars", "quarantined_bars"):
        mine = [check for check in checks if check.asset_key == dg.AssetKey(asset)]
        yield dg.MaterializeResult(asset_key=asset, check_results=mine)


def _checks(judged: Judged, store: Lake, sessions: Sequence[date]) -> list[dg.AssetCheckResult]:
    """Turn the numbers of the one pass into checks. None blocks: what must not trade is kept out by the gate itself.

    The rows that came out are counted in what the lake holds now, not in what was handed to it.
    """
    reasons = reason_counts(judged.quarantined)
    unusable = judged.sessions.filter(pl.col("verdict") != USABLE)
    share = judged.quarantined.height / max(judged.raw_rows, 1)
    rows: Numbers = {
        "raw": judged.raw_rows,
        "bars": _stored(store, Dataset.BARS, sessions),
        "quarantined": _stored(store, Dataset.QUARANTINED_BARS, sessions),
    }
    doubtful: Numbers = {name: reasons.get(name, 0) for name in ("look_ahead", "repeated_bar")}
    waiting: Numbers = {
        name: reasons.get(name, 0) for name in ("outlier", "unadjusted_split", "mixed_basis", "scale_error")
    }
    span: Numbers = {"first": str(judged.sessions["session"].min()), "last": str(judged.sessions["session"].max())}
    found: list[tuple[str, str, bool, Numbers]] = [
        ("bars", "nothing_dropped", rows["raw"] == rows["bars"] + rows["quarantined"], rows),
        ("bars", "sessions_usable", unusable.is_empty(), {"not_usable": table(unusable)}),
        ("bars", "no_look_ahead", not any(doubtful.values()), doubtful),
        ("bars", "jumps_explained", not any(waiting.values()), waiting),
        ("quarantined_bars", "quarantined_share", share <= QUARANTINED_SHARE, {"share": share} | rows),
    ]
    return [
        dg.AssetCheckResult(
            asset_key=asset,
            check_name=name,
            passed=passed,
            severity=dg.AssetCheckSeverity.WARN,
            metadata=metadata | span,
        )
        for asset, name, passed, metadata in found
    ]


def _prices(
    judged: Judged, store: Lake, sessions: Sequence[date], known_at: datetime | None
) -> dg.MarkdownMetadataValue:
    """Draw the symbols with most in quarantine, or else the most traded, up to the last session of the run."""
    histories = price_histories(
        store,
        worth_a_look(judged.bars, judged.quarantined, count=PLOTTED_SYMBOLS),
        start=min(sessions[0], xnys().shift_within(sessions[-1], 1 - PLOTTED_SESSIONS)),
        end=sessions[-1],
        known_at=known_at,
    )
    return plot(as_data_uri(price_plot(histories)), "Closes, corporate actions and quarantined bars")


def _stored(store: Lake, dataset: Dataset, sessions: Sequence[date]) -> int:
    live = store.catalog(dataset).live
    return sum(live[session].rows for session in sessions if session in live)

"""The features of fresh symbols."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from assets.context import done_before_failing, numbers_by_session, plot, report, sessions_of, table
from resources import FeaturesResource, LakeResource, MarketDataResource, ModelRegistryResource
from trading_pipeline.adapters.plots import drift_plot
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.features.drift import MAJOR, MODERATE, feature_drift
from trading_pipeline.core.freshness import FRESH, MISSING, STALE
from trading_pipeline.core.manifest import freshness_manifest, insufficient_sessions, require_usable, sessions_back
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import ModelError, ServerUnavailable
from trading_pipeline.partitions import IN_ONE_RUN, SESSIONS
from trading_pipeline.services.features import FeatureStore, feature_store

SHOWN = 20
DRIFT_SESSIONS = 20
"""Sessions up to the last one of a run whose features are compared with the training window: one alone says little."""


@dg.asset(
    deps=["bars", "corporate_actions"],
    check_specs=[
        dg.AssetCheckSpec("fresh_enough", asset="features", description="Enough symbols of every session are fresh."),
    ],
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
    models: ModelRegistryResource,
) -> Iterator[dg.AssetMaterialization | dg.AssetCheckResult | dg.MaterializeResult]:
    """The features that `FEATURE_SET` names, for every symbol that is fresh as of the session's close.

    Definitions are expressions in pyqlib's notation. Any range is computed in one run, and only what its bars have
    changed: a value whose bars, definitions and code are those it was made of is not computed again. A symbol of the
    universe whose bar is missing or old is left out and listed. A session of which fewer than `min_fresh_pct` of them
    are fresh stops here: the run fails and names it, after the other sessions of its range are done. Drift is that of
    the last 20 sessions against the training window of the champion.
    """
    sessions = sessions_of(context)
    store = lake.lake()
    manifest = write_freshness(store, market_data, sessions)
    computed = feature_store(store, feature_set.compiled())
    yield from _stop_insufficient(computed, sessions, manifest)
    update = computed.update(sessions, manifest)
    last = store.read_session(Dataset.FEATURES, sessions[-1])
    names = last.columns[2:]
    report(
        context,
        sessions,
        {
            "summary": f"{update.computed} of {update.rows} rows computed, {update.reused} as they were",
            "sessions": len(sessions),
            "sessions_changed": update.sessions_changed,
            "total_rows": update.rows,
            "rows_computed": update.computed,
            "rows_reused": update.reused,
            "feature_set": feature_set.expected_hash,
            "features": len(names),
            "coverage": last.height / manifest.filter(pl.col("session") == sessions[-1]).height,
            "missing_share": _missing_share(last),
            "most_missing": table(_most_missing(last)),
            "not_fresh": table(manifest.filter(pl.col("state") != FRESH)),
            "last_session": table(last.select(last.columns[:14])),
            **_drift(store, models, sessions[-1]),
        },
        per_session=_coverage(manifest),
    )
    context.log.info(
        "features of %s to %s: %d rows computed, %d reused", sessions[0], sessions[-1], update.computed, update.reused
    )
    yield dg.MaterializeResult(check_results=[_fresh_enough(manifest)])


def write_freshness(store: Lake, market_data: MarketDataResource, sessions: list[date]) -> pl.DataFrame:
    """Judge the freshness of the universe at every session, store it, and return it.

    Sessions with too few fresh symbols are stored as not usable; `require_usable` names them.
    """
    back = sessions_back(market_data.max_age_minutes)
    manifest = freshness_manifest(
        store.read(
            Dataset.BARS,
            start=xnys().shift_within(sessions[0], -back),
            end=sessions[-1],
            columns=["session", "symbol", "ended_at"],
        ),
        sessions=sessions,
        expected=market_data.members().members(sessions),
        max_age_minutes=market_data.max_age_minutes,
        min_fresh_pct=market_data.min_fresh_pct,
        calendar=xnys(),
    )
    store.write(Dataset.FRESHNESS, manifest, sessions=sessions)
    return manifest


def _stop_insufficient(
    store: FeatureStore, sessions: list[date], manifest: pl.DataFrame
) -> Iterator[dg.AssetMaterialization | dg.AssetCheckResult]:
    """Stop a run that has sessions with too few fresh symbols, after the others were computed and reported.

    Features that such a session had are emptied: nothing later may mistake them for good.

    Raises:
        InsufficientFreshness: names the sessions that failed.
    """
    failed = insufficient_sessions(manifest)
    if not failed:
        return
    had = [session for session in failed if store.lake.has(Dataset.FEATURES, session)]
    if had:
        store.update(had, manifest.clear())
    good = [session for session in sessions if session not in set(failed)]
    if good:
        usable = manifest.filter("session_usable")
        store.update(good, usable)
        yield from done_before_failing("features", _coverage(usable), good)
    yield _fresh_enough(manifest)
    require_usable(manifest)


def _fresh_enough(manifest: pl.DataFrame) -> dg.AssetCheckResult:
    failed = insufficient_sessions(manifest)
    states = dict(manifest["state"].value_counts().iter_rows())
    worst = min(_coverage(manifest).items(), key=lambda one: one[1]["coverage_pct"])
    return dg.AssetCheckResult(
        check_name="fresh_enough",
        passed=not failed,
        metadata={
            "sessions": manifest["session"].n_unique(),
            "sessions_not_fresh_enough": len(failed),
            "which": ", ".join(map(str, failed[:SHOWN])) or "none",
            "worst_session": str(worst[0]),
            "worst_coverage_pct": worst[1]["coverage_pct"],
            **{state: states.get(state, 0) for state in (FRESH, STALE, MISSING)},
        },
    )


def _coverage(manifest: pl.DataFrame) -> dict[date, dict[str, Any]]:
    fresh = pl.col("state") == FRESH
    return numbers_by_session(manifest, fresh=fresh.sum(), coverage_pct=fresh.mean() * 100)


def _drift(store: Lake, models: ModelRegistryResource, last: date) -> dict[str, Any]:
    """Compare with the champion's training window; a reason where that cannot be done, as it stops nothing."""
    try:
        registry = models.registry()
        champion = registry.champion(models.model_name)
        reference = registry.drift_reference(champion)
    except (ModelError, ServerUnavailable) as reason:
        return {"drift": f"not measured: {reason.message}"}
    recent = store.read(Dataset.FEATURES, start=xnys().shift(last, 1 - DRIFT_SESSIONS), end=last)
    drift = feature_drift(reference, recent)
    return {
        "drift": f"against the training window of {champion.name} version {champion.version}",
        "drift_worst_psi": drift["psi"][0],
        "drifted_moderately": drift.filter(pl.col("psi") > MODERATE).height,
        "drifted_much": drift.filter(pl.col("psi") > MAJOR).height,
        "drift_worst": table(drift.head(25)),
        "drift_plot": plot(drift_plot(drift["feature"].to_list(), drift["psi"].to_list()), "PSI of the worst features"),
    }


def _most_missing(frame: pl.DataFrame) -> pl.DataFrame:
    shares = frame.drop("session", "symbol").null_count().unpivot(variable_name="feature", value_name="missing")
    shares = shares.select("feature", share=pl.col("missing") / max(frame.height, 1)).filter(pl.col("share") > 0)
    return shares.sort("share", "feature", descending=[True, False]).head(25)


def _missing_share(frame: pl.DataFrame) -> float:
    cells = frame.height * (frame.width - 2)
    return sum(frame.null_count().row(0)) / cells if cells else 0.0

"""Scores of the champion model, pinned to its version."""

from collections.abc import Iterator
from datetime import date

import dagster as dg
import polars as pl

from assets.context import done_before_failing, numbers_by_session, report, sessions_of, table
from resources import FeaturesResource, LakeResource, ModelRegistryResource
from trading_pipeline.adapters.models import ModelRegistry, ModelVersion
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.features import FeatureSet
from trading_pipeline.core.features.sets import differences
from trading_pipeline.core.freshness import FRESH
from trading_pipeline.core.training import predict
from trading_pipeline.errors import ModelError, ModelLooksAhead
from trading_pipeline.partitions import IN_ONE_RUN, SESSIONS
from trading_pipeline.services.features import require_features_of
from trading_pipeline.services.session_gate import failed_gates, one_refusal

SHOWN = 10
"""Differing features a message names; the fields of the error hold all."""


@dg.asset(
    deps=["features", "model"],
    partitions_def=SESSIONS,
    backfill_policy=IN_ONE_RUN,
    group_name="research",
    kinds={"lightgbm", "parquet"},
    owners=["team:research"],
)
def predictions(
    context: dg.AssetExecutionContext, lake: LakeResource, feature_set: FeaturesResource, models: ModelRegistryResource
) -> Iterator[dg.AssetMaterialization | dg.MaterializeResult]:
    """The champion's score of every symbol with features, higher is better, rank 1 is best within the session.

    Each row carries the model's name, version and digest. A session that the model was trained on is refused: its score
    would be a look-ahead. A session that did not pass its gates gets none: the run fails and names it, after the others
    of its range are done.
    """
    store, asked = lake.lake(), sessions_of(context)
    refused = failed_gates(store, asked)
    if len(refused) == len(asked):
        raise one_refusal(refused)
    sessions = [session for session in asked if session not in refused]
    registry = models.registry()
    champion = registry.champion(models.model_name)
    _require_same_features(registry, champion, feature_set.compiled().feature_set)
    _require_unseen(champion.name, champion.version, champion.labels_known_at, sessions)
    require_features_of(store, feature_set.compiled().feature_set, sessions)
    features = store.read(Dataset.FEATURES, start=sessions[0], end=sessions[-1])
    features = features.filter(pl.col("session").is_in(sessions))
    scored = predict(registry.load(champion), features).with_columns(
        pl.lit(champion.name).alias("model_name"),
        pl.lit(champion.version).cast(pl.String).alias("model_version"),
        pl.lit(champion.digest).alias("model_digest"),
        pl.lit(champion.feature_set_hash).alias("feature_set_hash"),
    )
    store.write(Dataset.PREDICTIONS, scored, sessions=sessions)
    score = pl.col("score")
    numbers = numbers_by_session(scored, rows=pl.len(), score_spread=score.max() - score.min())
    if refused:
        yield from done_before_failing("predictions", numbers, sessions)
        raise one_refusal(refused)
    report(
        context,
        sessions,
        {
            "model": f"{champion.name} version {champion.version}",
            "model_digest": champion.digest,
            "total_rows": scored.height,
            "excluded": _excluded(store, sessions[-1]),
            "last_session": table(scored.filter(pl.col("session") == sessions[-1]).sort("rank")),
        },
        per_session=numbers,
    )
    yield dg.MaterializeResult()


def _excluded(store: Lake, session: date) -> str:
    """Say which symbols of the universe get no score, as their data are not fresh."""
    states = store.read_session(Dataset.FRESHNESS, session).filter(pl.col("state") != FRESH)
    return ", ".join(f"{symbol}: {state}" for symbol, state in states.select("symbol", "state").iter_rows()) or "none"


def _require_same_features(registry: ModelRegistry, champion: ModelVersion, served: FeatureSet) -> None:
    if champion.feature_set_hash == served.hash:
        return
    differing = differences(registry.feature_set(champion), served)
    shown = "; ".join(differing[:SHOWN]) + ("; ..." if len(differing) > SHOWN else "")
    raise ModelError(
        f"model {champion.name} version {champion.version} was trained on feature set "
        f"{champion.feature_set_hash[:12]}, but FEATURE_SET is {served.name} ({served.hash[:12]}): "
        f"{len(differing)} feature(s) differ: {shown}. Train it again, or set FEATURE_SET back",
        trained=champion.feature_set_hash,
        served=served.hash,
        differing=differing,
    )


def _require_unseen(name: str, version: str, labels_known_at: date, sessions: list[date]) -> None:
    seen = [day for day in sessions if day <= labels_known_at]
    if seen:
        raise ModelLooksAhead(
            f"model {name} version {version} has learnt from labels known up to {labels_known_at}: "
            f"a prediction for {seen[0]} would look ahead. Train a model that ends earlier, or choose later sessions",
            sessions=[day.isoformat() for day in seen[:20]],
            labels_known_at=labels_known_at.isoformat(),
        )

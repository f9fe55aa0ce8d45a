"""The model: trained on sessions before the traded ones, registered, and made champion."""

import dagster as dg

from assets.context import plot, table
from resources import FeaturesResource, LakeResource, ModelRegistryResource
from trading_pipeline.adapters.models import ic_plot
from trading_pipeline.adapters.plots import as_data_uri
from trading_pipeline.adapters.store.adjusted import read_instrument_bars
from trading_pipeline.adapters.store.lake import Dataset
from trading_pipeline.core.labels import LABEL_HORIZON, LabelKind, compute_labels
from trading_pipeline.core.sessions import xnys
from trading_pipeline.core.training import TrainingConfig, train
from trading_pipeline.errors import ModelError
from trading_pipeline.services.features import require_features_of

SHORTEST_HISTORY = 250
"""Sessions of features below which nothing worth trading can be learnt."""


class ModelConfig(dg.Config):
    """What to train on.

    `holdout_sessions`: the newest sessions of features that are kept for trading; no label that was known only during
    one of them is used. `label`: `open_to_open` or `close_to_close`, both from T+1 to T+2.
    """

    holdout_sessions: int = 20
    label: str = LabelKind.OPEN_TO_OPEN.value


@dg.asset(
    deps=["features", "bars"],
    group_name="research",
    kinds={"lightgbm", "mlflow"},
    owners=["team:research"],
)
def model(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    feature_set: FeaturesResource,
    models: ModelRegistryResource,
    config: ModelConfig,
) -> None:
    """A LightGBM regressor of the return from T+1 to T+2, trained on all sessions before the holdout.

    Logged to MLflow with IC and RankIC of every validation session, and registered under the alias `champion`.
    """
    store = lake.lake()
    written = store.sessions(Dataset.FEATURES)
    usable = written[: len(written) - config.holdout_sessions - LABEL_HORIZON]
    if len(usable) < SHORTEST_HISTORY:
        raise ModelError(
            f"{len(written)} sessions of features leave {len(usable)} to train on after a holdout of "
            f"{config.holdout_sessions}; at least {SHORTEST_HISTORY} are needed: backfill `features` first"
        )
    compiled = feature_set.compiled()
    require_features_of(store, compiled.feature_set, usable)
    kind = LabelKind(config.label)
    features = store.read(Dataset.FEATURES, start=usable[0], end=usable[-1])
    label_end = xnys().shift(usable[-1], LABEL_HORIZON)
    bars = read_instrument_bars(store, start=usable[0], end=label_end)
    calendar = xnys().between(usable[0], label_end)
    labels = compute_labels(bars.drop("symbol").rename({"instrument": "symbol"}), calendar=calendar, kind=kind)
    names = bars.select("session", "symbol", "instrument")
    labels = labels.rename({"symbol": "instrument"}).join(names, on=["session", "instrument"]).select(labels.columns)
    context.log.info("training on %d sessions, %s to %s", len(usable), usable[0], usable[-1])
    trained = train(
        features,
        labels,
        feature_set=compiled.feature_set,
        config=TrainingConfig(label_kind=kind),
        train_through=usable[-1],
    )
    picture = ic_plot(trained.ic)
    version = models.registry().register(trained, name=models.model_name, plots={"ic.svg": picture})
    context.add_output_metadata(
        {
            "name": version.name,
            "version": version.version,
            "digest": version.digest,
            "feature_set": version.feature_set_hash,
            "trained_through": trained.trained_through.isoformat(),
            "labels_known_at": trained.labels_known_at.isoformat(),
            **trained.metrics,
            "ic_by_session": plot(as_data_uri(picture), "IC and RankIC by validation session"),
            "importance": table(trained.importance.head(25)),
        }
    )

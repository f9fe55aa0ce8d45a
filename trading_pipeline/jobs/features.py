"""Features in shards of symbols: each shard a step, run by processes of this machine or by workers of several."""

from collections.abc import Iterator
from datetime import date

import dagster as dg
from dagster_celery import celery_executor

from assets.features import write_freshness
from resources import FeaturesResource, LakeResource, MarketDataResource
from trading_pipeline.adapters.store.lake import Dataset
from trading_pipeline.core.manifest import require_usable
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import DataQualityError
from trading_pipeline.services.features import FeatureStore, feature_store
from trading_pipeline.services.shards import ShardFolder, compute_shard, merge_shards, split_symbols

ON_CELERY = celery_executor.configured(
    {
        "broker": {"env": "CELERY_BROKER_URL"},
        "backend": {"env": "CELERY_RESULT_BACKEND"},
        "config_source": {"worker_prefetch_multiplier": 1},
    },
    name="celery",
)
"""Workers of `trading_pipeline.workers`, which read the same variables."""


class ShardedRange(dg.Config):
    """Which sessions, both ends included, and into how many shards the symbols are dealt out."""

    start: str
    end: str
    shards: int = 4


@dg.op(out=dg.DynamicOut(dict), description="Judges freshness and deals the symbols out.")
def plan_shards(
    context: dg.OpExecutionContext,
    config: ShardedRange,
    lake: LakeResource,
    feature_set: FeaturesResource,
    market_data: MarketDataResource,
) -> Iterator[dg.DynamicOutput[dict]]:
    """Give one shard per group of symbols."""
    sessions = xnys().between(date.fromisoformat(config.start), date.fromisoformat(config.end))
    if not sessions or config.shards < 1:
        raise DataQualityError(
            f"{config.start} to {config.end} holds {len(sessions)} sessions, for {config.shards} shards: give at least "
            "one of each"
        )
    manifest = write_freshness(lake.lake(), market_data, sessions)
    require_usable(manifest)
    store = feature_store(lake.lake(), feature_set.compiled())
    groups = split_symbols(store, manifest["symbol"].to_list(), config.shards)
    context.log.info("%d sessions, %d symbols in %d shards", len(sessions), manifest["symbol"].n_unique(), len(groups))
    for number, symbols in enumerate(groups):
        shard = {"start": config.start, "end": config.end, "number": number, "symbols": symbols, "shards": len(groups)}
        yield dg.DynamicOutput(shard, mapping_key=f"shard_{number}")


@dg.op(description="Computes the features of one shard and leaves them as files.")
def shard_features(
    context: dg.OpExecutionContext, shard: dict, lake: LakeResource, feature_set: FeaturesResource
) -> dict:
    """Compute one shard; again after a crash, with the same outcome."""
    store, sessions = _range(lake, feature_set, shard)
    manifest = lake.lake().read(Dataset.FRESHNESS, start=sessions[0], end=sessions[-1])
    computed = compute_shard(
        store,
        feature_set.shards(context.run_id),
        sessions=sessions,
        manifest=manifest,
        shard=shard["number"],
        symbols=shard["symbols"],
    )
    context.add_output_metadata({"symbols": len(shard["symbols"]), "rows_computed": computed})
    return {name: shard[name] for name in ("start", "end", "shards")}


@dg.op(out=dg.Out(dg.Nothing), description="Stores the features of all shards and reports each session.")
def merge_features(
    context: dg.OpExecutionContext, done: list[dict], lake: LakeResource, feature_set: FeaturesResource
) -> None:
    """Write the lake once all shards are there."""
    store, sessions = _range(lake, feature_set, done[0])
    manifest = lake.lake().read(Dataset.FRESHNESS, start=sessions[0], end=sessions[-1])
    folder: ShardFolder = feature_set.shards(context.run_id)
    update = merge_shards(store, folder, sessions=sessions, manifest=manifest, shards=done[0]["shards"])
    metadata = {"rows_computed": update.computed, "rows_reused": update.reused, "shards": done[0]["shards"]}
    for session in sessions:
        context.log_event(dg.AssetMaterialization("features", partition=session.isoformat(), metadata=metadata))
    context.add_output_metadata({**metadata, "sessions_changed": update.sessions_changed})


def _range(lake: LakeResource, feature_set: FeaturesResource, shard: dict) -> tuple[FeatureStore, list[date]]:
    sessions = xnys().between(date.fromisoformat(shard["start"]), date.fromisoformat(shard["end"]))
    return feature_store(lake.lake(), feature_set.compiled()), sessions


@dg.graph(
    description="The features of a range in shards of symbols, to the byte what `history` makes of the same bars."
)
def sharded_features() -> None:
    """Plan, compute each shard, merge."""
    merge_features(plan_shards().map(shard_features).collect())


FEATURES_SHARDED = sharded_features.to_job(name="features_sharded", executor_def=dg.multiprocess_executor)
FEATURES_CELERY = sharded_features.to_job(name="features_celery", executor_def=ON_CELERY)

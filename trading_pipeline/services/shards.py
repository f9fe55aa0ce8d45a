"""Features computed in shards of symbols by several processes: files in a shared folder, merged in one step."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from trading_pipeline.errors import ConfigError, DataQualityError
from trading_pipeline.services.features import FeatureResult, FeatureStore, FeatureUpdate


@dataclass(frozen=True, slots=True)
class ShardFolder:
    """The files of one sharded computation, under a folder that all its processes see."""

    path: Path

    def file(self, kind: str, part: int, shard: int) -> Path:
        """Return where the inputs or values of a part of the sessions and a shard of the symbols are."""
        return self.path / f"{kind}-{part:04d}-{shard:04d}.parquet"

    def put(self, kind: str, part: int, shard: int, frame: pl.DataFrame) -> None:
        """Write a file whole: a process that dies leaves none, and one that repeats the work replaces it."""
        self.path.mkdir(parents=True, exist_ok=True)
        target = self.file(kind, part, shard)
        unfinished = target.with_suffix(".tmp")
        frame.write_parquet(unfinished, compression="lz4")
        unfinished.replace(target)

    def get(self, kind: str, part: int, shards: int) -> pl.DataFrame:
        """Return what all shards made of a part.

        Raises:
            DataQualityError: a file is absent: the folder is not shared, or a shard did not finish.
        """
        absent = [path for shard in range(shards) if not (path := self.file(kind, part, shard)).is_file()]
        if absent:
            raise DataQualityError(
                f"{absent[0]} is absent: every worker must see the same PIPELINE_HOME; run the job again",
                absent=[str(path) for path in absent],
            )
        return pl.concat(pl.read_parquet(self.file(kind, part, shard)) for shard in range(shards))

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)


def split_symbols(store: FeatureStore, symbols: Sequence[str], shards: int) -> list[list[str]]:
    """Deal the symbols out, one after another, so that every shard gets as many and as old ones.

    Raises:
        ConfigError: a feature compares symbols, so that no shard could compute it alone.
    """
    if store.compiled.cross_section:
        raise ConfigError(
            f"feature set {store.compiled.feature_set.name} compares symbols, so it cannot be computed in shards of "
            "symbols: run the job `history` instead",
            feature_set=store.compiled.feature_set.name,
        )
    ordered = sorted(set(symbols))
    return [ordered[at::shards] for at in range(min(shards, len(ordered)))]


def compute_shard(
    store: FeatureStore,
    folder: ShardFolder,
    *,
    sessions: Sequence[date],
    manifest: pl.DataFrame,
    shard: int,
    symbols: Sequence[str],
) -> int:
    """Compute what is outdated of some symbols, put it into the folder, and return the rows computed."""
    computed = 0
    for part, chunk in enumerate(store.chunks(sessions, manifest["symbol"].n_unique())):
        result = store.compute(store.plan(chunk, manifest, symbols))
        folder.put("inputs", part, shard, result.inputs)
        folder.put("values", part, shard, result.values)
        computed += result.values.height
    return computed


def merge_shards(
    store: FeatureStore, folder: ShardFolder, *, sessions: Sequence[date], manifest: pl.DataFrame, shards: int
) -> FeatureUpdate:
    """Store what the shards made, to the byte what one process would have stored, and remove the folder."""
    rows, computed, changed = 0, 0, 0
    for part, chunk in enumerate(store.chunks(sessions, manifest["symbol"].n_unique())):
        inputs, values = (folder.get(kind, part, shards) for kind in ("inputs", "values"))
        changed += len(store.store(FeatureResult(sessions=tuple(chunk), inputs=inputs, values=values)))
        rows += inputs.height
        computed += values.height
    folder.remove()
    return FeatureUpdate(rows=rows, computed=computed, sessions_changed=changed)

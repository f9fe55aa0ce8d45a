"""The feature set of this deployment."""

from pathlib import Path
from typing import Any, Self

import dagster as dg

from trading_pipeline.adapters.feature_files import load_feature_set
from trading_pipeline.core.features import CompiledFeatures, compile_features
from trading_pipeline.core.features.parser import parse
from trading_pipeline.core.features.reach import reach_of
from trading_pipeline.core.features.sets import PACKAGED, FeatureSet
from trading_pipeline.errors import ConfigError
from trading_pipeline.services.shards import ShardFolder


class FeaturesResource(dg.ConfigurableResource[Any]):
    """Finds the feature set that the assets were defined with.

    `source` is what `FEATURE_SET` names; `expected_hash` is the set's hash when the code location was loaded;
    `work_folder` is where shards leave their files: every worker must see it.
    """

    source: str
    expected_hash: str
    work_folder: str

    @classmethod
    def of(cls, source: str, work_folder: Path) -> Self:
        """Remember the set that `source` names now.

        Raises:
            ConfigError: no such set, a mistake in its file, or a feature that looks ahead.
        """
        feature_set = load_feature_set(source)
        _require_no_lookahead(feature_set)
        named = source if source in PACKAGED else str(Path(source).absolute())
        return cls(source=named, expected_hash=feature_set.hash, work_folder=str(work_folder))

    def shards(self, run_id: str) -> ShardFolder:
        """Return the folder of the shards of one run."""
        return ShardFolder(Path(self.work_folder) / run_id)

    def compiled(self) -> CompiledFeatures:
        """Return the set, ready to compute.

        Raises:
            ConfigError: the file cannot be read, or is another one by now.
        """
        feature_set = load_feature_set(self.source)
        if feature_set.hash != self.expected_hash:
            raise ConfigError(
                f"the feature set {self.source} is {feature_set.hash[:12]} now and was {self.expected_hash[:12]} when "
                "Dagster loaded it: reload the code location, then run again",
                source=self.source,
            )
        return compile_features(feature_set)


def _require_no_lookahead(feature_set: FeatureSet) -> None:
    ahead = [feature for feature in feature_set.features if reach_of(parse(feature.expression)).ahead > 0]
    if ahead:
        shown = "; ".join(f"{feature.name}: {feature.expression}" for feature in ahead[:5])
        raise ConfigError(
            f"FEATURE_SET: {len(ahead)} feature(s) of {feature_set.name} use the future: {shown}. Take them out: only "
            "labels look ahead",
            features=[feature.name for feature in ahead],
        )

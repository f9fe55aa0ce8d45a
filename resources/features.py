"""The feature set of this deployment."""

from pathlib import Path
from typing import Any, Self

import dagster as dg

from trading_pipeline.adapters.feature_files import load_feature_set
from trading_pipeline.core.features import CompiledFeatures, compile_features
from trading_pipeline.core.features.sets import PACKAGED
from trading_pipeline.errors import ConfigError


class FeaturesResource(dg.ConfigurableResource[Any]):
    """Finds the feature set that the assets were defined with.

    `source` is what `FEATURE_SET` names; `expected_hash` is the set's hash when the code location was loaded.
    """

    source: str
    expected_hash: str

    @classmethod
    def of(cls, source: str) -> Self:
        """Remember the set that `source` names now.

        Raises:
            ConfigError: no such set, or a mistake in its file.
        """
        feature_set = load_feature_set(source)
        named = source if source in PACKAGED else str(Path(source).absolute())
        return cls(source=named, expected_hash=feature_set.hash)

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

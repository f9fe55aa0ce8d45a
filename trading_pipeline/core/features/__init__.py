"""Feature expressions in pyqlib's notation, compiled to Polars; computes from bars in memory and reads nothing else."""

from trading_pipeline.core.features.compiler import CompiledFeatures, compile_features
from trading_pipeline.core.features.sets import Feature, FeatureSet, alpha158, alpha360

__all__ = ["CompiledFeatures", "Feature", "FeatureSet", "alpha158", "alpha360", "compile_features"]

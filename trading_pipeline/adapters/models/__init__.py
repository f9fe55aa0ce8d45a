"""The model registry on MLflow, and pictures of how models did; trains and scores nothing."""

from trading_pipeline.adapters.models.plots import ic_plot
from trading_pipeline.adapters.models.registry import ModelRegistry
from trading_pipeline.adapters.models.version import ModelVersion

__all__ = ["ModelRegistry", "ModelVersion", "ic_plot"]

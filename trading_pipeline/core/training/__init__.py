"""Training, evaluation and prediction with LightGBM, from frames in memory to a model in memory."""

from trading_pipeline.core.training.config import TrainingConfig
from trading_pipeline.core.training.evaluation import information_coefficients
from trading_pipeline.core.training.fitting import train
from trading_pipeline.core.training.model import TrainedModel, model_digest
from trading_pipeline.core.training.prediction import predict
from trading_pipeline.core.training.split import SessionSplit, split_sessions

__all__ = [
    "SessionSplit",
    "TrainedModel",
    "TrainingConfig",
    "information_coefficients",
    "model_digest",
    "predict",
    "split_sessions",
    "train",
]

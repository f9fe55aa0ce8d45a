"""The asset chain, one file a layer."""

from assets.bars import gated_bars
from assets.features import features
from assets.fills import fills
from assets.model import model
from assets.pnl import pnl
from assets.positions import positions
from assets.predictions import predictions
from assets.raw_bars import raw_bars
from assets.submitted_orders import submitted_orders
from assets.target_portfolio import target_portfolio

ALL_ASSETS = (
    raw_bars,
    gated_bars,
    features,
    model,
    predictions,
    target_portfolio,
    submitted_orders,
    fills,
    positions,
    pnl,
)

__all__ = ["ALL_ASSETS"]

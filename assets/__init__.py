"""The asset chain, one file a layer."""

from collections.abc import Sequence

import dagster as dg

from assets.bars import gated_bars
from assets.corporate_actions import corporate_actions
from assets.features import features
from assets.fills import fills
from assets.model import model
from assets.pnl import pnl
from assets.positions import positions
from assets.predictions import predictions
from assets.raw_bars import raw_bars
from assets.restatement_report import restatement_report
from assets.submitted_orders import submitted_orders
from assets.target_portfolio import target_portfolio
from assets.tie_out import tie_out

ALL_ASSETS = (
    raw_bars,
    corporate_actions,
    gated_bars,
    features,
    model,
    predictions,
    target_portfolio,
    tie_out,
    submitted_orders,
    fills,
    positions,
    pnl,
    restatement_report,
)

MADE_OF_FEATURES = {dg.AssetKey("features"), dg.AssetKey("model"), dg.AssetKey("predictions")}


def assets_of(feature_set_hash: str) -> Sequence[dg.AssetsDefinition]:
    """Return all assets, with the feature set's hash as the code version of those that it defines."""
    return dg.map_asset_specs(
        lambda spec: (
            spec.replace_attributes(code_version=feature_set_hash[:12]) if spec.key in MADE_OF_FEATURES else spec
        ),
        ALL_ASSETS,
    )


__all__ = ["ALL_ASSETS", "assets_of"]

"""Asset jobs: the whole session, the orders alone, and training."""

import dagster as dg

from assets.submitted_orders import ORDER_LANE

NEVER_RETRIED = {"dagster/max_retries": "0"}
"""A run that may send orders is repeated by a person or not at all."""

DAILY_SESSION = dg.define_asset_job(
    "daily_session",
    selection=dg.AssetSelection.all() - dg.AssetSelection.assets("model", "restatement_report"),
    description="Everything of one session: bars to orders, and fills, positions and P&L of the orders decided before.",
    tags=ORDER_LANE | NEVER_RETRIED,
)

TRADE_SESSION = dg.define_asset_job(
    "trade_session",
    selection=dg.AssetSelection.assets(
        "predictions", "target_portfolio", "tie_out", "submitted_orders", "fills", "positions", "pnl"
    ),
    description="One session whose features are there already: predictions to orders, and what became of those before.",
    tags=ORDER_LANE | NEVER_RETRIED,
)

SUBMIT_ORDERS = dg.define_asset_job(
    "submit_orders",
    selection=dg.AssetSelection.assets("submitted_orders"),
    description="Submit the orders of one session again: what was sent stays sent, what was refused is asked again.",
    tags=ORDER_LANE | NEVER_RETRIED,
)

TRAIN_MODEL = dg.define_asset_job(
    "train_model",
    selection=dg.AssetSelection.assets("model"),
    description="Train on all sessions before the holdout, register, and make the new version champion.",
)

HISTORY = dg.define_asset_job(
    "history",
    selection=dg.AssetSelection.assets("raw_bars", "corporate_actions", "bars", "quarantined_bars", "features"),
    description="Bars and features of any range of sessions, in one run.",
)

SESSION_FEATURES = dg.define_asset_job(
    "session_features",
    selection=HISTORY.selection,
    description="Bars and features of one session, before its orders are decided; what is there already is left alone.",
)

COMPARE_RESTATED = dg.define_asset_job(
    "compare_restated",
    selection=dg.AssetSelection.assets("restatement_report"),
    description="What was traded beside what the data of today would have traded, of any range of traded sessions.",
)

REPORTS = dg.define_asset_job(
    "reports",
    selection=dg.AssetSelection.assets("fills", "positions", "pnl"),
    description="Fills, positions and P&L of any range of sessions; settles up to its end first.",
    tags=ORDER_LANE,
)

"""Corporate actions: splits, payments and changes of symbol, as they become known."""

import dagster as dg

from assets.context import report, sessions_of, table
from resources import LakeResource, MarketDataResource
from trading_pipeline.adapters.store.actions import read_actions, record_actions
from trading_pipeline.partitions import IN_ONE_RUN, SESSIONS


@dg.asset(
    partitions_def=SESSIONS,
    backfill_policy=IN_ONE_RUN,
    group_name="market_data",
    kinds={"parquet"},
    owners=["team:data"],
)
def corporate_actions(context: dg.AssetExecutionContext, lake: LakeResource, market_data: MarketDataResource) -> None:
    """Splits, dividends, spin-offs, mergers and changes of symbol, each version with the instant it became known.

    Every run asks the vendor again for a month before its sessions, as actions are added late; what says nothing new is
    not stored again. Imported ones (`trading-pipeline import-actions FILE`) are here as well. Prices are adjusted for
    them when they are read: see `features`.
    """
    sessions = sessions_of(context)
    store = lake.lake()
    delivered = market_data.actions(sessions[0], sessions[-1])
    new = record_actions(store, delivered)
    known = read_actions(store, start=sessions[0], end=sessions[-1])
    report(
        context,
        sessions,
        {
            "delivered": delivered.height,
            "new": new,
            "total_rows": known.height,
            "by_kind": dg.MetadataValue.json(dict(sorted(known["kind"].value_counts().iter_rows()))),
            "actions": table(known),
        },
    )

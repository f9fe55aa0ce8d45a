"""What was traded, beside what the data of today would have traded."""

from functools import partial

import dagster as dg
import polars as pl

from assets.context import numbers_by_session, report, sessions_of, table
from resources import (
    FeaturesResource,
    LakeResource,
    MarketDataResource,
    ModelRegistryResource,
    PortfolioResource,
    TradingResource,
)
from trading_pipeline.adapters.store.lake import Dataset
from trading_pipeline.partitions import IN_ONE_RUN, SESSIONS
from trading_pipeline.services.restatement import Strategy, compare_restated
from trading_pipeline.services.traded import traded_from


@dg.asset(
    deps=["target_portfolio", "raw_bars", "corporate_actions"],
    partitions_def=SESSIONS,
    backfill_policy=IN_ONE_RUN,
    group_name="market_data",
    kinds={"polars", "parquet"},
    owners=["team:data"],
)
def restatement_report(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    market_data: MarketDataResource,
    feature_set: FeaturesResource,
    models: ModelRegistryResource,
    portfolio: PortfolioResource,
    trading: TradingResource,
) -> None:
    """Targets and orders as they were when the session was traded, and as the bars and actions of now would make them.

    Symbol by symbol, with the version of the model that scored the session then: only data differ. Run it when bars
    were restated or actions came late; it changes nothing that was traded.
    """
    sessions = sessions_of(context)
    store, registry = lake.lake(), models.registry()
    strategy = Strategy(
        compiled=feature_set.compiled(),
        model=lambda name, version: registry.load(registry.version(name, version)),
        gate=market_data.gate,
        second_vendor=market_data.reference_vendor,
        members=market_data.members().members(sessions),
        max_age_minutes=market_data.max_age_minutes,
        min_fresh_pct=market_data.min_fresh_pct,
        portfolio=portfolio.parsed(),
    )
    account = trading.account
    traded = partial(traded_from, account.ledger, account.account, account.strategy_id)
    rows = compare_restated(store, sessions, strategy, traded=traded)
    store.write(Dataset.RESTATEMENT_REPORT, rows, sessions=sessions)
    differing = rows.filter(pl.col("why") != "same")
    order_difference = pl.col("order_shares_now") - pl.col("order_shares")
    moved, reordered = rows.filter(pl.col("shares_difference") != 0), rows.filter(order_difference != 0)
    price = pl.coalesce("close_now", "close")
    report(
        context,
        sessions,
        {
            "summary": f"{moved.height} of {rows.height} targets and {reordered.height} orders would be others, "
            f"{differing.height} rows differ",
            "differences": table(differing.sort(pl.col("shares_difference").abs(), descending=True)),
        },
        per_session=numbers_by_session(
            rows,
            targets_that_differ=(pl.col("shares_difference") != 0).sum(),
            dollars_that_differ=(pl.col("shares_difference").abs() * price).sum().cast(pl.Float64),
            orders_that_differ=(order_difference != 0).sum(),
            order_dollars=pl.col("order_notional").abs().sum().cast(pl.Float64),
            order_dollars_now=pl.col("order_notional_now").abs().sum().cast(pl.Float64),
        ),
    )

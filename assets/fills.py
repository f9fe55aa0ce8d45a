"""Executions of a session, brought home from the broker."""

from datetime import date

import dagster as dg
import polars as pl

from assets.context import numbers_by_session, report, sessions_of, table
from assets.submitted_orders import ORDER_LANE, submitted_orders
from resources import LakeResource, TradingResource
from trading_pipeline.adapters.store.lake import Dataset
from trading_pipeline.adapters.store.ledger import Ledger
from trading_pipeline.partitions import IN_ONE_RUN, PREVIOUS_SESSION, SESSIONS
from trading_pipeline.services.cash import record_cash
from trading_pipeline.services.settlement import settle

_SCHEMA = pl.Schema(
    {
        "session": pl.Date(),
        "symbol": pl.String(),
        "execution_id": pl.String(),
        "client_order_id": pl.String(),
        "side": pl.String(),
        "qty": pl.Decimal(20, 6),
        "price": pl.Decimal(18, 4),
        "fee": pl.Decimal(18, 4),
        "realised": pl.Decimal(20, 6),
        "executed_at": pl.Datetime("us", "UTC"),
    }
)

_CASH = pl.Schema(
    {
        "session": pl.Date(),
        "type": pl.String(),
        "kind": pl.String(),
        "symbol": pl.String(),
        "amount": pl.Decimal(20, 6),
        "activity_id": pl.String(),
    }
)


@dg.asset(
    deps=["bars", dg.AssetDep(submitted_orders, partition_mapping=PREVIOUS_SESSION)],
    partitions_def=SESSIONS,
    backfill_policy=IN_ONE_RUN,
    group_name="trading",
    kinds={"postgres"},
    owners=["team:trading"],
    tags=ORDER_LANE,
)
def fills(context: dg.AssetExecutionContext, lake: LakeResource, trading: TradingResource) -> None:
    """What was executed in the session, of orders decided from the session before, and what else moved its cash.

    Brings the broker's news home first: each execution is booked in the ledger once and posted to the guard.
    Materialising a session tells the simulated exchange that it is over.
    """
    sessions = sessions_of(context)
    account = trading.account
    settlement = settle(account, sessions[-1])
    new_activities = record_cash(account, sessions[-1])
    frame = pl.concat([_frame(account.ledger, account.account, session) for session in sessions])
    lake.lake().write(Dataset.FILLS, frame, sessions=sessions)
    report(
        context,
        sessions,
        {
            "booked_now": len(settlement.booked),
            "orders_ended_unfilled_now": len(settlement.ended),
            "total_fills": frame.height,
            "traded_dollars": float((frame["qty"] * frame["price"]).sum() or 0),
            "executions": table(frame),
            "cash_activities_recorded_now": new_activities,
            "cash_activities": table(_cash(account.ledger, account.account, sessions)),
        },
        per_session=numbers_by_session(frame, fills=pl.len()),
    )


def _cash(ledger: Ledger, account: str, sessions: list[date]) -> pl.DataFrame:
    rows = [row for session in sessions for row in ledger.cash.of_session(account, session)]
    return pl.DataFrame([{name: row[name] for name in _CASH} for row in rows], schema=_CASH)


def _frame(ledger: Ledger, account: str, session: date) -> pl.DataFrame:
    rows = ledger.fills.of_session(account, session)
    return pl.DataFrame([{name: row[name] for name in _SCHEMA} for row in rows], schema=_SCHEMA)

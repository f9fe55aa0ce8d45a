"""Profit and loss of a session."""

import dagster as dg
import polars as pl

from assets.context import plot, report, sessions_of, table
from resources import LakeResource, TradingResource
from trading_pipeline.adapters.plots import equity_plot
from trading_pipeline.adapters.store.lake import Dataset
from trading_pipeline.partitions import IN_ONE_RUN, SESSIONS
from trading_pipeline.services.equity import value_session

_AMOUNTS = (
    "realised",
    "fees",
    "dividends",
    "interest",
    "other",
    "transfers",
    "unrealised",
    "change",
    "equity",
)
_SCHEMA = pl.Schema({"session": pl.Date(), "symbol": pl.String(), **{name: pl.Decimal(20, 2) for name in _AMOUNTS}})


@dg.asset(
    deps=["positions", "bars"],
    partitions_def=SESSIONS,
    backfill_policy=IN_ONE_RUN,
    group_name="trading",
    kinds={"postgres"},
    owners=["team:trading"],
)
def pnl(context: dg.AssetExecutionContext, lake: LakeResource, trading: TradingResource) -> None:
    """Realised, fees, other cash, unrealised and equity at the session's close, average cost, to the cent.

    `change` is realised - fees + dividends + interest + other + change of unrealised since the session before.
    Transfers are cash paid in or out, no profit or loss.
    """
    sessions = sessions_of(context)
    store, account = lake.lake(), trading.account
    results = [value_session(account, session) for session in sessions]
    for result in results:
        account.ledger.fills.record_session_pnl(
            account.account, result.session, **{name: getattr(result, name) for name in _AMOUNTS}
        )
    rows = [
        {"session": r.session, "symbol": account.account} | {name: getattr(r, name) for name in _AMOUNTS}
        for r in results
    ]
    frame = pl.DataFrame(rows, schema=_SCHEMA)
    store.write(Dataset.PNL, frame, sessions=sessions)
    history = account.ledger.fills.session_pnl(account.account)
    curve = equity_plot([row["session"] for row in history], [row["equity"] for row in history])
    report(
        context,
        sessions,
        {"sessions": table(frame.drop("symbol")), "equity_curve": plot(curve, "Equity")},
        per_session={
            r.session: {"change_dollars": float(r.change), "equity_dollars": float(r.equity)} for r in results
        },
    )

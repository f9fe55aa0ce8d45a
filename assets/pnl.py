"""Profit and loss of a session."""

import dagster as dg
import polars as pl

from assets.context import plot, report, sessions_of, table
from resources import LakeResource, TradingResource
from trading_pipeline.adapters.plots import equity_plot
from trading_pipeline.adapters.store.lake import Dataset
from trading_pipeline.partitions import IN_ONE_RUN, SESSIONS
from trading_pipeline.services.equity import AMOUNTS, record_sessions

_SCHEMA = pl.Schema({"session": pl.Date(), "symbol": pl.String(), **{name: pl.Decimal(20, 2) for name in AMOUNTS}})


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
    Transfers are cash paid in or out, no profit or loss. Earlier sessions to which something was booked
    late are computed anew: they are in the table too.
    """
    sessions = sessions_of(context)
    store, account = lake.lake(), trading.account
    results = record_sessions(account, sessions)
    rows = [
        {"session": r.session, "symbol": account.account} | {name: getattr(r, name) for name in AMOUNTS}
        for r in results
    ]
    frame = pl.DataFrame(rows, schema=_SCHEMA)
    store.write(Dataset.PNL, frame, sessions=[r.session for r in results])
    history = account.ledger.fills.session_pnl(account.account)
    curve = equity_plot([row["session"] for row in history], [row["equity"] for row in history])
    report(
        context,
        sessions,
        {"sessions": table(frame.drop("symbol")), "equity_curve": plot(curve, "Equity")},
        per_session={
            r.session: {
                "change_dollars": float(r.change),
                "equity_dollars": float(r.equity),
                "fees_dollars": float(r.fees),
                "other_cash_dollars": float(r.dividends + r.interest + r.other),
            }
            for r in results
            if r.session in sessions
        },
    )

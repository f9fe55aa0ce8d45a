"""Profit and loss of a session."""

from datetime import date
from decimal import Decimal

import dagster as dg
import polars as pl

from assets.context import plot, report, sessions_of, table
from resources import LakeResource, PortfolioResource, TradingResource
from trading_pipeline.adapters.plots import equity_plot
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.prices import last_closes
from trading_pipeline.core.pnl import SessionPnl, session_pnl
from trading_pipeline.partitions import IN_ONE_RUN, SESSIONS
from trading_pipeline.services.account import TradingAccount

_AMOUNTS = ("realised", "fees", "unrealised", "change", "equity")
_SCHEMA = pl.Schema({"session": pl.Date(), "symbol": pl.String(), **{name: pl.Decimal(20, 2) for name in _AMOUNTS}})


@dg.asset(
    deps=["positions", "bars"],
    partitions_def=SESSIONS,
    backfill_policy=IN_ONE_RUN,
    group_name="trading",
    kinds={"postgres"},
    owners=["team:trading"],
)
def pnl(
    context: dg.AssetExecutionContext, lake: LakeResource, trading: TradingResource, portfolio: PortfolioResource
) -> None:
    """Realised, fees, unrealised and equity at the session's close, average cost, to the cent.

    `change` is realised - fees + change of unrealised since the session before.
    """
    sessions = sessions_of(context)
    store, account, capital = lake.lake(), trading.account, portfolio.parsed().capital
    results = [_session(account, store, session, capital) for session in sessions]
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


def _session(account: TradingAccount, store: Lake, session: date, capital: Decimal) -> SessionPnl:
    history = account.ledger.fills.through(account.account, session)
    symbols = {fill.symbol for fill, _ in history}
    before = account.calendar.previous(session)
    return session_pnl(
        session,
        history,
        marks={symbol: quote.price for symbol, quote in last_closes(store, session, symbols).items()},
        marks_before={symbol: quote.price for symbol, quote in last_closes(store, before, symbols).items()},
        capital=capital,
    )

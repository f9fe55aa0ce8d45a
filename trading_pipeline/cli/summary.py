"""What `run` says at its end: sessions, orders, fills, positions, P&L, and where to look next."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from rich.panel import Panel

from trading_pipeline.cli.console import as_table, out
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.status import read_status

_PER_SESSION = """
select session, count(*) as orders, count(*) filter (where filled_qty = qty) as filled,
       count(*) filter (where filled_qty > 0 and filled_qty < qty) as partly_filled,
       count(*) filter (where state = 'refused') as refused,
       count(*) filter (where state in ('accepted', 'cleared', 'submitted_unconfirmed')) as open
  from ledger.orders where account = %(account)s and session = any(%(sessions)s) group by session
"""
_FILLS = """
select session, count(*) as fills, sum(qty * price) as traded
  from ledger.fills where account = %(account)s and session = any(%(sessions)s) group by session
"""


def print_summary(account: TradingAccount, sessions: Sequence[date], phases: Mapping[str, float]) -> None:
    """Print the tables a person wants after a run. `phases` are the seconds each phase of this run took."""
    parameters = {"account": account.account, "sessions": list(sessions)}
    orders = {row["session"]: row for row in account.ledger.query(_PER_SESSION, **parameters)}
    fills = {row["session"]: row for row in account.ledger.query(_FILLS, **parameters)}
    pnl = {row["session"]: row for row in account.ledger.fills.session_pnl(account.account)}
    rows = [_row(session, orders.get(session), fills.get(session), pnl.get(session)) for session in sessions]
    out.print(as_table(rows, title=f"{len(sessions)} sessions traded on the {account.broker.name}"))
    status = read_status(account)
    out.print(as_table(status.exposure, title="positions and pending orders") if status.exposure else "no positions")
    if phases:
        out.print("this run: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in phases.items()))
    else:
        out.print("[green]everything is up to date: nothing is left to do[/green]")
    out.print(Panel(_next_steps(account, rows, pnl), title="where to look next", title_align="left"))


def _row(session: date, orders: Any, fills: Any, pnl: Any) -> dict[str, Any]:
    return {
        "session": session.isoformat(),
        "orders": orders["orders"] if orders else 0,
        "filled": orders["filled"] if orders else 0,
        "partly": orders["partly_filled"] if orders else 0,
        "refused": orders["refused"] if orders else 0,
        "open": orders["open"] if orders else 0,
        "fills": fills["fills"] if fills else 0,
        "traded $": _dollars(fills, "traded"),
        "realised $": _dollars(pnl, "realised"),
        "fees $": _dollars(pnl, "fees"),
        "P&L $": _dollars(pnl, "change"),
        "equity $": _dollars(pnl, "equity"),
    }


def _dollars(row: Any, name: str) -> str:
    return f"{row[name]:,.2f}" if row else ""


def _next_steps(account: TradingAccount, rows: Sequence[dict[str, Any]], pnl: Mapping[date, Any]) -> str:
    total = sum((row["change"] for row in pnl.values()), Decimal(0))
    still_open = sum(row["open"] for row in rows)
    example = account.ledger.query(
        "select client_order_id from ledger.orders where account = %(account)s order by created_at desc limit 1",
        account=account.account,
    )
    order = example[0]["client_order_id"] if example else "ORDER"
    waiting = f"{still_open} order(s) of the last session wait for the next open, which the bars do not reach.\n"
    return (
        f"P&L of all sessions: {total:,.2f} dollars.\n"
        + (waiting if still_open else "")
        + "make ui                                  the asset graph, tables and plots at http://127.0.0.1:3000\n"
        "trading-pipeline status                  halts, limits, exposure, open orders\n"
        f"trading-pipeline explain {order}\n"
        "                                         why that order exists: model, features, bars, verdict"
    )

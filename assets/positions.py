"""Positions at the close of a session."""

from datetime import date

import dagster as dg
import polars as pl

from assets.context import numbers_by_session, report, sessions_of, table
from resources import LakeResource, TradingResource
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.prices import last_closes
from trading_pipeline.core.executions import SMALLEST_PRICE
from trading_pipeline.partitions import IN_ONE_RUN, SESSIONS
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.equity import marks_in

_SCHEMA = pl.Schema(
    {
        "session": pl.Date(),
        "symbol": pl.String(),
        "qty": pl.Decimal(20, 6),
        "average_price": pl.Decimal(20, 6),
        "mark": pl.Decimal(18, 4),
        "mark_source": pl.String(),
        "mark_as_of": pl.Datetime("us", "UTC"),
        "market_value": pl.Decimal(20, 4),
        "unrealised": pl.Decimal(20, 4),
    }
)


@dg.asset(
    deps=["fills"],
    partitions_def=SESSIONS,
    backfill_policy=IN_ONE_RUN,
    group_name="trading",
    kinds={"postgres"},
    owners=["team:trading"],
)
def positions(context: dg.AssetExecutionContext, lake: LakeResource, trading: TradingResource) -> None:
    """Shares held at the session's close, as the ledger has them, valued at the last good close.

    A re-run of an old session gives the positions of then, not of now.
    """
    sessions = sessions_of(context)
    store = lake.lake()
    frame = pl.concat([_frame(trading.account, store, session) for session in sessions])
    store.write(Dataset.POSITIONS, frame, sessions=sessions)
    last = frame.filter(pl.col("session") == sessions[-1])
    report(
        context,
        sessions,
        {
            "net_dollars": float(last["market_value"].sum() or 0),
            "gross_dollars": float(last["market_value"].abs().sum() or 0),
            "held": table(last),
        },
        per_session=numbers_by_session(frame, positions=pl.len()),
    )


def _frame(account: TradingAccount, store: Lake, session: date) -> pl.DataFrame:
    at_close = account.ledger.fills.positions_at(account.account, session)
    held = {symbol: one for symbol, one in at_close.items() if one.qty}
    marks = marks_in(account, lambda day, symbols: last_closes(store, day, symbols), session, held)
    rows = [
        {
            "session": session,
            "symbol": symbol,
            "qty": one.qty,
            "average_price": one.average_price,
            "mark": marks[symbol].price.quantize(SMALLEST_PRICE) if symbol in marks else None,
            "mark_source": marks[symbol].source if symbol in marks else "no price",
            "mark_as_of": marks[symbol].as_of if symbol in marks else None,
            "market_value": one.market_value(marks[symbol].price) if symbol in marks else None,
            "unrealised": one.unrealised(marks[symbol].price) if symbol in marks else None,
        }
        for symbol, one in sorted(held.items())
    ]
    return pl.DataFrame(rows, schema=_SCHEMA)

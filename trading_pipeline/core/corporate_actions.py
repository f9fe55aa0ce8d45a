"""What a corporate action is: one row format for splits, dividends, spin-offs, mergers and changes of symbol."""

from enum import StrEnum
from typing import Final

import polars as pl

from trading_pipeline.errors import DataQualityError

ACTION_SCHEMA: Final = pl.Schema(
    {
        "action_id": pl.String(),
        "symbol": pl.String(),
        "ex_date": pl.Date(),
        "kind": pl.String(),
        "ratio": pl.Float64(),
        "amount": pl.Float64(),
        "distributed": pl.Float64(),
        "other_symbol": pl.String(),
        "source": pl.String(),
        "known_at": pl.Datetime("us", "UTC"),
    }
)
"""One row an action, as known at one instant.

`action_id` is the source's name of the action: a correction has the same one and a later `known_at`. `ex_date` is the
first day on which the stock trades without what was paid, or under its new symbol. `ratio` is new shares for one old
share, null where their number stays. `amount` is dollars a share, null where nothing is paid. `distributed` is shares
of `other_symbol` for one share: of a spun-off company, or of the acquirer.
"""


class ActionKind(StrEnum):
    """The kinds of corporate action."""

    SPLIT = "split"
    REVERSE_SPLIT = "reverse_split"
    STOCK_DIVIDEND = "stock_dividend"
    CASH_DIVIDEND = "cash_dividend"
    SPIN_OFF = "spin_off"
    RIGHTS = "rights"
    SYMBOL_CHANGE = "symbol_change"
    MERGER = "merger"
    REDEMPTION = "redemption"
    WORTHLESS = "worthless"


_WANTS_RATIO: Final = (ActionKind.SPLIT, ActionKind.REVERSE_SPLIT, ActionKind.STOCK_DIVIDEND)


def require_actions(frame: pl.DataFrame, *, where: str) -> pl.DataFrame:
    """Return the frame, columns in order, when every row is a usable action.

    Raises:
        DataQualityError: columns missing or of another dtype, unknown kinds, no id, symbol, day or time of knowledge, a
            share count that changes without a ratio, a ratio, amount or distribution that is not a positive number,
            or a dividend without an amount. The first rows are named.
    """
    problems = [
        f"column {name} is {frame.schema.get(name, 'missing')}, not {dtype}"
        for name, dtype in ACTION_SCHEMA.items()
        if frame.schema.get(name) != dtype
    ]
    if not problems:
        problems = [
            f"{symbol} {ex_date} {kind}: {what}"
            for what, wrong in _violations().items()
            for symbol, ex_date, kind in frame.filter(wrong).select("symbol", "ex_date", "kind").head(5).rows()
        ]
    if problems:
        raise DataQualityError(f"{where}: not corporate actions: {'; '.join(problems)}", where=where, problems=problems)
    return frame.select(ACTION_SCHEMA.names())


def _violations() -> dict[str, pl.Expr]:
    numbers = [pl.col(name) for name in ("ratio", "amount", "distributed")]
    unusable = [((number <= 0) | number.is_nan() | number.is_infinite()).fill_null(value=False) for number in numbers]
    return {
        "no id, symbol, day or time of knowledge": pl.any_horizontal(
            pl.col("action_id", "symbol", "ex_date", "known_at").is_null()
        ),
        "unknown kind": pl.col("kind").is_null() | ~pl.col("kind").is_in([kind.value for kind in ActionKind]),
        "a number that is not positive": pl.any_horizontal(unusable),
        "no ratio": pl.col("kind").is_in([kind.value for kind in _WANTS_RATIO]) & pl.col("ratio").is_null(),
        "no amount": (pl.col("kind") == ActionKind.CASH_DIVIDEND.value) & pl.col("amount").is_null(),
    }

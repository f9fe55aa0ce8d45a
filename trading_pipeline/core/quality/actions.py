"""What corporate actions make of a price level: the jumps they explain."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl

from trading_pipeline.core.corporate_actions import ActionKind
from trading_pipeline.core.instruments import spells_of_actions, takeovers
from trading_pipeline.core.quality.panel import Flags, Floats, Panel, days_of
from trading_pipeline.core.sessions import SessionCalendar
from trading_pipeline.errors import DataQualityError

COLUMNS = ("symbol", "ex_date", "kind", "ratio", "amount")
OPEN_ENDED = frozenset({ActionKind.SPIN_OFF, ActionKind.RIGHTS, ActionKind.MERGER})
"""Kinds that move the price by what something else is worth: without ratio and amount they explain any move."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """By row of a panel: the factor of the price level since the row before, and whether any move is explained."""

    factor: Floats
    anything: Flags

    @classmethod
    def by(cls, actions: pl.DataFrame | None, panel: Panel, calendar: SessionCalendar) -> Self:
        """Map actions to the first bar of their symbol on or after the ex-date; several on one bar multiply.

        A cash amount is weighed against the close before the ex-date, the rule of CRSP.

        Raises:
            DataQualityError: a column is missing.
        """
        explained = cls(factor=np.ones(len(panel)), anything=np.zeros(len(panel), dtype=bool))
        if actions is None or actions.is_empty() or not len(panel):
            return explained
        known = _needed(actions).filter(pl.col("symbol").is_in(panel.symbols))
        known = known.with_columns(pl.Series("day", days_of(known["ex_date"], calendar)))
        # Up to the first session an action can only fall on the first row of its symbol, which has no move to explain.
        known = known.filter(pl.col("day") > int(panel.day.min()), pl.col("day") <= int(panel.day.max()))
        at = panel.first_on_or_after(known["symbol"], known["day"].to_numpy())
        followed = (at < len(panel)) & ~panel.first[np.minimum(at, len(panel) - 1)]
        known, at = known.filter(pl.Series(followed)), at[followed]
        unsaid = known.select(pl.col("ratio").is_null() & pl.col("amount").is_null()).to_series().to_numpy()
        ratio, amount = (known[name].fill_null(0.0).cast(pl.Float64).to_numpy() for name in ("ratio", "amount"))
        left = np.maximum(1 - amount / panel.close[at - 1], 0.01)
        np.multiply.at(explained.factor, at, np.where(unsaid, 1.0, left / np.where(ratio == 0, 1.0, ratio)))
        explained.anything[at[unsaid & known["kind"].is_in(list(OPEN_ENDED)).to_numpy()]] = True
        return explained


def taken_over(actions: pl.DataFrame | None) -> pl.DataFrame | None:
    """Return `symbol` and `first_day` of companies that trade under the symbol of another one, where actions say so."""
    if actions is None or "other_symbol" not in actions.columns:
        return None
    return takeovers(spells_of_actions(actions))


def _needed(actions: pl.DataFrame) -> pl.DataFrame:
    absent = [name for name in COLUMNS if name not in actions.columns]
    if absent:
        raise DataQualityError(f"corporate actions: column {', '.join(absent)} is missing", missing=absent)
    return actions.select(COLUMNS)

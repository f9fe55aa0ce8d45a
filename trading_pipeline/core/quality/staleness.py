"""Bars that repeat instead of trade: carried forward, stuck, without volume, or of something that is no equity."""

import numpy as np
import polars as pl

from trading_pipeline.core.quality.findings import findings, none_found
from trading_pipeline.core.quality.panel import Flags, Ints, Panel
from trading_pipeline.core.quality.reasons import Reason

LEAST_PRICE = 0.01
"""Dollars; nothing on an exchange is quoted below a cent."""
UNTRADED_RUN = 5
"""Bars in a row without volume whose price moves all the same: an index, not a security."""
STUCK_BARS = 3
"""Bars in a row with the same prices, or the same volume, that make a series stuck."""
INDEX_MARKS = ("^", "$", ".", "I:")
"""How vendors write the symbols of indices, which have volumes in some feeds."""
BUSY_VOLUME = 1_000
"""Shares; below, two sessions may well trade the same number."""

STUCK_VOLUME = 100_000
"""Shares; below, round lots repeat by chance."""


def find_stale(panel: Panel) -> pl.DataFrame:
    """Return the findings of bars without trades, of stuck series, and of prices below a cent."""
    idle = panel.volume == 0
    flat = panel.high == panel.low
    carried = idle & flat & (panel.close == panel.previous(panel.close))
    moving = idle & ~carried
    marked = np.array([symbol.startswith(INDEX_MARKS) for symbol in panel.symbols] or [False])[panel.code]
    index = moving & (_run(panel, idle) >= UNTRADED_RUN) & ~marked
    return pl.concat(
        [
            findings(panel, carried, Reason.STALE, lambda at: f"no volume, close {panel.close[at]:g} carried forward"),
            findings(panel, moving & ~index, Reason.NO_TRADES, lambda at: f"no volume, yet close {panel.close[at]:g}"),
            findings(panel, marked, Reason.NOT_AN_EQUITY, lambda at: f"{panel.symbol(at)} is the symbol of an index"),
            findings(
                panel,
                index,
                Reason.NOT_AN_EQUITY,
                lambda _: f"{UNTRADED_RUN} or more bars whose price moves, none traded",
            ),
            findings(
                panel,
                np.minimum(panel.low, panel.open) < LEAST_PRICE,
                Reason.SUB_PENNY,
                lambda at: f"low {panel.low[at]:g} is below {LEAST_PRICE:g}",
            ),
            *_stuck(panel, idle),
        ]
    )


def _run(panel: Panel, flag: Flags) -> Ints:
    return np.where(flag, panel.run_of(flag & np.concatenate(([False], flag[:-1]))), 0)


def _stuck(panel: Panel, idle: Flags) -> list[pl.DataFrame]:
    traded = ~idle & (panel.step == 1)
    prices = traded & same_prices(panel)
    volume = traded & (panel.volume == panel.previous(panel.volume)) & (panel.volume >= STUCK_VOLUME)
    return [_run_findings(panel, prices, "prices"), _run_findings(panel, volume & ~prices, "volume")]


def _run_findings(panel: Panel, same: Flags, what: str) -> pl.DataFrame:
    """Find the bars of a run from its second on; those before the run is long enough are known when it is."""
    if not same.any():
        return none_found()
    length = panel.run_of(same)
    found, known = np.zeros(len(panel), dtype=bool), panel.day.copy()
    for at in np.flatnonzero(length == STUCK_BARS):
        found[at - STUCK_BARS + 2 : at + 1] = True
        known[at - STUCK_BARS + 2 : at] = panel.day[at]
    found |= length > STUCK_BARS
    return findings(
        panel, found, Reason.STUCK, lambda at: f"bar {length[at]} in a row with the same {what}", known=known
    )


def same_prices(panel: Panel) -> Flags:
    """Tell which rows have open, high, low and close of the row before."""
    same = ~panel.first
    for values in (panel.open, panel.high, panel.low, panel.close):
        same[1:] &= values[1:] == values[:-1]
    return same

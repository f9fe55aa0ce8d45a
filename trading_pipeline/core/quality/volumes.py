"""Volume in other units, and the bars of shares that were traded when issued."""

import numpy as np
import polars as pl

from trading_pipeline.core.quality.config import GateConfig
from trading_pipeline.core.quality.findings import findings
from trading_pipeline.core.quality.panel import Flags, Floats, Panel
from trading_pipeline.core.quality.reasons import Reason
from trading_pipeline.core.quality.scores import Scores

ORDINARY_MOVE = 0.05
"""Log move of the close; with a larger one any volume may be real."""
STEADY = 4.0
"""Volume must also be this many times further off than it usually is: illiquid symbols jump by a hundred."""
LIQUID = 10_000
"""Shares a session; a symbol that trades less has no usual volume."""
WHEN_ISSUED_BARS = 30
"""A regular market opens within so many bars of when-issued trading; when it does, volume stays up for"""
REGULAR_BARS = 3
SETTLED_BARS = 2 * WHEN_ISSUED_BARS
"""Bars after which a symbol has a usual volume."""
WHEN_ISSUED_FACTOR = 10.0


def find_when_issued(panel: Panel, data_start: int) -> pl.DataFrame:
    """Return the findings of the thin first bars of a symbol, known when its regular market has opened.

    Only symbols that begin after the data do can have them: `data_start` is the first session of the data.
    """
    age = np.arange(len(panel)) - panel.start
    # The first bars of such symbols, and those after them that tell whether volume stays up.
    panel = panel.select((panel.day[panel.start] > data_start) & (age < WHEN_ISSUED_BARS + REGULAR_BARS))
    volume = np.log(np.maximum(panel.volume, 1.0))
    age = np.arange(len(panel)) - panel.start
    before = panel.mean_before(volume, WHEN_ISSUED_BARS, 1)
    lowest = volume
    for _ in range(REGULAR_BARS - 1):
        lowest = np.fmin(volume, panel.following(lowest))
    ahead = volume
    for _ in range(REGULAR_BARS - 1):
        ahead = panel.following(ahead)
    rise = lowest - before
    opens = (
        (age > 0)
        & (age <= WHEN_ISSUED_BARS)
        & np.isfinite(ahead)
        & (rise >= np.log(WHEN_ISSUED_FACTOR))
        & (lowest >= np.log(LIQUID))
    )
    found, known, best = np.zeros(len(panel), dtype=bool), panel.day.copy(), dict[int, float]()
    for at in np.flatnonzero(opens):
        begin = int(panel.start[at])
        if rise[at] <= best.get(begin, 0.0):
            continue
        best[begin] = rise[at]
        fresh = np.arange(begin, at)[~found[begin:at]]
        found[fresh], known[fresh] = True, panel.day[at + REGULAR_BARS - 1]
    return findings(
        panel,
        found,
        Reason.WHEN_ISSUED,
        lambda at: f"{panel.volume[at]:g} shares before the regular market",
        known=known,
    )


def find_other_units(panel: Panel, scores: Scores, config: GateConfig) -> pl.DataFrame:
    """Return the findings of volume that is off by a factor at an ordinary price, until it comes back to what it was.

    A level that holds for the reach of the gate is taken as the new usual.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        volume = np.log(panel.volume)
        moved = np.abs(np.log(panel.close / (panel.previous(panel.close) * scores.factor)))
    limit = np.log(config.volume_factor / np.where(volume > scores.usual_volume, 1.0, 2.0))
    off = np.abs(volume - scores.usual_volume)
    settled = np.arange(len(panel)) - panel.start >= SETTLED_BARS
    begins = (
        settled
        & (scores.usual_volume > np.log(LIQUID))
        & (off > limit)
        & (off > STEADY * scores.volume_spread)
        & (moved < ORDINARY_MOVE)
    )
    found, times = _runs(panel, begins, volume, scores.usual_volume, limit)
    return findings(
        panel, found, Reason.VOLUME_UNITS, lambda at: f"{panel.volume[at]:g} shares are {times[at]:.3g} times the usual"
    )


def _runs(panel: Panel, begins: Flags, volume: Floats, usual: Floats, limit: Floats) -> tuple[Flags, Floats]:
    found, times, done = np.zeros(len(panel), dtype=bool), np.zeros(len(panel)), -1
    for begin in np.flatnonzero(begins):
        if begin <= done:
            continue
        direction = np.sign(volume[begin] - usual[begin])
        row = int(begin)
        while (
            row < len(panel)
            and panel.start[row] == panel.start[begin]
            and panel.day[row] - panel.day[begin] < panel.reach
            and (volume[row] - usual[begin]) * direction > 0.75 * limit[begin]
        ):
            found[row], times[row] = True, np.exp(volume[row] - usual[begin])
            row += 1
        done = row
    return found, times

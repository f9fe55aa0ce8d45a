"""Bars that stand apart from both neighbours: of another day, another basis, or plainly wrong; seen one bar later."""

import numpy as np
import polars as pl

from trading_pipeline.core.quality.config import GateConfig
from trading_pipeline.core.quality.findings import findings
from trading_pipeline.core.quality.panel import Flags, Floats, Ints, Panel
from trading_pipeline.core.quality.reasons import Reason
from trading_pipeline.core.quality.scores import Scores

QUIET = 1.5
"""Volume relative to the usual below which a close that jumps in its session and is gone at the next open is wrong."""


def find_spikes(panel: Panel, scores: Scores, config: GateConfig, misdated: Ints, jumped: Flags) -> pl.DataFrame:
    """Return the findings of spikes, known at the close of the next bar.

    News that is taken back the next day moves within the session; a bar that does not belong there is left overnight on
    both sides, in the open and in the close. When many symbols do so in one session, or many of its bars are known to
    be of another session, a weaker score is enough: the vendor filed a whole session wrongly.

    Args:
        panel: sound rows.
        scores: of the panel.
        config: thresholds.
        misdated: sessions of which other rules know many misdated bars, with the session at which they know it, as
            array of shape (n, 2).
        jumped: rows that the jump rule keeps out from their own session on. Bars beside them prove nothing.
    """
    beside = _shifted(jumped, 1) | _shifted(jumped, -1)
    score = np.where(beside, 0.0, np.minimum(scores.island, scores.spike))
    score = np.where(score < panel.previous(score), 0.0, score)
    with_news = scores.news >= config.news_volume
    lost = ~beside & (scores.lost_close >= 2 * config.spike_score) & (scores.news < QUIET)
    lone = ((score >= config.spike_score) & ~with_news) | lost
    weak = (score >= config.crowd_score) | (~beside & (scores.island >= config.spike_score))
    crowded = _crowded(panel, score >= config.crowd_score, config)
    known = panel.next_day.copy()
    bad_day, since = _by_day(panel, misdated)
    of_crowd = weak & (crowded | bad_day) & (panel.next_day >= 0)
    only_misdated = of_crowd & ~crowded
    known = np.where(only_misdated & ~lone, np.maximum(known, since), known)

    def detail(at: int) -> str:
        return f"jumps and comes back: {max(score[at], scores.island[at], scores.lost_close[at]):.1f} times the usual"

    return pl.concat(
        [
            findings(panel, lone & ~of_crowd, Reason.SPIKE, detail, known=known),
            findings(
                panel,
                of_crowd,
                Reason.LOOK_AHEAD,
                lambda at: f"{detail(at)}, with many others in this session",
                known=known,
            ),
        ]
    )


def _shifted(flags: Flags, by: int) -> Flags:
    moved = np.zeros_like(flags)
    moved[max(by, 0) : len(flags) + min(by, 0)] = flags[max(-by, 0) : len(flags) - max(by, 0)]
    return moved


def _crowded(panel: Panel, spiking: Flags, config: GateConfig) -> Flags:
    counts = np.bincount(panel.day, spiking)
    symbols = np.bincount(panel.day)
    crowd: Floats = np.maximum(config.crowd_symbols, config.crowd_share * symbols)
    return (counts >= crowd)[panel.day] if len(panel) else spiking


def _by_day(panel: Panel, misdated: Ints) -> tuple[Flags, Ints]:
    size = int(panel.day.max(initial=0)) + 1
    since = np.full(size, -1, dtype=np.int64)
    if len(misdated):
        since[misdated[:, 0]] = misdated[:, 1]
    return since[panel.day] >= 0, since[panel.day]

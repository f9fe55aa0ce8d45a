"""How unusual each bar is beside its neighbours, its symbol's habits and the market of the session."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from trading_pipeline.core.quality.config import GateConfig
from trading_pipeline.core.quality.panel import Floats, Panel

MARKET_SYMBOLS = 5
"""Fewer symbols have no median that stands for the market."""
_VOLUME_BARS, _MOVE_BARS, _TURMOIL_BARS = 20, 60, 10
_LARGEST = 0.1
"""Moves count up to this (log) in a symbol's habit, so that one crash does not hide the next defect."""
_TICK = 0.01
_MAD_TO_SIGMA = 1.4826
_MEAN_TO_SIGMA = 1.2533


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """By row of a panel.

    Attributes:
        factor: what actions make of the price level since the row before; 1 without any.
        news: volume relative to the sessions before, the lesser of shares and dollars; NaN while that is unknown. A
            split changes shares but not dollars, a wrong price dollars but not shares: only news raises both.
        shares_of_months: shares relative to the mean of the last 60 sessions.
        turmoil: the largest move (log) of the last ten bars whose shares were four times those of the months before.
        gap: log move from the close before to the open, without the market's; 0 where there is no close before.
        island: the bar is left behind overnight on both sides: lesser of the two opposite gaps, in usual gaps.
        spike: its close jumps and comes back, in usual moves.
        lost_close: its close alone jumps, within the session, and the next open is back: lesser of the two, in usual
            moves.
        usual_gap: the usual gap (log) of symbol and session.
        usual_volume: mean log volume of the sessions before.
        volume_spread: how far (log) volume usually is from that.
    """

    factor: Floats
    news: Floats
    shares_of_months: Floats
    turmoil: Floats
    gap: Floats
    island: Floats
    spike: Floats
    lost_close: Floats
    usual_gap: Floats
    usual_volume: Floats
    volume_spread: Floats

    @classmethod
    def of(cls, panel: Panel, config: GateConfig, factor: Floats) -> Self:
        """Compute them in one pass."""
        with np.errstate(divide="ignore", invalid="ignore"):
            before = panel.previous(panel.close) * factor
            whole = np.log(panel.close / before)
            (gap, usual_gap), (move, usual_move) = _relative(panel, np.log(panel.open / before), whole)
            volume = np.where(panel.volume > 0, np.log(panel.volume), np.nan)
            usual_volume = panel.mean_before(volume, _VOLUME_BARS, 3)
            turnover = volume + np.log(panel.close)
            shares, moved = (
                np.exp(volume - panel.mean_before(volume, _MOVE_BARS, _VOLUME_BARS)),
                np.abs(whole),
            )
            spread = panel.mean_before(np.abs(volume - usual_volume), _VOLUME_BARS, 5)
            return cls(
                factor=factor,
                news=np.exp(np.fmin(volume - usual_volume, turnover - panel.mean_before(turnover, _VOLUME_BARS, 3))),
                shares_of_months=shares,
                turmoil=panel.largest_before(np.where(shares >= config.jump_volume, moved, 0.0), _TURMOIL_BARS),
                gap=np.nan_to_num(gap),
                island=_taken_back(gap, panel.following(gap), config.spike_minimum) / usual_gap,
                spike=_taken_back(move, panel.following(move), config.spike_minimum) / usual_move,
                lost_close=_taken_back(move - gap, panel.following(gap), config.spike_minimum) / usual_move,
                usual_gap=usual_gap,
                usual_volume=usual_volume,
                volume_spread=spread,
            )


def _relative(panel: Panel, *moves: Floats) -> list[tuple[Floats, Floats]]:
    """Take the market out of moves and say how large each usually is, for the symbol and in the session."""
    markets = panel.medians_of_session(*moves, least=MARKET_SYMBOLS)
    owns = [move - market for move, market in zip(moves, markets, strict=True)]
    sizes = [np.abs(own) for own in owns]
    habits = [panel.mean_before(np.minimum(size, _LARGEST), _MOVE_BARS, 10) * _MEAN_TO_SIGMA for size in sizes]
    sessions = [median * _MAD_TO_SIGMA for median in panel.medians_of_session(*sizes, least=MARKET_SYMBOLS)]
    tick = _TICK / panel.close
    usual = [np.maximum(np.maximum(habit, session), tick) for habit, session in zip(habits, sessions, strict=True)]
    return list(zip(owns, usual, strict=True))


def _taken_back(move: Floats, back: Floats, least: float) -> Floats:
    """Return the lesser size of a move and of the opposite one after it, 0 unless little of it stays."""
    lesser = np.minimum(np.abs(move), np.abs(back))
    at = np.flatnonzero(lesser >= least)
    there, again, size = move[at], back[at], lesser[at]
    taken = np.zeros(len(move))
    taken[at] = np.where((there * again < 0) & (np.abs(there + again) < size / 2), size, 0.0)
    return taken

"""Jumps against the last good close. A jump never becomes the new reference by itself: something must explain it."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from trading_pipeline.core.quality.config import GateConfig
from trading_pipeline.core.quality.findings import findings
from trading_pipeline.core.quality.panel import Flags, Floats, Ints, Panel
from trading_pipeline.core.quality.reasons import Reason
from trading_pipeline.core.quality.scores import Scores

ROUNDING = 1e-9
"""110 / 100 - 1 is a little above 0.1 in floating point; a close on the threshold passes all the same."""
SPLITS = np.log([4 / 3, 3 / 2, 2, 5 / 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50])
SCALES = np.log([100, 1_000, 10_000])
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, kw_only=True)
class JumpRule:
    """Judges the rows of a panel in order, each against the last good close before it.

    Attributes:
        panel: sound rows.
        scores: of the panel.
        config: thresholds.
        waived: rows that an acceptance or an action without a number explains.
        void: session by row from which it counts as defective by another rule, and is no reference any more.
        last_good: closes (dollars) before the first rows.
    """

    panel: Panel
    scores: Scores
    config: GateConfig
    waived: Flags
    void: Ints
    last_good: Mapping[str, float]

    def find(self) -> pl.DataFrame:
        """Return the findings.

        As long as every bar is good the reference is the bar before it, so one vectorised comparison finds the bars at
        which a run of suspicious ones may begin; only such runs are walked.
        """
        panel = self.panel
        before, reference = self._references()
        suspicious = self._far(np.arange(len(panel)), reference) & ~self.waived
        walk = _Walk(rule=self)
        done = -1
        for at in np.flatnonzero(suspicious):
            if at > done and not self.explained(int(at), reference[at]):
                done = walk.run(int(at), int(before[at]), float(reference[at]))
        return walk.findings()

    def _references(self) -> tuple[Ints, Floats]:
        """Return the index of the row each is measured against (-1: none), and its close on the row's price basis."""
        panel, scores = self.panel, self.scores
        at = np.arange(len(panel))
        before, level = at - 1, scores.factor.copy()
        for _ in range(3):
            void = (before >= panel.start) & (self.void[np.maximum(before, 0)] <= panel.day)
            if not void.any():
                break
            level = np.where(void, level * scores.factor[np.maximum(before, 0)], level)
            before = before - void
        known = before >= panel.start
        carried = np.array([self.last_good.get(symbol, np.nan) for symbol in panel.symbols] or [np.nan])
        carried[: len(panel.resumed)][panel.resumed] = np.nan
        closes = np.where(known, panel.close[np.maximum(before, 0)], carried[panel.code] if len(panel) else np.nan)
        return np.where(known, before, -1), closes * level

    def _far(self, at: Ints, reference: Floats) -> Flags:
        """Tell which rows are past the threshold, or opened at another level without the volume of news."""
        panel, config = self.panel, self.config
        with np.errstate(divide="ignore", invalid="ignore"):
            moved, opened = panel.close[at] / reference - 1, panel.open[at] / reference - 1
        far: Flags = np.abs(moved) > config.outlier_threshold + ROUNDING
        gapped = (moved * opened > 0) & (np.minimum(np.abs(moved), np.abs(opened)) > config.gap_threshold)
        near = np.flatnonzero(gapped & ~far & (panel.step[at] == 1))
        news = self.scores.news[at[near]]
        quiet = (news < config.news_volume) | ((news < config.jump_volume) & self.split_like(moved[near]))
        far[near] = quiet & self._unheard_of(at[near], reference[near])
        return far

    def _unheard_of(self, at: Ints, reference: Floats) -> Flags:
        """Tell which rows open farther from the reference than even a nervous symbol does."""
        with np.errstate(divide="ignore", invalid="ignore"):
            opened = np.abs(np.log(self.panel.open[at] / reference)) / self.scores.usual_gap[at]
        return np.asarray(opened >= self.config.gap_score, dtype=np.bool_)

    def split_like(self, moved: Floats) -> Flags:
        """Tell which moves (fractions) are of the size of a split, within the tolerance."""
        with np.errstate(divide="ignore", invalid="ignore"):
            size = np.abs(np.log1p(np.maximum(moved, -0.999999)))
        at = np.clip(np.searchsorted(SPLITS, size), 1, len(SPLITS) - 1)
        nearest = np.minimum(np.abs(SPLITS[at] - size), np.abs(SPLITS[at - 1] - size))
        like: Flags = nearest <= np.minimum(self.config.split_tolerance, 0.5 * size)
        return like

    def _in_turmoil(self, at: int, size: float) -> bool:
        """Tell whether the last bars moved like this one, and shares still change hands as in no month before."""
        scores = self.scores
        return bool(scores.turmoil[at] >= size / 2 and scores.shares_of_months[at] >= self.config.jump_volume)

    def scale_like(self, move: float) -> bool:
        """Tell whether a move (log) is one of units."""
        return bool(np.abs(SCALES - abs(move)).min() < 2 * self.config.split_tolerance)

    def still_far(self, at: int, reference: float) -> bool:
        """Tell whether a bar of a run is still at the other level, whatever its volume."""
        moved, opened = self.panel.close[at] / reference - 1, self.panel.open[at] / reference - 1
        both = moved * opened > 0 and min(abs(moved), abs(opened)) > self.config.gap_threshold
        return bool(abs(moved) > self.config.outlier_threshold + ROUNDING or both)

    def explained(self, at: int, reference: float, suspected: Container[int] = ()) -> bool:
        """Tell whether news carried the price here: the jump is made in this bar, at the volume news has."""
        if self.waived[at]:
            return True
        panel = self.panel
        whole = np.log(panel.close[at] / reference)
        since = panel.close[at - 1] * self.scores.factor[at] if not panel.first[at] else reference
        if at - 1 in suspected and abs(panel.close[at] / since - 1) > self.config.gap_threshold:
            since = reference  # the bar before was alone at its level: this one moved from where the price was
        made = np.log(panel.close[at] / since)
        if self.scale_like(made):
            return False  # nothing trades at a hundred times the price of yesterday, whatever its volume
        moved = panel.close[at] / reference - 1
        strong = abs(moved) > self.config.outlier_threshold + ROUNDING or self.split_like(np.array([moved]))[0]
        here, before = np.array([at]), np.array([since])
        calm = bool(self._unheard_of(here, before)[0] or np.isnan(self.scores.usual_gap[at]))
        needed = self.config.jump_volume if strong and calm else self.config.news_volume
        carried = self.scores.news[at] >= needed or self._in_turmoil(at, abs(made))
        return bool(made * whole > 0 and abs(made) >= abs(whole) / 2 and carried)


@dataclass(slots=True, kw_only=True)
class _Walk:
    rule: JumpRule
    at: list[int] = field(default_factory=list)
    known: list[int] = field(default_factory=list)
    released: list[int] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    flagged: set[int] = field(default_factory=set)

    def run(self, begin: int, reference_row: int, reference: float) -> int:
        """Walk from the first suspicious bar until one is good again; return the index of the last bar judged."""
        rule, panel = self.rule, self.rule.panel
        end = int(np.searchsorted(panel.code, panel.code[begin], side="right"))
        if self._came_back(begin, reference_row):
            self._leave_behind([reference_row], begin)
            return begin
        level, pending = reference, [begin]
        first = self._reason(begin, level)
        self._add(begin, level, first)
        for row in range(begin + 1, end):
            level *= rule.scores.factor[row]
            if rule.explained(row, level, pending) or not rule.still_far(row, level):
                return row
            if first is not Reason.SCALE_ERROR and panel.day[row] - panel.day[begin] >= rule.config.patience:
                return row
            step = panel.close[row] / (panel.close[row - 1] * rule.scores.factor[row]) - 1
            self._add(
                row, level, Reason.AWAITING if abs(step) < rule.config.gap_threshold else self._reason(row, level)
            )
            pending.append(row)
            if self._confirmed(pending, reference_row):
                self._settle(pending, reference_row)
                return row
        return end - 1

    def _add(self, row: int, level: float, reason: Reason) -> None:
        close = self.rule.panel.close[row]
        self.at.append(row)
        self.flagged.add(row)
        self.known.append(int(self.rule.panel.day[row]))
        self.released.append(-1)
        self.reasons.append(reason)
        self.details.append(
            f"close {close:g} is {close / level - 1:+.1%} from last good close {level:g}, "
            f"volume {self.rule.scores.news[row]:.1f} times the usual"
        )

    def _reason(self, row: int, level: float) -> Reason:
        panel, rule = self.rule.panel, self.rule
        moved = panel.close[row] / level - 1
        size = abs(np.log(panel.close[row] / level))
        if rule.scale_like(size):
            return Reason.SCALE_ERROR
        factor = rule.scores.factor[row]
        if factor != 1 and abs(panel.close[row] * factor / level - 1) < abs(moved) / 2:
            return Reason.MIXED_BASIS
        return Reason.UNADJUSTED_SPLIT if rule.split_like(np.array([moved]))[0] else Reason.OUTLIER

    def _confirmed(self, pending: list[int], reference_row: int) -> bool:
        """Tell whether later bars settle it: a jump made within a session holds, or the reference was hardly known."""
        rule, panel = self.rule, self.rule.panel
        count = rule.config.confirming_bars
        closes = panel.close[pending]
        together = np.abs(closes / closes[-1] - 1).max() <= rule.config.gap_threshold
        if not together:
            return False
        first = pending[0]
        if reference_row >= 0 and reference_row - panel.start[first] + 1 < count <= len(pending):
            return bool(panel.resumed[panel.code[first]]) or panel.symbol(first) not in rule.last_good
        if reference_row != first - 1 or len(pending) != count + 1:
            return False
        before = panel.close[first - 1] * rule.scores.factor[first]
        return bool(abs(np.log(panel.open[first] / before)) < abs(np.log(closes[0] / before)) / 2)

    def _settle(self, pending: list[int], reference_row: int) -> None:
        rule, panel = self.rule, self.rule.panel
        day = int(panel.day[pending[-1]])
        for back in range(1, len(pending) + 1):
            self.released[-back] = day
        start = int(panel.start[pending[0]])
        if reference_row - start + 1 < rule.config.confirming_bars and len(pending) == rule.config.confirming_bars:
            self._leave_behind(range(start, reference_row + 1), pending[-1])

    def _came_back(self, row: int, reference_row: int) -> bool:
        """Tell whether the bar only returns to where the price was before its reference: then that one was wrong.

        Near enough is half the way that the reference went, or a distance that nobody would ask about.
        """
        panel, factor = self.rule.panel, self.rule.scores.factor
        before = reference_row - 1
        if reference_row != row - 1 or before < panel.start[row] or before in self.flagged:
            return False
        away = np.log(panel.close[reference_row] / (panel.close[before] * factor[reference_row]))
        back = np.log(panel.close[row] / (panel.close[before] * factor[reference_row] * factor[row]))
        unsuspicious = abs(np.expm1(back)) <= self.rule.config.gap_threshold and abs(back) < abs(away)
        return bool(abs(back) < abs(away) / 2 or unsuspicious)

    def _leave_behind(self, rows: Sequence[int], at: int) -> None:
        panel = self.rule.panel
        for row in rows:
            self.at.append(row)
            self.known.append(int(panel.day[at]))
            self.released.append(-1)
            self.reasons.append(Reason.OUTLIER)
            self.details.append(
                f"close {panel.close[row]:g} is left behind by the bar(s) after it, {panel.close[at]:g}"
            )

    def findings(self) -> pl.DataFrame:
        panel = self.rule.panel
        known, released = panel.day.copy(), np.full(len(panel), -1)
        known[self.at], released[self.at] = self.known, self.released
        details = dict(zip(self.at, self.details, strict=True))
        parts = [
            findings(
                panel,
                [row for row, one in zip(self.at, self.reasons, strict=True) if one is reason],
                reason,
                details.__getitem__,
                known=known,
                released=released,
            )
            for reason in (
                Reason.SCALE_ERROR,
                Reason.MIXED_BASIS,
                Reason.UNADJUSTED_SPLIT,
                Reason.OUTLIER,
                Reason.AWAITING,
            )
        ]
        return pl.concat(parts)

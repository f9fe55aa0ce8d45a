"""One bar filed twice: at two sessions of a symbol, or under two symbols of a session."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from trading_pipeline.core.quality.config import GateConfig
from trading_pipeline.core.quality.findings import findings, none_found
from trading_pipeline.core.quality.panel import Flags, Floats, Ints, Panel
from trading_pipeline.core.quality.reasons import Reason
from trading_pipeline.core.quality.scores import Scores
from trading_pipeline.core.quality.staleness import BUSY_VOLUME, STUCK_BARS, same_prices

CROWD = 3
"""Pairs of the same two sessions that cannot be chance."""
_CLEAR, _PLAIN = np.log(1.5), np.log(3)
"""How much rougher (log) one end must sit among its neighbours to be the wrong one; and to prove a chance match."""
_TOLD_RANGE = 0.045
"""Dollars between low and high; cheap shares with less have the same four prices now and then."""
_NAMED = 3
_NO_PAIRS = np.empty((0, 2), dtype=np.int64)


def find_shared(panel: Panel) -> pl.DataFrame:
    """Return the findings of bars that several symbols have in one session: nobody knows whose they are."""
    columns = (panel.day, panel.open, panel.high, panel.low, panel.close, panel.volume)
    groups = _groups(_informative(panel), columns)
    group_of = {int(one): group for group in groups for one in group}

    def detail(one: int) -> str:
        names = [panel.symbol(int(other)) for other in group_of[one][: _NAMED + 1] if other != one][:_NAMED]
        more = len(group_of[one]) - 1 - len(names)
        return f"the same bar under {', '.join(names)}{f' and {more} more' if more else ''}"

    return findings(panel, sorted(group_of), Reason.SHARED_SERIES, detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """Findings of repeated bars, and the sessions shown to hold many bars of another one: rows of (session, known)."""

    found: pl.DataFrame
    misdated: Ints


def find_repeats(panel: Panel, scores: Scores, config: GateConfig) -> Repeats:
    """Find bars that a symbol has at two sessions; no two sessions trade at the same four prices and volume.

    The wrong one is the one that sits worse among its neighbours, judged over all symbols that share the two sessions:
    LOOK_AHEAD when it is the earlier, REPEATED_BAR when it is the later. Until that is clear both are REPEATED_BAR; of
    neighbouring sessions only the next bar can tell.
    """
    run = panel.run_of(same_prices(panel) & (panel.step == 1)).astype(np.float64)
    pairs = _pairs(panel, run, config)
    if not len(pairs):
        return Repeats(found=none_found(), misdated=_NO_PAIRS)
    early, late = pairs.T
    _, group, size = np.unique(panel.day[early] * 1_000_000 + panel.day[late], return_inverse=True, return_counts=True)
    rough = _roughness(panel, scores)
    adjoining = late == early + 1
    after_late = np.where(panel.next_day[late] == panel.day[late] + 1, panel.following(rough)[late], np.nan)
    early_end = np.where(adjoining, rough[early], (rough[early] + panel.following(rough)[early]) / 2)
    at_once = np.where(adjoining, 0.0, _log_ratio(early_end, rough[late], group))
    next_bar = _log_ratio(early_end, np.where(adjoining, after_late, (rough[late] + after_late) / 2), group)
    next_bar = np.where(adjoining & (panel.following(run)[late] >= STUCK_BARS), -np.inf, next_bar)
    seen = panel.day[late]
    now, then = np.abs(at_once) >= _CLEAR, np.abs(next_bar) >= _CLEAR
    told = (np.abs(at_once) >= _PLAIN) & (panel.high[early] - panel.low[early] >= _TOLD_RANGE)
    certain = (size[group] >= CROWD) | (panel.volume[early] == panel.volume[late]) | told
    early_wrong = np.where(now, at_once, np.where(then, next_bar, 0.0)) > 0
    known = np.where(now, seen, seen + 1)
    crowd = certain & early_wrong & (size[group] >= CROWD)
    misdated = _earliest(panel.day[early][crowd], known[crowd])
    # A session of which many bars are proven to be of a later one is not trusted for those that prove nothing.
    suspected, since = _lookup(misdated, panel.day[early])
    by_session = ~now & ~then & suspected
    early_wrong |= by_session
    known = np.where(by_session, np.maximum(seen, since), known)
    doubtful = ~now & ~then & ~by_session
    waits = ~doubtful & (known > seen)

    def part(ends: int, chosen: Flags, reason: Reason, *, seen: Ints, until: Ints | None = None) -> pl.DataFrame:
        return _pair_findings(panel, pairs[certain & chosen], ends, reason, seen, until, certain & chosen)

    found = [
        part(0, ~doubtful & early_wrong, Reason.LOOK_AHEAD, seen=known),
        part(1, ~doubtful & ~early_wrong, Reason.REPEATED_BAR, seen=seen),
        part(0, doubtful, Reason.REPEATED_BAR, seen=seen),
        part(1, doubtful, Reason.REPEATED_BAR, seen=seen),
        part(0, waits, Reason.REPEATED_BAR, seen=seen, until=known),
        part(1, waits & early_wrong, Reason.REPEATED_BAR, seen=seen, until=known),
    ]
    return Repeats(found=pl.concat(found), misdated=misdated)


def _pair_findings(
    panel: Panel, pairs: Ints, end: int, reason: Reason, seen: Ints, until: Ints | None, chosen: Flags
) -> pl.DataFrame:
    at, other = pairs[:, end], pairs[:, 1 - end]
    known, released = panel.day.copy(), np.full(len(panel), -1)
    known[at] = seen[chosen]
    if until is not None:
        released[at] = until[chosen]
    apart = dict(zip(at.tolist(), (panel.day[other] - panel.day[at]).tolist(), strict=True))
    return findings(
        panel,
        np.unique(at),
        reason,
        lambda one: f"also the bar {abs(apart[one])} session(s) {'later' if apart[one] > 0 else 'before'}",
        known=known,
        released=released,
    )


def _informative(panel: Panel) -> Ints:
    return np.flatnonzero((panel.high > panel.low) & (panel.volume >= BUSY_VOLUME))


def _pairs(panel: Panel, run: Floats, config: GateConfig) -> Ints:
    """Return rows of equal prices and nearly equal volume within reach, earlier and later, but of stuck series."""
    groups = _groups(_informative(panel), (panel.code, panel.open, panel.high, panel.low, panel.close))
    pairs = np.array([pair for one in groups for pair in pairwise(one)], dtype=np.int64).reshape(-1, 2)
    early, late = pairs.T
    near = panel.day[late] - panel.day[early] <= config.reach
    alike = np.abs(np.log(panel.volume[late] / panel.volume[early])) <= config.repeat_volume
    return pairs[near & alike & (run[late] < STUCK_BARS)]


def _groups(at: Ints, columns: tuple[Floats | Ints, ...]) -> list[Ints]:
    """Return the rows that agree in all columns, in groups of two and more, each in order."""
    key = pl.DataFrame({str(place): values[at] for place, values in enumerate(columns)}).hash_rows().to_numpy()
    order = np.argsort(key)
    borders = np.flatnonzero(np.diff(key[order])) + 1
    starts, ends = np.append(0, borders), np.append(borders, len(at))
    return [at[np.sort(order[starts[one] : ends[one]])] for one in np.flatnonzero(ends - starts > 1)]


def _roughness(panel: Panel, scores: Scores) -> Floats:
    """Return how large the overnight gap before each bar is, in usual gaps; NaN where it is not known."""
    size = np.abs(scores.gap) / scores.usual_gap
    return np.where(np.isfinite(size) & ~panel.first, size, np.nan)


def _log_ratio(early: Floats, late: Floats, group: Ints) -> Floats:
    """Compare the ends over the pairs of a group that know both; 0 where none does."""
    known = np.isfinite(early) & np.isfinite(late)
    sums = [np.bincount(group, np.where(known, ends, 0.0)) + 1e-9 for ends in (early, late)]
    return np.log(sums[0] / sums[1])[group]


def _earliest(days: Ints, known: Ints) -> Ints:
    order = np.lexsort((known, days))
    unique, index = np.unique(days[order], return_index=True)
    return np.column_stack((unique, known[order][index])) if len(unique) else _NO_PAIRS


def _lookup(misdated: Ints, days: Ints) -> tuple[Flags, Ints]:
    at = np.clip(np.searchsorted(misdated[:, 0], days), 0, max(len(misdated) - 1, 0))
    hit = misdated[at, 0] == days if len(misdated) else np.zeros(len(days), dtype=bool)
    return hit, np.where(hit, misdated[at, 1], 0) if len(misdated) else np.zeros(len(days), dtype=np.int64)

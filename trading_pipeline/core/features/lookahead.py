"""Finds features that use the future: what they were at the time must be what they are with all later bars known."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import polars as pl

from trading_pipeline.core.features.compiler import CompiledFeatures
from trading_pipeline.core.features.incremental import KEY
from trading_pipeline.errors import FeatureError

Prepare = Callable[[pl.DataFrame], pl.DataFrame]
"""What is done to bars before features are computed of them, such as a normalisation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """A feature that changed when later bars became known.

    Attributes:
        feature: the name of its column.
        expression: its definition.
        symbol: where it was seen first.
        session: the session of the value.
        cut: the last session known when the value was computed first.
        then: the value with the bars up to the cut.
        later: the value with all bars.
        cells: how many values of the feature changed, over all cuts.
    """

    feature: str
    expression: str
    symbol: str
    session: date
    cut: date
    then: float | None
    later: float | None
    cells: int


def find_leaks(
    compiled: CompiledFeatures,
    bars: pl.DataFrame,
    *,
    calendar: Sequence[date],
    cuts: int,
    seed: int,
    prepare: Prepare | None = None,
) -> list[Leak]:
    """Compute all features with and without the bars after random cuts and compare every value before them bit by bit.

    Args:
        compiled: the features.
        bars: `session`, `symbol` and the fields, one row per session and symbol.
        calendar: all sessions that the bars span, in order.
        cuts: how many sessions to cut at, drawn without repetition; each costs one computation of what lies before it.
        seed: of the draw: the same seed cuts at the same sessions.
        prepare: applied to the bars known, before and after the cut alike.

    Returns:
        One leak per feature that changed, with the newest value that did, in the order of the features.

    Raises:
        FeatureError: the bars span fewer than two sessions, or fewer cuts than one are asked for.
    """
    ready = prepare or (lambda known: known)
    held = sorted(bars["session"].unique())
    if len(held) < 2 or cuts < 1:  # noqa: PLR2004  one session has nothing after it
        raise FeatureError(
            f"{len(held)} session(s) of bars and {cuts} cut(s) show no look-ahead: give at least two and one",
            sessions=len(held),
            cuts=cuts,
        )
    later = compiled.compute(ready(bars), calendar=calendar, sessions=calendar)
    found: dict[str, Leak] = {}
    for cut in sorted(random.Random(seed).sample(held[:-1], min(cuts, len(held) - 1))):  # noqa: S311  no secret
        known = [session for session in calendar if session <= cut]
        then = compiled.compute(
            ready(bars.filter(pl.col("session") <= cut)), calendar=known, sessions=known, dtype=pl.Float32
        )
        for leak in _differences(compiled, cut, then, later.filter(pl.col("session") <= cut)):
            known_cells = found[leak.feature].cells if leak.feature in found else 0
            found[leak.feature] = replace(leak, cells=known_cells + leak.cells)
    return [found[name] for name in compiled.feature_set.names if name in found]


def _differences(compiled: CompiledFeatures, cut: date, then: pl.DataFrame, later: pl.DataFrame) -> list[Leak]:
    keys = later.select(*KEY)
    aligned = keys.join(then, on=KEY, how="left", maintain_order="left")
    leaks = []
    for feature in compiled.feature_set.features:
        differs = np.flatnonzero(_bits(aligned[feature.name]) != _bits(later[feature.name]))
        if not len(differs):
            continue
        at = int(differs[-1])
        session, symbol = keys.row(at)
        leaks.append(
            Leak(
                feature=feature.name,
                expression=feature.expression,
                symbol=symbol,
                session=session,
                cut=cut,
                then=aligned[feature.name][at],
                later=later[feature.name][at],
                cells=len(differs),
            )
        )
    return leaks


def _bits(column: pl.Series) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """The bits of every value; missing is one pattern of NaN."""
    return np.asarray(column.cast(pl.Float32).fill_null(float("nan")).to_numpy()).copy().view(np.uint32)

"""The look-ahead check over the bars of a lake: which features, which bars, and what was found."""

import random
from dataclasses import dataclass
from datetime import date
from typing import Any

from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.features import Feature, FeatureSet, compile_features
from trading_pipeline.core.features.incremental import KEY
from trading_pipeline.core.features.lookahead import Leak, find_leaks
from trading_pipeline.core.labels import LabelKind
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import DataQualityError

SESSIONS = 504
"""Newest sessions that are looked at: two years hold suspensions, listings and splits, and are quick to compute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookaheadReport:
    """What was looked at, and the features that use the future."""

    feature_set: FeatureSet
    start: date
    end: date
    symbols: int
    cuts: int
    seed: int
    leaks: list[Leak]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "feature_set": self.feature_set.name,
            "hash": self.feature_set.hash,
            "features": len(self.feature_set.features),
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "symbols": self.symbols,
            "cuts": self.cuts,
            "seed": self.seed,
            "leaks": self.rows(),
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return one row a leaking feature."""
        return [
            {
                "feature": leak.feature,
                "expression": leak.expression,
                "symbol": leak.symbol,
                "session": leak.session.isoformat(),
                "known_up_to": leak.cut.isoformat(),
                "value_then": leak.then,
                "value_later": leak.later,
                "values_changed": leak.cells,
            }
            for leak in self.leaks
        ]


def check_lookahead(lake: Lake, feature_set: FeatureSet, *, cuts: int, seed: int, symbols: int) -> LookaheadReport:
    """Compute the features of the newest two years of bars with and without what lies after random cuts.

    Args:
        lake: with the dataset `bars`.
        feature_set: what to check.
        cuts: at how many sessions.
        seed: of the draw of cuts and symbols.
        symbols: at most so many, drawn at random; all of them where features compare symbols.

    Raises:
        DataQualityError: the lake has no bars.
    """
    held = lake.sessions(Dataset.BARS)[-SESSIONS:]
    if not held:
        raise DataQualityError("the lake has no bars to look at: materialise `bars` first", root=str(lake))
    compiled = compile_features(feature_set)
    bars = lake.read(Dataset.BARS, start=held[0], end=held[-1], columns=[*KEY, *sorted(compiled.fields)])
    names = sorted(bars["symbol"].unique())
    if len(names) > symbols and not compiled.cross_section:
        names = random.Random(seed).sample(names, symbols)  # noqa: S311  no secret
        bars = bars.filter(bars["symbol"].is_in(names))
    leaks = find_leaks(compiled, bars, calendar=xnys().between(held[0], held[-1]), cuts=cuts, seed=seed)
    return LookaheadReport(
        feature_set=feature_set,
        start=held[0],
        end=held[-1],
        symbols=len(names),
        cuts=min(cuts, len(held) - 1),
        seed=seed,
        leaks=leaks,
    )


def labels() -> FeatureSet:
    """Return the labels as a set: they look ahead on purpose, so a check that passes them is broken."""
    features = tuple(Feature(name=kind.value.upper(), expression=kind.expression) for kind in LabelKind)
    return FeatureSet(name="labels", features=features)

"""Compiles a feature set once and computes it for any range of sessions in one vectorised pass; it reads no files."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import polars as pl

from trading_pipeline.core.features.expression import fields_of
from trading_pipeline.core.features.lowering import lower
from trading_pipeline.core.features.panel import HAS_BAR, SESSION, build_panel
from trading_pipeline.core.features.parser import parse
from trading_pipeline.core.features.plan import SYMBOL, Plan
from trading_pipeline.core.features.reach import reach_of, union
from trading_pipeline.core.features.sets import FeatureSet

BLOCK_ROWS = 65_536
"""Rows computed together: enough to outweigh the fixed cost of some 1,600 columns, few enough for under 1 GB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledFeatures:
    """A feature set ready to compute.

    Attributes:
        feature_set: what is computed.
        lookback: sessions of bars needed before the first wanted one; None when all history counts.
        lookahead: sessions of bars needed after the last wanted one; above 0 only for labels.
        fields: the columns read from the bars.
    """

    feature_set: FeatureSet
    lookback: int | None
    lookahead: int
    fields: frozenset[str]
    _columns: tuple[str, ...]
    _plan: Plan

    def compute(
        self,
        bars: pl.DataFrame,
        *,
        calendar: Sequence[date],
        sessions: Collection[date],
        first_sessions: Mapping[str, date] | None = None,
        dtype: type[pl.Float32 | pl.Float64] = pl.Float32,
    ) -> pl.DataFrame:
        """Compute every feature for the wanted sessions.

        Args:
            bars: `session` (Date), `symbol` (String) and the fields (numbers, null where unknown), one row per session
                and symbol that has a bar, with the history that `lookback` asks for. Other columns are ignored.
            calendar: all exchange sessions that the bars span.
            sessions: the sessions wanted; those without bars give no rows.
            first_sessions: the first bar ever of each symbol. Needed for exactness only where a symbol was suspended
                on the first session of the history given: its suspended sessions count in windows.
            dtype: of the features.

        Returns:
            `session`, `symbol` and one column per feature in order, missing as null, never NaN (infinities stay, as in
            pyqlib), one row per wanted session and symbol that has a bar, sorted by session and symbol.

        Raises:
            FeatureError: a field is absent, a bar lies outside the calendar, or a session and symbol repeat.
        """
        panel = build_panel(bars, calendar=calendar, fields=self.fields, first_sessions=first_sessions)
        wanted = pl.Series(sorted(set(sessions)), dtype=pl.Date)
        answers = [self._compute_block(block, wanted, dtype) for block in _blocks(panel)]
        return pl.concat(answers).sort(SESSION, SYMBOL)

    def _compute_block(
        self, block: pl.DataFrame, wanted: pl.Series, dtype: type[pl.Float32 | pl.Float64]
    ) -> pl.DataFrame:
        computed = self._plan.run(block, keep={SESSION, SYMBOL, HAS_BAR, *self._columns})
        named = zip(self._columns, self.feature_set.names, strict=True)
        features = [pl.col(column).cast(dtype).alias(name) for column, name in named]
        rows = computed.filter(pl.col(HAS_BAR) & pl.col(SESSION).is_in(wanted.implode()))
        return rows.select(SESSION, SYMBOL, *features)


@lru_cache(maxsize=32)
def compile_features(feature_set: FeatureSet) -> CompiledFeatures:
    """Parse every expression and lay out the columns they share.

    Raises:
        FeatureError: an expression cannot be read; `column` says where.
    """
    expressions = [parse(feature.expression) for feature in feature_set.features]
    reach = union(*map(reach_of, expressions))
    plan = Plan()
    return CompiledFeatures(
        feature_set=feature_set,
        lookback=None if reach.back is None else max(reach.back, 0),
        lookahead=max(reach.ahead, 0),
        fields=frozenset(field for expression in expressions for field in fields_of(expression)),
        _columns=tuple(lower(plan, expression) for expression in expressions),
        _plan=plan,
    )


def _blocks(panel: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Cut at symbols, so that every block holds whole histories; an empty panel is one empty block."""
    start, end = 0, 0
    for rows in panel[SYMBOL].rle().struct.field("len").to_list():
        if end > start and end + rows - start > BLOCK_ROWS:
            yield panel.slice(start, end - start)
            start = end
        end += rows
    yield panel.slice(start)

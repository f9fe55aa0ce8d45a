"""Compiles a feature set once and computes it for any range of sessions; it reads no files."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np
import polars as pl

from trading_pipeline.core.features.computation import Computation
from trading_pipeline.core.features.execution import Options, available_cores
from trading_pipeline.core.features.expression import Call, Expression, Field, Text, fields_of
from trading_pipeline.core.features.operators import OPERATORS, Parameter
from trading_pipeline.core.features.panel import build_panel
from trading_pipeline.core.features.parser import parse
from trading_pipeline.core.features.program import Program
from trading_pipeline.core.features.reach import reach_of, union
from trading_pipeline.core.features.sets import FeatureSet
from trading_pipeline.core.features.stages import Stage, staged
from trading_pipeline.errors import FeatureError

MEMORY_BUDGET_BYTES = 128 * 2**20
"""Room for intermediate values, of all threads together, unless told otherwise."""

Dtype = type[pl.Float32 | pl.Float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledFeatures:
    """A feature set ready to compute.

    Attributes:
        feature_set: what is computed.
        lookback: sessions of bars needed before the first wanted one; None when all history counts.
        lookahead: sessions of bars needed after the last wanted one; above 0 only for labels.
        fields: the columns read from the bars.
        instruments: symbols whose bars every answer may need (`Mask`, `ChangeInstrument`).
        cross_section: an answer depends on the other symbols of its session, so all must be computed together.
    """

    feature_set: FeatureSet
    lookback: int | None
    lookahead: int
    fields: frozenset[str]
    instruments: frozenset[str]
    cross_section: bool
    _numbers: frozenset[str]
    _groups: frozenset[str]
    _stages: tuple[Stage, ...]
    _program: Program

    def compute(
        self,
        bars: pl.DataFrame,
        *,
        calendar: Sequence[date],
        sessions: Collection[date],
        first_sessions: Mapping[str, date] | None = None,
        dtype: Dtype = pl.Float32,
        threads: int | None = None,
        memory_budget_bytes: int = MEMORY_BUDGET_BYTES,
        float32_steps: bool | None = None,
    ) -> pl.DataFrame:
        """Compute every feature for the wanted sessions.

        Args:
            bars: `session` (Date), `symbol` (String) and the fields (numbers, null where unknown), one row per session
                and symbol that has a bar, in any order, with the history that `lookback` asks for. Other columns are
                ignored.
            calendar: all exchange sessions that the bars span.
            sessions: the sessions wanted; those without bars give no rows.
            first_sessions: the first bar ever of each symbol. Needed for exactness only where a symbol was suspended
                on the first session of the history given: its suspended sessions count in windows.
            dtype: of the features.
            threads: to compute with; all cores that the process may use when None. Answers do not depend on it.
            memory_budget_bytes: room for intermediate values; the answer and the bars come on top. Answers do not
                depend on it.
            float32_steps: round to float32 wherever pyqlib does, whose bars are float32, and compute windows in
                float64 as it does: the answers are then pyqlib's even where they are small differences of large
                numbers. False: float64 throughout. None: True for Float32 answers, False for Float64.

        Returns:
            `session`, `symbol` and one column per feature in order, missing as null, never NaN (infinities stay, as in
            pyqlib), one row per wanted session and symbol that has a bar, sorted by session and symbol.

        Raises:
            FeatureError: a field is absent or no number, a bar lies outside the calendar, a session and symbol repeat,
                or no bar is of a symbol that `Mask` names.
        """
        steps = dtype == pl.Float32 if float32_steps is None else float32_steps
        computation = self._prepare(bars, calendar, first_sessions, threads, memory_budget_bytes, steps)
        symbols = range(len(computation.panel.symbols))
        return computation.frame(symbols, sessions=sessions, names=self.feature_set.names, dtype=dtype)

    def stream(
        self,
        bars: pl.DataFrame,
        *,
        calendar: Sequence[date],
        sessions: Collection[date],
        first_sessions: Mapping[str, date] | None = None,
        dtype: Dtype = pl.Float32,
        threads: int | None = None,
        memory_budget_bytes: int = MEMORY_BUDGET_BYTES,
        float32_steps: bool | None = None,
        nulls: bool = True,
    ) -> Iterator[pl.DataFrame]:
        """Compute as `compute` does, some symbols at a time.

        Takes what `compute` takes, but `memory_budget_bytes` covers the answers of a frame as well: half of it is
        theirs. A single symbol that needs more takes it.

        With `nulls` off what is missing is NaN: columns that cannot be null are written to Parquet in half the time.

        Yields:
            Frames of consecutive symbols, each sorted by session and symbol; together the rows of `compute`.
        """
        half = memory_budget_bytes // 2
        steps = dtype == pl.Float32 if float32_steps is None else float32_steps
        computation = self._prepare(bars, calendar, first_sessions, threads, half, steps)
        wide = 4 if dtype == pl.Float32 else 8
        most = max(1, half // (wide * len(self.feature_set.names) + 32))
        bounds, symbol = computation.panel.bounds, 0
        symbols = len(computation.panel.symbols)
        while symbol < symbols:
            end = int(np.searchsorted(bounds, bounds[symbol] + most, side="right")) - 1
            end = min(max(end, symbol + 1), symbols)
            names, some = self.feature_set.names, range(symbol, end)
            yield computation.frame(some, sessions=sessions, names=names, dtype=dtype, nulls=nulls)
            symbol = end

    def _prepare(
        self,
        bars: pl.DataFrame,
        calendar: Sequence[date],
        first_sessions: Mapping[str, date] | None,
        threads: int | None,
        memory_budget_bytes: int,
        float32_steps: bool,  # noqa: FBT001  private
    ) -> Computation:
        panel = build_panel(
            bars, calendar=calendar, fields=self._numbers, groups=self._groups, first_sessions=first_sessions
        )
        options = Options(
            threads=threads or available_cores(), memory_budget_bytes=memory_budget_bytes, float32_steps=float32_steps
        )
        return Computation(panel, stages=self._stages, program=self._program, options=options)


@lru_cache(maxsize=32)
def compile_features(feature_set: FeatureSet) -> CompiledFeatures:
    """Parse every expression and lay out the steps they share.

    Raises:
        FeatureError: an expression cannot be read; `feature` names it and `column` says where.
    """
    expressions = [_parse(feature.name, feature.expression) for feature in feature_set.features]
    reach = union(*map(reach_of, expressions))
    calls = [call for expression in expressions for call in _calls(expression)]
    stages, program = staged(expressions)
    loaded = {source for item in (*(stage.program for stage in stages), program) for source in item.sources}
    return CompiledFeatures(
        feature_set=feature_set,
        lookback=None if reach.back is None else max(reach.back, 0),
        lookahead=max(reach.ahead, 0),
        fields=frozenset(field for expression in expressions for field in fields_of(expression)),
        instruments=frozenset(item.value for call in calls for item in call.arguments if isinstance(item, Text)),
        cross_section=any(OPERATORS[call.operator].cross_section for call in calls),
        _numbers=frozenset(source.name for source in loaded if isinstance(source, Field)),
        _groups=frozenset(_groups(calls)),
        _stages=stages,
        _program=program,
    )


def _parse(name: str, text: str) -> Expression:
    try:
        return parse(text)
    except FeatureError as error:
        message = f"feature {name}: {error.message}"
        raise FeatureError(message, feature=name, **error.fields) from None


def _calls(expression: Expression) -> Iterator[Call]:
    if isinstance(expression, Call):
        yield expression
        for argument in expression.arguments:
            yield from _calls(argument)


def _groups(calls: Sequence[Call]) -> Iterator[str]:
    for call in calls:
        for argument, kind in zip(call.arguments, OPERATORS[call.operator].parameters, strict=False):
            if kind is Parameter.GROUP and isinstance(argument, Field):
                yield argument.name

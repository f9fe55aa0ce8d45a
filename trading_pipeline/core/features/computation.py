"""One computation over one panel: first what mixes the symbols of a session, then the answers, symbol by symbol."""

from collections.abc import Callable, Collection, Sequence
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

from trading_pipeline.core.features.columns import Columns
from trading_pipeline.core.features.execution import Block, Options, Sink, run
from trading_pipeline.core.features.expression import Call, Expression, Field, Text
from trading_pipeline.core.features.kernels import sessions as kernels
from trading_pipeline.core.features.panel import Panel
from trading_pipeline.core.features.program import Program
from trading_pipeline.core.features.stages import Stage
from trading_pipeline.errors import FeatureError

_STATISTICS = {"CSRank": kernels.CS_RANK, "CSZScore": kernels.CS_ZSCORE, "CSDemean": kernels.CS_DEMEAN}

Row = npt.NDArray[np.float64]


class Computation:
    """Answers of a program for a panel.

    Args:
        panel: the bars.
        stages: what comes before the program; run at once, for all symbols.
        program: emits the answers.
        options: how to run.

    Raises:
        FeatureError: no bar is of a symbol that `Mask` names.
    """

    def __init__(self, panel: Panel, *, stages: Sequence[Stage], program: Program, options: Options) -> None:
        self.panel = panel
        self._program, self._options = program, options
        self._derived: dict[Expression, Row] = {}
        for stage in stages:
            series = self._series(stage)
            for call, values in zip(stage.calls, series, strict=True):
                self._derived[call] = self._crossed(call, values)

    def frame(
        self,
        symbols: range,
        *,
        sessions: Collection[date],
        names: Sequence[str],
        dtype: type[pl.Float32 | pl.Float64],
        nulls: bool = True,
    ) -> pl.DataFrame:
        """Return the named answers of some symbols for the wanted sessions, by session and symbol.

        What is missing is null, or NaN without `nulls`.
        """
        wanted = pl.Series(sorted(set(sessions)), dtype=pl.Date)
        columns = Columns(
            self.panel,
            symbols=symbols,
            wanted=wanted,
            answers=len(names),
            dtype=dtype,
            threads=self._options.threads,
        )
        self._run(self._program, symbols, columns.prepare)
        return columns.frame(names, nulls=nulls)

    def _run(self, program: Program, symbols: range, prepare: Callable[[Block], Sink]) -> None:
        run(program, self.panel, symbols=symbols, derived=self._derived, options=self._options, prepare=prepare)

    def _series(self, stage: Stage) -> list[Row]:
        """Compute the series that the calls of a stage read, for every row of the panel."""
        series = [np.empty(int(self.panel.bounds[-1])) for _ in stage.calls]

        def sink(block: Block, answer: int, values: Row) -> None:
            series[answer][block.rows] = values

        self._run(stage.program, range(len(self.panel.symbols)), lambda _: sink)
        return series

    def _crossed(self, call: Call, values: Row) -> Row:
        panel = self.panel
        out = np.empty_like(values)
        if call.operator == "Mask":
            kernels.of_one_symbol(values, self._number_of(call.arguments[1]), panel.firsts, panel.bounds, out)
            return out
        has_bar = panel.bar_of >= 0
        groups = np.zeros_like(values)
        if len(call.arguments) > 1 and isinstance(call.arguments[1], Field):
            groups = np.where(has_bar, panel.groups[call.arguments[1].name][panel.bar_of], np.nan)
        statistic = _STATISTICS[call.operator]
        symbols = len(panel.symbols)
        kernels.across_symbols(
            statistic, values, groups, has_bar, panel.firsts, panel.bounds, len(panel.sessions), out,
            np.empty(symbols, np.int64), np.empty((2, symbols), np.int64), np.empty(symbols), np.empty(symbols),
        )  # fmt: skip
        return out

    def _number_of(self, symbol: Expression) -> int:
        name = symbol.value if isinstance(symbol, Text) else ""
        place = self.panel.symbols.index_of(name) if len(self.panel.symbols) else 0
        if place is None:
            message = f"no bar is of {name!r}, which an expression reads through Mask; add the bars of {name}"
            raise FeatureError(message, symbol=name)
        return place

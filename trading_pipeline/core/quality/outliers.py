"""Jumps of the close against the last good close of the symbol; a jump never becomes the new reference by itself."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from trading_pipeline.core.quality.reasons import Reason

_ROUNDING = 1e-9
"""110 / 100 - 1 is a little above 0.1 in floating point; a close on the threshold passes all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierRule:
    """The threshold (fraction, 0.5 = 50 %), the closes to start from, and the bars an operator has accepted."""

    threshold: float
    last_good: Mapping[str, float]
    accepted: frozenset[tuple[date, str]]

    def find(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return `row`, `reason`, `detail` of every outlier.

        Args:
            rows: `row` (any id), `session`, `symbol`, `close` of rows that broke no other rule, one a key.
        """
        ordered = rows.sort("symbol", "session")
        suspects = self._symbols_with_a_jump(ordered)
        found: list[tuple[int, float, float]] = []
        for part in ordered.filter(pl.col("symbol").is_in(suspects)).partition_by("symbol"):
            found += self._walk(part)
        return _as_frame(found, rows.schema["row"], self.threshold)

    def _symbols_with_a_jump(self, ordered: pl.DataFrame) -> Collection[str]:
        # As long as every close is good the reference is the close before it, so one vectorised comparison clears
        # the symbols without a jump; only the others are worth a walk.
        carried = pl.col("symbol").replace_strict(dict(self.last_good), default=None, return_dtype=pl.Float64)
        reference = pl.col("close").shift(1).over("symbol").fill_null(carried)
        jumps = ordered.filter(
            ((pl.col("close") / reference - 1).abs() > self.threshold + _ROUNDING).fill_null(value=False)
        )
        return {
            symbol
            for session, symbol in jumps.select("session", "symbol").iter_rows()
            if not self._is_accepted(session, symbol)
        }

    def _walk(self, part: pl.DataFrame) -> list[tuple[int, float, float]]:
        symbol = part["symbol"][0]
        reference = self.last_good.get(symbol)
        found = []
        for row, session, close in part.select("row", "session", "close").iter_rows():
            if reference is not None and self._is_jump(close, reference) and not self._is_accepted(session, symbol):
                found.append((row, close, reference))
            else:
                reference = close
        return found

    def _is_jump(self, close: float, reference: float) -> bool:
        return abs(close / reference - 1) > self.threshold + _ROUNDING

    def _is_accepted(self, session: date, symbol: str) -> bool:
        return (session, symbol) in self.accepted


def _as_frame(found: Sequence[tuple[int, float, float]], row_dtype: pl.DataType, threshold: float) -> pl.DataFrame:
    details = [
        f"close {close:g} is {close / reference - 1:+.1%} from last good close {reference:g}, threshold {threshold:.1%}"
        for _, close, reference in found
    ]
    return pl.DataFrame(
        {"row": [row for row, _, _ in found], "reason": [Reason.OUTLIER.value] * len(found), "detail": details},
        schema={"row": row_dtype, "reason": pl.String, "detail": pl.String},
    )

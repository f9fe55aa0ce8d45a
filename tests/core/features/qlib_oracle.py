"""Computes expressions with pyqlib itself; a program of its own, since its import is slow and changes global state.

`python qlib_oracle.py FOLDER GENERATOR` reads `bars.parquet` (`panel`, `symbol`, `position` in the calendar and the
fields) and `expressions.json` (by name) in FOLDER, and writes `answers.parquet` there, and in `definitions.json` what
`definitions` of the program GENERATOR returns.
"""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import qlib
from qlib.data.data import ExpressionD, FeatureD

FIELDS = ("open", "high", "low", "close", "volume", "vwap")


class FramesInMemory:
    """A source of fields for pyqlib: float32, one row for every session between a symbol's first and last bar."""

    def __init__(self, bars: pl.DataFrame) -> None:
        self._series: dict[tuple[str, str], pd.Series] = {}
        for (panel, symbol), rows in bars.group_by("panel", "symbol"):
            positions = rows["position"].to_numpy()
            index = pd.RangeIndex(positions.min(), positions.max() + 1)
            for field in FIELDS:
                values = rows[field].cast(pl.Float64).fill_null(np.nan).to_numpy().astype(np.float32)
                self._series[f"{panel}/{symbol}", f"${field}"] = pd.Series(values, index=positions).reindex(index)

    def feature(self, instrument: str, field: str, *_: object) -> pd.Series:
        """Return one field of one symbol."""
        return self._series[instrument, field]


def answers(bars: pl.DataFrame, expressions: dict[str, str]) -> pl.DataFrame:
    """Return pyqlib's float32 answers for every row of the bars; its missing values are null."""
    FeatureD.register(FramesInMemory(bars))
    frames = []
    for (panel, symbol), rows in bars.group_by("panel", "symbol", maintain_order=True):
        positions = rows["position"].to_list()
        columns = {}
        for name, text in expressions.items():
            series = ExpressionD.get_expression_instance(text).load(f"{panel}/{symbol}", 0, 10**6, "day")
            columns[name] = series.astype(np.float32).reindex(positions).to_numpy()
        frames.append(pl.concat([rows.select("panel", "symbol", "position"), pl.DataFrame(columns)], how="horizontal"))
    return pl.concat(frames).fill_nan(None)


if __name__ == "__main__":
    folder, generator = map(Path, sys.argv[1:])
    definitions = runpy.run_path(str(generator))["definitions"]()
    (folder / "definitions.json").write_text(json.dumps(definitions), encoding="utf-8")
    qlib.init(provider_uri=str(folder), kernels=1, logging_level=40)
    wanted = json.loads((folder / "expressions.json").read_text(encoding="utf-8"))
    answers(pl.read_parquet(folder / "bars.parquet"), wanted).write_parquet(folder / "answers.parquet")

"""Computes expressions with pyqlib itself; a program of its own, since its import is slow and changes global state.

`python qlib_oracle.py FOLDER GENERATOR` first writes to `definitions.json` in FOLDER what `definitions` of the program
GENERATOR returns. Then for each NAME on a line of its input it reads `NAME.parquet` (`symbol`, `position` in the
calendar and the fields) and `NAME.json` (expressions by name), writes `NAME.answers.parquet` and prints NAME.
"""

import json
import re
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

    def __init__(self) -> None:
        self._series: dict[tuple[str, str], pd.Series] = {}

    def add(self, panel: str, bars: pl.DataFrame) -> None:
        """Take the bars of a panel; its symbols are called `PANEL/SYMBOL`."""
        for (symbol,), rows in bars.group_by("symbol"):
            positions = rows["position"].to_numpy()
            index = pd.RangeIndex(positions.min(), positions.max() + 1)
            for field in FIELDS:
                values = rows[field].cast(pl.Float64).fill_null(np.nan).to_numpy().astype(np.float32)
                self._series[f"{panel}/{symbol}", f"${field}"] = pd.Series(values, index=positions).reindex(index)

    def feature(self, instrument: str, field: str, *_: object) -> pd.Series:
        """Return one field of one symbol."""
        return self._series[instrument, field]


def answers(panel: str, bars: pl.DataFrame, expressions: dict[str, str]) -> pl.DataFrame:
    """Return pyqlib's float32 answers for every row of the bars; its missing values are null."""
    frames = []
    for (symbol,), rows in bars.group_by("symbol", maintain_order=True):
        positions = rows["position"].to_list()
        columns = {}
        for name, text in expressions.items():
            here = re.sub(r"'(\w+)'", rf"'{panel}/\1'", text)
            series = ExpressionD.get_expression_instance(here).load(f"{panel}/{symbol}", 0, 10**6, "day")
            columns[name] = series.astype(np.float32).reindex(positions).to_numpy()
        frames.append(pl.concat([rows.select("symbol", "position"), pl.DataFrame(columns)], how="horizontal"))
    return pl.concat(frames).fill_nan(None)


if __name__ == "__main__":
    folder, generator = map(Path, sys.argv[1:])
    definitions = runpy.run_path(str(generator))["definitions"]()
    (folder / "definitions.json").write_text(json.dumps(definitions), encoding="utf-8")
    qlib.init(provider_uri=str(folder), kernels=1, logging_level=40)
    source = FramesInMemory()
    FeatureD.register(source)
    for line in sys.stdin:
        name = line.strip()
        panel = pl.read_parquet(folder / f"{name}.parquet")
        source.add(name, panel)
        wanted = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        answers(name, panel, wanted).write_parquet(folder / f"{name}.answers.parquet")
        print(name, flush=True)

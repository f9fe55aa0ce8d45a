"""Asks pyqlib, in a process of its own, and compares its answers with ours."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from trading_pipeline.core.features import Feature, FeatureSet, compile_features

ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).with_name("qlib_oracle.py")
GENERATOR = ROOT / "tools" / "generate_feature_sets.py"


@dataclass(frozen=True, kw_only=True)
class Oracle:
    """pyqlib at the other end of a pipe."""

    folder: Path
    process: subprocess.Popen[str]

    def ask(self, name: str, bars: pl.DataFrame, days: list[date], expressions: Mapping[str, str]) -> pl.DataFrame:
        """Return pyqlib's answers, by symbol and position; a name must not be used for other bars."""
        numbered(bars, days).write_parquet(self.folder / f"{name}.parquet")
        (self.folder / f"{name}.json").write_text(json.dumps(dict(expressions)), encoding="utf-8")
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        if self.process.stdout.readline().strip() != name:
            raise RuntimeError((self.folder / "errors.txt").read_text(encoding="utf-8"))
        return pl.read_parquet(self.folder / f"{name}.answers.parquet").sort("symbol", "position")


@contextmanager
def open_oracle(folder: Path) -> Iterator[Oracle]:
    """Start pyqlib, which takes ten seconds, and end it in the end."""
    with (
        (folder / "errors.txt").open("w", encoding="utf-8") as errors,
        subprocess.Popen(
            [sys.executable, PROGRAM, folder, GENERATOR],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=folder,
        ) as process,
    ):
        try:
            yield Oracle(folder=folder, process=process)
        finally:
            process.stdin.close()
            process.wait()


def ours(
    bars: pl.DataFrame, days: list[date], expressions: Mapping[str, str], *, float32_steps: bool = False
) -> pl.DataFrame:
    """Return our answers in the form of pyqlib's."""
    features = tuple(Feature(name=name, expression=text) for name, text in expressions.items())
    computed = compile_features(FeatureSet(name="asked", features=features)).compute(
        bars, calendar=days, sessions=days, float32_steps=float32_steps
    )
    return numbered(computed, days).sort("symbol", "position")


def numbered(bars: pl.DataFrame, days: list[date]) -> pl.DataFrame:
    """Replace the session by its position in the calendar."""
    places = pl.DataFrame({"session": days, "position": range(len(days))})
    return bars.join(places, on="session").select("symbol", "position", pl.exclude("symbol", "position", "session"))


def numbers(series: pl.Series) -> np.ndarray:
    """Return float64 with NaN for missing."""
    return series.cast(pl.Float64).fill_null(np.nan).to_numpy()

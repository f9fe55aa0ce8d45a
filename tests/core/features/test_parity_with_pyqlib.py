"""The answers agree with those of pyqlib, on awkward data, on real bars and on random expressions."""

import json
from collections.abc import Iterator
from datetime import date
from importlib.resources import files
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from core.features.expressions import OPERATORS
from core.features.oracle import ROOT, Oracle, numbers, open_oracle, ours

from trading_pipeline.core.features import alpha158

GOLDEN = Path(__file__).parent / "golden"
FIELDS = ("open", "high", "low", "close", "volume", "vwap")
ALPHA158 = {feature.name: feature.expression for feature in alpha158().features}
EXPRESSIONS = ALPHA158 | {text: text for text in OPERATORS}
OF_ONE_PANEL = "'PENNY'"
"""A symbol of the awkward panel alone."""


@pytest.fixture(scope="module")
def sample() -> pl.DataFrame:
    """The real bars that come with the package, rounded to float32 as pyqlib stores them."""
    path = Path(str(files("trading_pipeline.adapters.market_data"))) / "sample" / "bars.parquet"
    return pl.read_parquet(path).with_columns(pl.col(*FIELDS).cast(pl.Float32).cast(pl.Float64))


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    """pyqlib, started once."""
    with open_oracle(tmp_path_factory.mktemp("oracle")) as running:
        yield running


@pytest.fixture(scope="module")
def awkward_answers(oracle: Oracle, awkward_bars: pl.DataFrame, calendar: list[date]) -> pl.DataFrame:
    """What pyqlib answers for the awkward panel."""
    return oracle.ask("awkward", awkward_bars.select("session", "symbol", *FIELDS), calendar, EXPRESSIONS)


@pytest.mark.slow
@pytest.mark.parametrize("float32_steps", [False, True])
def test_every_expression_agrees_on_awkward_bars(
    awkward_answers: pl.DataFrame, awkward_bars: pl.DataFrame, calendar: list[date], float32_steps: bool
) -> None:
    """Missing values stand in the same places, and numbers differ by no more than float32 arithmetic explains."""
    computed = ours(awkward_bars, calendar, EXPRESSIONS, float32_steps=float32_steps)
    assert awkward_answers.select("symbol", "position").equals(computed.select("symbol", "position"))
    assert {} == _differences(awkward_answers, computed, awkward_bars, exact=float32_steps)


@pytest.mark.slow
def test_every_expression_agrees_on_real_bars(oracle: Oracle, sample: pl.DataFrame) -> None:
    """The bundled sample."""
    days = sorted(sample["session"].unique())
    expressions = {name: text for name, text in EXPRESSIONS.items() if OF_ONE_PANEL not in text}
    expected = oracle.ask("sample", sample.select("session", "symbol", *FIELDS), days, expressions)
    assert {} == _differences(expected, ours(sample, days, expressions, float32_steps=True), sample, exact=True)


@pytest.mark.slow
def test_committed_definitions_are_those_of_pyqlib(oracle: Oracle, awkward_answers: pl.DataFrame) -> None:
    """The generated data is what the generator makes from the pyqlib that is installed."""
    defined = json.loads((oracle.folder / "definitions.json").read_text(encoding="utf-8"))
    folder = ROOT / "trading_pipeline" / "core" / "features"
    assert {name: (folder / name).read_text(encoding="utf-8") for name in defined} == defined
    assert {"alpha158.json", "alpha360.json"} == set(defined)


@pytest.mark.slow
@pytest.mark.parametrize(("file", "names"), [("alpha158.parquet", list(ALPHA158)), ("operators.parquet", OPERATORS)])
def test_golden_files_are_what_pyqlib_answers(
    oracle: Oracle, awkward_answers: pl.DataFrame, file: str, names: list[str]
) -> None:
    """The committed answers are current; after a wanted change, copy the file the message names over them."""
    thinned = awkward_answers.filter((pl.col("position") % 5 == 4) | (pl.col("symbol") == "ONCE"))
    answers = thinned.select("symbol", "position", *names)
    answers.write_parquet(oracle.folder / file, compression_level=19)
    golden = GOLDEN / file
    assert golden.exists() and pl.read_parquet(golden).equals(answers), f"{golden} differs from {oracle.folder / file}"  # noqa: PT018


def _differences(expected: pl.DataFrame, computed: pl.DataFrame, bars: pl.DataFrame, *, exact: bool) -> dict[str, str]:
    names = expected.columns[2:]
    found = {name: _difference(name, expected[name], computed[name], bars, exact=exact) for name in names}
    return {name: difference for name, difference in found.items() if difference}


def _difference(name: str, theirs: pl.Series, mine: pl.Series, bars: pl.DataFrame, *, exact: bool) -> str:
    if name.startswith("WVMA"):
        # Where a window holds no volume, pyqlib divides what rounding left of earlier volumes by 1e-12; ours is exact.
        idle = pl.col("volume").rolling_max(int(name.removeprefix("WVMA"))).over("symbol", order_by="session") == 0
        traded = ~bars.sort("symbol", "session").select(idle.fill_null(value=False)).to_series()
        theirs, mine = theirs.filter(traded), mine.filter(traded)
    if not (theirs.is_null() == mine.is_null()).all():
        return f"{(theirs.is_null() != mine.is_null()).sum()} values are missing in one of the two only"
    noise = 1e-9 if exact else _noise(name)
    wrong = ~np.isclose(numbers(mine), numbers(theirs), rtol=1e-5, atol=noise, equal_nan=True)
    pairs = list(zip(numbers(mine)[wrong], numbers(theirs)[wrong], strict=True))
    return f"{len(pairs)} values differ, first {pairs[:3]}" if pairs else ""


def _noise(name: str) -> float:
    """What float32 steps inside pyqlib may add: small differences of large numbers, and variances of them."""
    if "CORD" in name or "Corr(" in name:
        return 1e-3
    return 1e-4 if name.startswith(("CORR", "WVMA", "Cov(")) else 1e-7

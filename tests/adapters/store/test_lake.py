"""The lake: round trips, byte stability, and what is left after crashes, full disks and writers at the same time."""

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from trading_pipeline.adapters.store import compaction
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.errors import DataQualityError

DAYS = [date(2024, 7, 1) + timedelta(days=offset) for offset in range(5)]
SCHEMA = {"session": pl.Date, "symbol": pl.String, "value": pl.Float64}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Return an empty lake."""
    return Lake(tmp_path / "lake")


def frame(*rows: tuple[date, str, float | None]) -> pl.DataFrame:
    """Return rows of a small dataset."""
    return pl.DataFrame(list(rows), schema=SCHEMA, orient="row")


def snapshot(lake: Lake) -> dict[str, tuple[bytes, int]]:
    """Return content and inode of every file of the lake that readers look at."""
    files = [path for suffix in ("parquet", "json") for path in lake.root.rglob(f"*.{suffix}")]
    return {str(path): (path.read_bytes(), path.stat().st_ino) for path in files}


def parts(lake: Lake) -> list[Path]:
    """Return the files that the manifest of the bars names."""
    return [lake.root / Dataset.BARS / part.name for part in lake.catalog(Dataset.BARS).parts]


def hidden_files(lake: Lake) -> list[Path]:
    """Return what a crash may have left."""
    return list(lake.root.rglob("*.tmp"))


def test_rows_come_back_as_they_were_written(lake: Lake):
    """In order of session and symbol, nulls and NaN included."""
    rows = frame((DAYS[1], "B", None), (DAYS[0], "B", float("nan")), (DAYS[0], "A", 1.5))

    assert DAYS[:2] == lake.write(Dataset.BARS, rows, sessions=DAYS[:2])
    assert_frame_equal(rows.sort("session", "symbol"), lake.read(Dataset.BARS, start=DAYS[0], end=DAYS[4]))
    assert DAYS[:2] == lake.sessions(Dataset.BARS)


def test_one_commit_is_one_file(lake: Lake):
    """Named after its sessions, and plain Parquet to anybody."""
    lake.write(Dataset.BARS, frame(*((day, "A", 1.0) for day in DAYS[:3])), sessions=DAYS[:3])

    (path,) = parts(lake)
    assert path.name.startswith("2024-07-01_2024-07-03_")
    assert DAYS[:3] == pl.read_parquet(path)["session"].to_list()


def test_a_session_without_rows_differs_from_one_never_written(lake: Lake):
    """An empty partition is there, with its columns."""
    lake.write(Dataset.BARS, frame((DAYS[0], "A", 1.0)), sessions=DAYS[:2])

    assert [True, True, False] == [lake.has(Dataset.BARS, day) for day in DAYS[:3]]
    assert_frame_equal(frame(), lake.read_session(Dataset.BARS, DAYS[1]))
    with pytest.raises(DataQualityError, match="no bars of 2024-07-03"):
        lake.read_session(Dataset.BARS, DAYS[2])


def test_a_range_reads_what_lies_in_it(lake: Lake):
    """Both ends belong to it, sessions outside and never written add nothing."""
    lake.write(Dataset.BARS, frame(*((day, "A", 1.0) for day in DAYS[:4])), sessions=DAYS[:4])

    assert DAYS[1:3] == lake.read(Dataset.BARS, start=DAYS[1], end=DAYS[2])["session"].to_list()
    assert_frame_equal(frame(), lake.read(Dataset.BARS, start=DAYS[4], end=DAYS[4]))


def test_columns_are_chosen_on_reading(lake: Lake):
    """In the order asked for; an unknown one is an error that names the dataset."""
    lake.write(Dataset.BARS, frame((DAYS[0], "A", 1.0)), sessions=DAYS[:1])

    assert ["value", "session"] == lake.read(
        Dataset.BARS, start=DAYS[0], end=DAYS[0], columns=["value", "session"]
    ).columns
    assert ["symbol"] == lake.read_session(Dataset.BARS, DAYS[0], columns=["symbol"]).columns
    with pytest.raises(DataQualityError, match="bars of 2024-07-01 to 2024-07-01 cannot be read"):
        lake.read_session(Dataset.BARS, DAYS[0], columns=["vwap"])


def test_a_file_cut_to_pieces_by_restated_sessions_reads_in_order(lake: Lake):
    """Every third session is said again; all, some and one column are read from both sides of the cuts."""
    days = [date(2024, 1, 1) + timedelta(days=number) for number in range(30)]
    rows = frame(*((day, symbol, float(number)) for number, day in enumerate(days) for symbol in ("A", "B")))
    lake.write(Dataset.BARS, rows, sessions=days)
    for day in days[1::3]:
        lake.write(Dataset.BARS, frame((day, "A", -1.0), (day, "C", -2.0)), sessions=[day])
        rows = pl.concat([rows.filter(pl.col("session") != day), frame((day, "A", -1.0), (day, "C", -2.0))])
    rows = rows.sort("session", "symbol")
    for first, last in ((0, 29), (4, 20), (6, 6), (7, 7)):
        expected = rows.filter(pl.col("session").is_between(days[first], days[last]))
        assert_frame_equal(expected, lake.read(Dataset.BARS, start=days[first], end=days[last]))
        shown = lake.read(Dataset.BARS, start=days[first], end=days[last], columns=["symbol"])
        assert_frame_equal(expected.select("symbol"), shown)


def test_a_dataset_never_written_is_no_empty_dataset(lake: Lake):
    """Missing state is an error, not zero rows."""
    assert [] == lake.sessions(Dataset.FEATURES)
    with pytest.raises(DataQualityError, match="no features at all"):
        lake.read(Dataset.FEATURES, start=DAYS[0], end=DAYS[4])


def test_equal_content_leaves_the_files_untouched(lake: Lake):
    """Whatever the order of the rows, and whether sessions are written together or one by one."""
    rows = frame((DAYS[0], "A", 1.0), (DAYS[0], "B", None), (DAYS[0], "B", 2.0), (DAYS[1], "A", 3.0))
    lake.write(Dataset.RAW_BARS, rows, sessions=DAYS[:3])
    before = snapshot(lake)

    assert [] == lake.write(Dataset.RAW_BARS, rows.reverse(), sessions=DAYS[:3])
    for day in DAYS[:3]:
        assert [] == lake.write(Dataset.RAW_BARS, rows.filter(pl.col("session") == day), sessions=[day])
    assert before == snapshot(lake)


def test_only_changed_sessions_are_replaced_and_returned(lake: Lake):
    """The others keep their file."""
    lake.write(Dataset.BARS, frame((DAYS[0], "A", 1.0), (DAYS[1], "A", 1.0)), sessions=DAYS[:2])
    before = snapshot(lake)

    changed = lake.write(Dataset.BARS, frame((DAYS[0], "A", 1.0), (DAYS[1], "A", 2.0)), sessions=DAYS[:2])

    assert [DAYS[1]] == changed
    (old,) = (path for path in before if path.endswith(".parquet"))
    assert before[old] == snapshot(lake)[old]
    assert ["2024-07-02"] == [path.name[:10] for path in parts(lake) if str(path) not in before]
    assert 2.0 == lake.read_session(Dataset.BARS, DAYS[1])["value"].item()


def test_a_change_of_type_is_a_change(lake: Lake):
    """1 and 1.0 are different files."""
    lake.write(Dataset.BARS, frame((DAYS[0], "A", 1.0)), sessions=DAYS[:1])

    assert DAYS[:1] == lake.write(Dataset.BARS, frame((DAYS[0], "A", 1.0)).cast({"value": pl.Int64}), sessions=DAYS[:1])


def test_rows_of_other_sessions_are_refused(lake: Lake):
    """A caller that mixes up its sessions overwrites nothing."""
    lake.write(Dataset.BARS, frame((DAYS[0], "A", 1.0)), sessions=DAYS[:1])
    before = snapshot(lake)

    with pytest.raises(DataQualityError, match=r"1 session\(s\) of the frame are not among those to write: 2024-07-02"):
        lake.write(Dataset.BARS, frame((DAYS[0], "A", 2.0), (DAYS[1], "A", 2.0)), sessions=DAYS[:1])
    assert before == snapshot(lake)


@pytest.mark.parametrize(
    "rows",
    [
        frame((DAYS[0], "A", 1.0)).drop("session"),
        frame((DAYS[0], "A", 1.0)).cast({"session": pl.String}),
    ],
)
def test_a_frame_without_session_dates_is_refused(lake: Lake, rows: pl.DataFrame):
    """There would be no telling where its rows belong."""
    with pytest.raises(DataQualityError, match="session of type Date"):
        lake.write(Dataset.BARS, rows, sessions=DAYS[:1])


def test_files_of_two_formats_are_not_read_as_one(lake: Lake):
    """A dataset whose columns have changed asks to be made again."""
    lake.write(Dataset.FEATURES, frame((DAYS[0], "A", 1.0)), sessions=DAYS[:1])
    lake.write(Dataset.FEATURES, frame((DAYS[1], "A", 1.0)).rename({"value": "other"}), sessions=DAYS[1:2])

    with pytest.raises(DataQualityError, match="Materialise the range again"):
        lake.read(Dataset.FEATURES, start=DAYS[0], end=DAYS[1])


def test_a_damaged_file_is_reported_and_can_be_written_over(lake: Lake):
    """Damage is neither read nor taken for equal content."""
    rows = frame((DAYS[0], "A", 1.0))
    lake.write(Dataset.BARS, rows, sessions=DAYS[:1])
    (path,) = parts(lake)
    path.write_bytes(b"PAR1")

    with pytest.raises(DataQualityError, match="cannot be read"):
        lake.read_session(Dataset.BARS, DAYS[0])
    assert DAYS[:1] == lake.write(Dataset.BARS, rows, sessions=DAYS[:1])
    assert_frame_equal(rows, lake.read_session(Dataset.BARS, DAYS[0]))


def test_update_sees_what_is_there(lake: Lake):
    """None before the first writing, then the present rows of the sessions named."""
    seen: list[pl.DataFrame | None] = []

    def add(present: pl.DataFrame | None) -> pl.DataFrame:
        seen.append(present)
        addition = frame((DAYS[0], f"S{len(seen)}", 1.0))
        return addition if present is None else pl.concat([present, addition])

    for _ in range(2):
        lake.update(Dataset.IMPORTED_BARS, add, sessions=DAYS[:2])

    assert seen[0] is None
    assert [["S1"], ["S1", "S2"]] == [
        seen[1]["symbol"].to_list(),
        lake.read_session(Dataset.IMPORTED_BARS, DAYS[0])["symbol"].to_list(),
    ]


def test_updates_at_the_same_time_lose_nothing(lake: Lake):
    """Reading and writing of an update are one step for other writers."""

    def add(number: int) -> None:
        addition = frame((DAYS[0], f"S{number:02}", 1.0))
        lake.update(
            Dataset.IMPORTED_BARS,
            lambda present: addition if present is None else pl.concat([present, addition]),
            sessions=DAYS[:1],
        )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(12)))

    assert [f"S{number:02}" for number in range(12)] == lake.read_session(Dataset.IMPORTED_BARS, DAYS[0])[
        "symbol"
    ].to_list()


def run_python(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a Python process of its own with the lake's names imported."""
    head = (
        "import os, sys\nfrom datetime import date\nfrom pathlib import Path\nimport polars as pl\n"
        "from trading_pipeline.adapters.store import objects\n"
        "from trading_pipeline.adapters.store.lake import Dataset, Lake\n"
    )
    return subprocess.Popen([sys.executable, "-c", head + code, *arguments])


CRASH = """
from trading_pipeline.adapters.store import atomic

left = int(sys.argv[2])
replace = Path.replace

def replace_or_die(path, target):
    global left
    left -= 1
    if left < 0:
        os._exit(9)
    return replace(path, target)

Path.replace = replace_or_die
days = [date(2024, 7, 1), date(2024, 7, 2)]
Lake(Path(sys.argv[1])).write(
    Dataset.BARS, pl.DataFrame({"session": days, "symbol": ["A", "A"], "value": [8.0, 9.0]}), sessions=days
)
"""


@pytest.mark.parametrize("renames", [0, 1])
def test_a_crash_within_a_commit_changes_nothing(lake: Lake, renames: int):
    """Before the file has its name, or before the manifest names it; the next writer clears up."""
    rows = frame((DAYS[0], "A", 1.0), (DAYS[1], "A", 2.0))
    lake.write(Dataset.BARS, rows, sessions=DAYS[:2])

    assert 9 == run_python(CRASH, str(lake.root), str(renames)).wait()

    assert 1 == len(hidden_files(lake))
    assert_frame_equal(rows, lake.read(Dataset.BARS, start=DAYS[0], end=DAYS[4]))
    lake.write(Dataset.BARS, frame((DAYS[2], "A", 3.0)), sessions=DAYS[2:3])
    assert [] == hidden_files(lake)
    assert sorted(parts(lake)) == sorted((lake.root / "bars").glob("*.parquet"))


FULL_DISK = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
days = [date(2024, 7, 1)] + [date(2024, 7, 2)] * 5000
rows = pl.DataFrame({"session": days, "symbol": [f"S{i}" for i in range(5001)], "value": [i / 7 for i in range(5001)]})
try:
    Lake(Path(sys.argv[1])).write(Dataset.BARS, rows, sessions=days[:2])
except OSError:
    sys.exit(7)
"""


def test_a_disk_that_takes_no_more_changes_no_session(lake: Lake):
    """When the second file of a write does not fit, the first is not replaced either, and nothing is left."""
    lake.write(Dataset.BARS, frame((DAYS[0], "A", 1.0)), sessions=DAYS[:1])
    before = snapshot(lake)

    assert 7 == run_python(FULL_DISK, str(lake.root)).wait()

    assert before == snapshot(lake)
    assert [] == hidden_files(lake)


WRITER = """
lake, value = Lake(Path(sys.argv[1])), float(sys.argv[2])
days = [date(2024, 7, 1), date(2024, 7, 2)]
for turn in range(15):
    rows = pl.DataFrame({"session": sorted(days * 200), "symbol": [f"S{i:03}" for i in range(200)] * 2,
                         "value": [value + turn] * 400})
    lake.write(Dataset.BARS, rows, sessions=days)
"""


def test_writers_at_the_same_time_leave_one_complete_file(lake: Lake):
    """Readers see the rows of one writer and one turn only, at every moment."""
    lake.write(Dataset.BARS, frame(*((DAYS[0], f"S{i:03}", 0.0) for i in range(200))), sessions=DAYS[:1])
    with run_python(WRITER, str(lake.root), "100") as one, run_python(WRITER, str(lake.root), "1000") as other:
        while one.poll() is None or other.poll() is None:
            rows = lake.read_session(Dataset.BARS, DAYS[0])
            assert (200, 1) == (rows.height, rows["value"].n_unique())

    assert (0, 0) == (one.returncode, other.returncode)
    assert lake.read_session(Dataset.BARS, DAYS[1])["value"].unique().to_list() in ([114.0], [1014.0])
    assert [] == hidden_files(lake)


def test_daily_appends_become_few_files(lake: Lake):
    """However many sessions are written one by one; no file but the loose ones is written twice."""
    days = [date(2020, 1, 1) + timedelta(days=offset) for offset in range(120)]
    for day in days:
        lake.write(Dataset.BARS, frame((day, "A", 1.0), (day, "B", None)), sessions=[day])

    assert len(parts(lake)) <= compaction.LOOSE_PARTS
    assert days == lake.sessions(Dataset.BARS)
    everything = lake.read(Dataset.BARS, start=days[0], end=days[-1])
    assert_frame_equal(frame(*((day, name, None if name == "B" else 1.0) for day in days for name in "AB")), everything)


def test_restated_sessions_cut_a_large_file_only_for_so_long(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    """Once a scan would hop between too many places, the file is written anew; the rows stay the same."""
    days = [date(2020, 1, 1) + timedelta(days=offset) for offset in range(200)]
    lake.write(Dataset.BARS, frame(*((day, "A", 1.0) for day in days)), sessions=days)
    monkeypatch.setattr(compaction, "SETTLED_BYTES", lake.catalog(Dataset.BARS).parts[0].size)
    most = 0
    for day in days[::2]:
        lake.write(Dataset.BARS, frame((day, "A", 2.0)), sessions=[day])
        most = max(most, len(lake.catalog(Dataset.BARS).slices(days)))

    assert 40 < most <= compaction.SCATTERED_SLICES
    expected = [2.0 if at % 2 == 0 else 1.0 for at in range(200)]
    assert expected == lake.read(Dataset.BARS, start=days[0], end=days[-1])["value"].to_list()


def test_readers_outlive_the_files_of_their_manifest(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    """Two commits after it was read, its files are gone: the reader starts again from the new one."""
    lake.write(Dataset.BARS, frame((DAYS[0], "A", 1.0)), sessions=DAYS[:1])
    old = lake.catalog(Dataset.BARS)
    for value in (2.0, 3.0):
        lake.write(Dataset.BARS, frame((DAYS[0], "A", value)), sessions=DAYS[:1])
    assert not (lake.root / "bars" / old.parts[0].name).exists()
    current = Lake.catalog
    answers = iter([old])
    monkeypatch.setattr(Lake, "catalog", lambda self, dataset: next(answers, None) or current(self, dataset))

    assert 3.0 == lake.read_session(Dataset.BARS, DAYS[0])["value"].item()


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"format": 2}', b"[]", b'{"format": 1, "parts": [{}], "retired": []}']
)
def test_a_damaged_manifest_is_no_empty_dataset(lake: Lake, content: bytes):
    """Nothing is read, and nothing written over it."""
    lake.write(Dataset.BARS, frame((DAYS[0], "A", 1.0)), sessions=DAYS[:1])
    (lake.root / "bars" / "manifest.json").write_bytes(content)

    with pytest.raises(DataQualityError, match="manifest of bars is damaged"):
        lake.read_session(Dataset.BARS, DAYS[0])
    with pytest.raises(DataQualityError, match="manifest of bars is damaged"):
        lake.write(Dataset.BARS, frame((DAYS[0], "A", 2.0)), sessions=DAYS[:1])
    assert content == (lake.root / "bars" / "manifest.json").read_bytes()


rows_of_days = st.lists(
    st.tuples(st.sampled_from(DAYS[:3]), st.sampled_from("ABC"), st.one_of(st.none(), st.floats(width=32))), max_size=12
)


@settings(max_examples=25)
@given(rows_of_days, rows_of_days)
def test_a_second_write_replaces_the_first_whole(
    tmp_path_factory: pytest.TempPathFactory, first: Sequence[tuple], second: Sequence[tuple]
):
    """After any two writes the lake holds the second, and says which sessions that changed."""
    lake = Lake(tmp_path_factory.mktemp("lake"))
    lake.write(Dataset.BARS, frame(*first), sessions=DAYS[:3])
    before = {day: lake.read_session(Dataset.BARS, day) for day in DAYS[:3]}

    changed = lake.write(Dataset.BARS, frame(*second), sessions=DAYS[:3])

    order = ["session", "symbol", "value"]
    stored = lake.read(Dataset.BARS, start=DAYS[0], end=DAYS[2])
    assert_frame_equal(frame(*second).sort(order, nulls_last=True), stored.sort(order, nulls_last=True))
    assert changed == [day for day in DAYS[:3] if not lake.read_session(Dataset.BARS, day).equals(before[day])]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path):
    """A file where the root should be is told, not worked around."""
    root = tmp_path / "lake"
    root.write_text("not a folder")

    with pytest.raises(OSError, match=os.strerror(20)):
        Lake(root).write(Dataset.BARS, frame(), sessions=DAYS[:1])

"""`sql`, `inspect`, `import-actions` and `export-qlib` on a lake: tables, JSON, files, refusals and exit codes."""

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from support.commands import run_command

from trading_pipeline.adapters.market_data.bundled import BundledSample
from trading_pipeline.adapters.store.actions import read_actions
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.raw_bars import record_raw_bars
from trading_pipeline.core.quality import judge_bars
from trading_pipeline.core.sessions import xnys

Run = Callable[..., subprocess.CompletedProcess[str]]
DAYS = xnys().between(date(2023, 9, 11), date(2023, 9, 15))
EVENING = datetime(2023, 9, 15, 21, tzinfo=UTC)
SPLIT = "symbol,ex_date,kind,ratio\nAAPL,2023-09-13,split,4\n"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command in an empty folder."""
    return lambda *arguments: run_command(*arguments, folder=tmp_path, home=tmp_path / "home")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Return a lake of two symbols; a bar of META has no close, and one of AAPL was restated."""
    lake = Lake(tmp_path / "home" / "lake")
    broken = (pl.col("symbol") == "META") & (pl.col("session") == DAYS[2])
    raw = BundledSample().bars(DAYS, {"AAPL", "META"})
    raw = raw.with_columns(pl.when(~broken).then("close").alias("close"))
    record_raw_bars(lake, raw, sessions=DAYS, now=EVENING)
    restated = raw.filter(pl.col("symbol") == "AAPL", pl.col("session") == DAYS[1]).with_columns(volume=pl.lit(1.0))
    record_raw_bars(lake, restated, sessions=[DAYS[1]], now=EVENING + timedelta(days=1))
    judged = judge_bars(raw, last_good={})
    lake.write(Dataset.BARS, judged.bars, sessions=DAYS)
    lake.write(Dataset.QUARANTINED_BARS, judged.quarantined, sessions=DAYS)
    return lake


def flat(text: str) -> str:
    """Return what was printed as one line."""
    return " ".join(text.split())


def test_sql_answers_one_select(run: Run, lake: Lake) -> None:
    """As a table or JSON, up to the limit, which it names when there was more."""
    question = "SELECT symbol, count(*) AS days FROM bars GROUP BY symbol ORDER BY symbol"
    answered = run("sql", question, "--json")
    assert (0, "") == (answered.returncode, answered.stderr)
    assert [{"symbol": "AAPL", "days": 5}, {"symbol": "META", "days": 4}] == json.loads(answered.stdout)

    cut = run("sql", question, "--limit", "1")
    assert 0 == cut.returncode
    assert ("AAPL" in cut.stdout, "META" in cut.stdout) == (True, False)
    assert "there are more rows: --limit is 1" in flat(cut.stderr)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("DROP VIEW bars",), 1, "this is DROP"),
        (("SELECT nothing FROM bars",), 1, "nothing"),
        (("SELECT 1; SELECT 2",), 1, "SELECT, SELECT"),
        (("SELECT * FROM read_text('home/lake/bars/manifest.json')",), 1, "SqlRefused"),
        (("SELECT count(*) FROM range(100000000000) a WHERE hash(a.range) = 1", "--seconds", "0.2"), 1, "--seconds"),
        (("SELECT 1", "--limit", "0"), 3, "--limit"),
        ((), 3, "TEXT"),
    ],
)
def test_sql_refuses_all_else(run: Run, lake: Lake, arguments: tuple[str, ...], code: int, message: str) -> None:
    """Without a traceback; what is written in a wrong way is a mistake of the command line."""
    refused = run("sql", *arguments)
    assert (code, "") == (refused.returncode, refused.stdout)
    assert message in flat(refused.stderr)
    assert "Traceback" not in refused.stderr


def test_inspect_shows_bars_actions_quarantine_and_versions(run: Run, lake: Lake, tmp_path: Path) -> None:
    """Of one symbol, however it is written."""
    (tmp_path / "actions.csv").write_text(SPLIT)
    assert 0 == run("import-actions", "actions.csv").returncode
    shown = run("inspect", "aapl", "--bars", "2", "--json")
    assert (0, "") == (shown.returncode, shown.stderr)
    (report,) = json.loads(shown.stdout)
    assert ["bars", "actions", "quarantined", "restated"] == list(report)
    assert [str(day) for day in DAYS[-2:]] == [row["session"] for row in report["bars"]]
    assert [4.0] == [row["ratio"] for row in report["actions"]]
    assert [[], 2] == [report["quarantined"], len(report["restated"])]

    other = run("inspect", "META")
    assert 0 == other.returncode
    assert "missing_price" in other.stdout
    assert "restated: none" in other.stdout


def test_inspect_goes_back_in_knowledge(run: Run, lake: Lake, tmp_path: Path) -> None:
    """What became known later is left out."""
    (tmp_path / "actions.csv").write_text(SPLIT)
    assert 0 == run("import-actions", "actions.csv").returncode
    (then,) = json.loads(run("inspect", "AAPL", "--known-at", EVENING.isoformat(), "--json").stdout)
    assert [[], []] == [then["actions"], then["restated"]]


def test_inspect_draws_the_prices(run: Run, lake: Lake, tmp_path: Path) -> None:
    """To the file that was named; the tables are printed as ever."""
    drawn = run("inspect", "META", "--plot", "meta.svg", "--json")
    assert 0 == drawn.returncode
    assert 4 == len(json.loads(drawn.stdout)[0]["bars"])
    assert "the plot is in meta.svg" in flat(drawn.stderr)
    words = (tmp_path / "meta.svg").read_text()
    assert {True} == {f">{text}</text>" in words for text in ("META, dollars", "quarantined")}
    drawn = run("inspect", "META", "--plot", "meta.svg")
    assert (0, True) == (drawn.returncode, "2023-09-" in drawn.stdout)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("NONE",), 1, "the lake knows no NONE"),
        (("AAPL", "--bars", "0"), 3, "--bars"),
        (("AAPL", "--known-at", "yesterday"), 3, "yesterday is no instant"),
        (("AAPL", "--known-at", "2023-09-15T21:00:00"), 3, "no time zone"),
        (("AAPL", "--plot", "aapl.gif"), 3, "ends in .svg"),
        (("AAPL", "--plot", "nowhere/aapl.svg"), 3, "cannot be written"),
    ],
)
def test_inspect_says_what_it_cannot_do(
    run: Run, lake: Lake, arguments: tuple[str, ...], code: int, message: str
) -> None:
    """Before it prints anything."""
    refused = run("inspect", *arguments)
    assert (code, "") == (refused.returncode, refused.stdout)
    assert message in flat(refused.stderr)


def test_actions_are_imported_once_and_corrected_by_a_new_file(run: Run, lake: Lake, tmp_path: Path) -> None:
    """The same file again is no news; another ratio is a version beside the first."""
    file = tmp_path / "actions.csv"
    file.write_text(SPLIT)
    rows = [json.loads(run("import-actions", str(file), "--json").stdout)[0] for _ in range(2)]
    assert [{"rows": 1, "new": 1, "known_already": 0}, {"rows": 1, "new": 0, "known_already": 1}] == rows

    file.write_text(SPLIT.replace(",4\n", ",5\n"))
    assert 1 == json.loads(run("import-actions", str(file), "--json").stdout)[0]["new"]
    assert [5.0] == read_actions(lake)["ratio"].to_list()
    assert 2 == lake.read(Dataset.CORPORATE_ACTIONS, start=date.min, end=date.max).height


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("symbol,ex_date,ratio\nAAPL,2023-09-13,4\n", "kind"),
        (SPLIT + "AAPL,2023-09-14,split,none\n", "does not parse"),
        (SPLIT + "AAPL,2023-09-14,split,-4\n", "AAPL 2023-09-14 split: a number that is not positive"),
        (SPLIT + "AAPL,2023-09-14,splitt,4\n", "unknown kind"),
    ],
    ids=["no file", "no column", "no number", "negative", "unknown kind"],
)
def test_a_wrong_file_of_actions_is_refused_whole(
    run: Run, lake: Lake, tmp_path: Path, text: str | None, message: str
) -> None:
    """Good rows of it are not imported either."""
    if text is not None:
        (tmp_path / "actions.csv").write_text(text)
    refused = run("import-actions", "actions.csv")
    assert (1, "") == (refused.returncode, refused.stdout)
    assert message in flat(refused.stderr)
    assert "Traceback" not in refused.stderr
    assert read_actions(lake).is_empty()


def test_the_lake_is_exported_and_exported_again(run: Run, lake: Lake, tmp_path: Path) -> None:
    """With the counts of what was written; of nothing new, nothing."""
    first, again = (json.loads(run("export-qlib", "qlib", "--json").stdout)[0] for _ in range(2))
    files = len([path for path in (tmp_path / "qlib").rglob("*") if path.is_file()])
    counts = {"sessions": 5, "symbols": 2}
    assert [
        counts | {"files_written": files, "files_unchanged": 0},
        counts | {"files_written": 0, "files_unchanged": files},
    ] == [
        first,
        again,
    ]
    assert "AAPL\t2023-09-11\t2023-09-15\n" in (tmp_path / "qlib" / "instruments" / "all.txt").read_text()


def test_an_export_that_cannot_be_is_refused(run: Run, tmp_path: Path) -> None:
    """No bars: 1. A folder of something else, a convention that nobody has, no folder: 3."""
    empty = run("export-qlib", "qlib")
    assert (1, True) == (empty.returncode, "no bars at all" in flat(empty.stderr))
    (tmp_path / "mine").mkdir()
    wrong = [(("mine",), "is no export"), (("qlib", "--convention", "none"), "--convention"), ((), "FOLDER")]
    for arguments, message in wrong:
        refused = run("export-qlib", *arguments)
        assert (3, True) == (refused.returncode, message in flat(refused.stderr))
    assert not (tmp_path / "qlib").exists()

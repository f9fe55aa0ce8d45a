"""SQL asked of the lake: reading is answered, everything else refused."""

from datetime import date
from pathlib import Path

import pytest

from trading_pipeline.adapters.market_data.bundled import BundledSample
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.sql import ask
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import SqlRefused

DAYS = xnys().between(date(2023, 9, 11), date(2023, 9, 15))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Return a lake of five sessions of two symbols."""
    lake = Lake(tmp_path_factory.mktemp("sql") / "lake")
    lake.write(Dataset.BARS, BundledSample().bars(DAYS, {"AAPL", "META"}), sessions=DAYS)
    return lake


def test_a_question_is_answered_up_to_its_limit(lake: Lake):
    """And says when there was more."""
    answer = ask(lake, "SELECT session, symbol FROM bars ORDER BY ALL", limit=3, seconds=60)

    assert ("session", "symbol") == answer.columns
    assert [(DAYS[0], "AAPL"), (DAYS[0], "META"), (DAYS[1], "AAPL")] == list(answer.rows)
    assert answer.truncated
    assert not ask(lake, "SELECT count(*) AS n FROM bars", limit=1, seconds=60).truncated


def test_no_column_is_lost_to_another_of_its_name(lake: Lake):
    """A join returns the symbol of both sides."""
    question = "SELECT a.symbol, b.symbol, 1 AS symbol_2, 2 AS symbol FROM bars a JOIN bars b USING (session) LIMIT 1"
    (row,) = ask(lake, question, limit=5, seconds=60).as_dicts()

    assert ["symbol", "symbol_2", "symbol_2_2", "symbol_3"] == list(row)
    assert [1, 2] == list(row.values())[2:]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SELECT 1; SELECT 2",
        "SELECT nothing FROM bars",
        "CREATE TABLE t AS SELECT 1",
        "DROP VIEW bars",
        "INSERT INTO bars SELECT * FROM bars",
        "COPY bars TO '{folder}/out.csv'",
        "EXPORT DATABASE '{folder}/out'",
        "ATTACH '{folder}/out.db'",
        "SET memory_limit = '100GB'",
        "PRAGMA threads = 64",
        "CALL pragma_version()",
        "LOAD httpfs",
        "SELECT * FROM read_csv('{folder}/secret.csv')",
        "SELECT * FROM '{folder}/secret.csv'",
        "SELECT * FROM glob('{folder}/*')",
        "WITH x AS (SELECT 1) SELECT * FROM read_text('{folder}/secret.csv'), x",
    ],
)
def test_nothing_but_reading_the_lake_is_done(lake: Lake, tmp_path: Path, text: str):
    """No statement writes, opens another file or changes a setting."""
    (tmp_path / "secret.csv").write_text("password\n1\n")
    before = {path: path.read_bytes() for path in lake.root.rglob("*") if path.is_file()}

    with pytest.raises(SqlRefused):
        ask(lake, text.replace("{folder}", str(tmp_path)), limit=10, seconds=60)

    assert ["secret.csv"] == [path.name for path in tmp_path.iterdir()]
    assert before == {path: path.read_bytes() for path in lake.root.rglob("*") if path.is_file()}


def test_a_question_without_end_is_stopped(lake: Lake):
    """The operator gets the prompt back."""
    endless = "SELECT count(*) FROM range(100000000000) a WHERE hash(a.range) = 1"
    with pytest.raises(SqlRefused, match=r"no answer within 0\.2 s"):
        ask(lake, endless, limit=1, seconds=0.2)

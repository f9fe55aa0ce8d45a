"""`trading-pipeline freshness`: ages by symbol, what decides, and exit codes."""

import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from support.alpaca.data_api import BARS_PATH, bar_routes
from support.alpaca.server import KEY_ID, SECRET, AlpacaServer, alpaca_server
from support.commands import run_command

from trading_pipeline.adapters.market_data.bundled import BundledSample
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.sessions import xnys

Run = Callable[..., subprocess.CompletedProcess[str]]
THURSDAY, FRIDAY, MONDAY = date(2023, 9, 14), date(2023, 9, 15), date(2023, 9, 18)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the command in a folder whose lake has AAPL and META up to a Friday, NVDA a session less, and NFLX never."""
    rows = BundledSample().bars([THURSDAY, FRIDAY], {"AAPL", "META", "NVDA"})
    late = (pl.col("symbol") == "NVDA") & (pl.col("session") == FRIDAY)
    Lake(tmp_path / "home" / "lake").write(Dataset.BARS, rows.filter(~late), sessions=[THURSDAY, FRIDAY])
    symbols = {"UNIVERSE": "AAPL,META,NVDA,NFLX"}

    def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = symbols | variables
        return run_command("freshness", *arguments, folder=tmp_path, home=tmp_path / "home", **environment)

    return command


def ages(done: subprocess.CompletedProcess[str]) -> dict[str, tuple[int | None, str]]:
    """Return age and state by symbol."""
    return {row["symbol"]: (row["age_minutes"], row["state"]) for row in json.loads(done.stdout)}


def test_ages_count_the_minutes_of_trading(run: Run) -> None:
    """On Monday half an hour after the open: the weekend counts nothing, and too few symbols are fresh."""
    done = run("--at", "2023-09-18T10:00:00-04:00", "--json")
    assert {
        "AAPL": (30, "fresh"),
        "META": (30, "fresh"),
        "NFLX": (None, "missing"),
        "NVDA": (420, "stale"),
    } == ages(done)
    assert 1 == done.returncode
    assert "2 of 4 symbols are fresh (50.00 %, 90.0 % wanted" in done.stderr


@pytest.mark.parametrize(("mode", "code"), [("latest", 0), ("oldest", 1), ("median", 1), ("per_symbol", 1)])
def test_the_mode_decides(run: Run, mode: str, code: int) -> None:
    """The youngest symbol is fresh; the oldest is missing, and so is half of the middle."""
    assert code == run("--at", "2023-09-18T10:00:00-04:00", "--mode", mode).returncode


def test_the_share_that_is_enough_is_configured(run: Run) -> None:
    """Half of the symbols are what is asked for."""
    done = run("--at", "2023-09-18T10:00:00-04:00", MIN_FRESH_PCT="50")
    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--at", "2100-01-04T10:00:00-05:00"), "has not come yet"),
        (("--at", "2023-09-18T10:00:00"), "--at 2023-09-18T10:00:00 has no time zone"),
        (("--at", "noon"), "--at noon is no instant"),
        (("--mode", "newest"), "--mode"),
    ],
)
def test_a_question_without_sense_is_a_mistake(run: Run, arguments: tuple[str, ...], message: str) -> None:
    """Nothing is judged."""
    done = run(*arguments)
    assert (3, "") == (done.returncode, done.stdout)
    assert message in " ".join(done.stderr.split())


@pytest.fixture
def server() -> Iterator[AlpacaServer]:
    """Alpaca with minutes of AAPL and NVDA from Monday's open to 10:00, and of NVDA before the open as well."""
    opens = xnys().open_at(MONDAY)
    rows = [("AAPL", opens + timedelta(minutes=at)) for at in range(40)]
    rows += [("NVDA", opens + timedelta(minutes=at)) for at in (-60, 3)]
    prices = dict.fromkeys(("open", "high", "low", "close", "vwap"), 100.0)
    frame = pl.DataFrame([{"symbol": name, "timestamp": at, "volume": 10, **prices} for name, at in rows])
    minutes = frame.with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")))
    with alpaca_server(bar_routes({"1Min": minutes}, now=lambda: datetime.now(UTC), short_pages=16)) as running:
        yield running


def test_minutes_of_the_session_under_way_count(
    run: Run, server: AlpacaServer, database_url: str, redis_url: str
) -> None:
    """The newest complete one of each symbol; where a symbol has none, its last daily bar."""
    alpaca = {
        "MARKET_DATA": "alpaca",
        "ALPACA_API_KEY_ID": KEY_ID,
        "ALPACA_API_SECRET_KEY": SECRET,
        "ALPACA_DATA_URL": server.url,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
    }
    done = run("--at", "2023-09-18T10:00:30-04:00", "--json", MIN_FRESH_PCT="75", **alpaca)
    assert {
        "AAPL": (0, "fresh"),
        "META": (30, "fresh"),
        "NFLX": (None, "missing"),
        "NVDA": (26, "fresh"),
    } == ages(done), done.stderr
    assert 0 == done.returncode
    sources = {row["symbol"]: row["source"] for row in json.loads(done.stdout)}
    assert {"alpaca/sip/raw, minutes"} == {sources["AAPL"], sources["NVDA"]}
    assert {"1Min"} == {query["timeframe"] for _, path, query in server.journal if path == BARS_PATH}

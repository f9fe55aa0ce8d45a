"""The asset `raw_bars` on Alpaca's market data, from a local server through alpaca-py."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from support.alpaca.data_api import bar_routes
from support.alpaca.server import KEY_ID, SECRET, AlpacaServer, Fault, alpaca_server
from support.pipeline import Pipeline, errors_of, pipeline

from trading_pipeline.adapters.store.lake import Dataset

DAYS = [date(2024, 7, 2), date(2024, 7, 3), date(2024, 7, 5)]


@pytest.fixture
def server() -> Iterator[AlpacaServer]:
    """Three sessions of two symbols around a half day and a holiday."""
    rows = [
        {
            "symbol": symbol,
            "timestamp": datetime(day.year, day.month, day.day, 4, tzinfo=UTC),
            "open": 100.0 + at,
            "high": 102.0 + at,
            "low": 99.0 + at,
            "close": 101.0 + at,
            "volume": 1_000_000,
            "vwap": 100.5 + at,
        }
        for symbol in ("AAPL", "MSFT")
        for at, day in enumerate(DAYS)
    ]
    daily = pl.DataFrame(rows).with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")))
    with alpaca_server(bar_routes({"1Day": daily}, now=lambda: datetime.now(UTC), short_pages=4)) as running:
        yield running


@pytest.fixture
def traded(server: AlpacaServer, tmp_path: Path, database_url: str, redis_url: str) -> Iterator[Pipeline]:
    """A pipeline whose bars come from the local server."""
    with (
        pytest.MonkeyPatch.context() as patch,
        pipeline(
            tmp_path,
            database_url,
            redis_url,
            market_data="alpaca",
            alpaca_api_key_id=KEY_ID,
            alpaca_api_secret_key=SECRET,
            alpaca_data_url=server.url,
            universe=("AAPL", "MSFT", "NOSUCH"),
        ) as opened,
    ):
        patch.setenv("ALPACA_API_KEY_ID", KEY_ID)
        patch.setenv("ALPACA_API_SECRET_KEY", SECRET)
        yield opened


def materialise(opened: Pipeline) -> str:
    """Materialise the three sessions of raw bars in one run; return what its failures said."""
    job = opened.defs.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=opened.instance,
        asset_selection=[next(key for key in job.asset_layer.executable_asset_keys if key.path == ["raw_bars"])],
        tags={
            "dagster/asset_partition_range_start": DAYS[0].isoformat(),
            "dagster/asset_partition_range_end": DAYS[-1].isoformat(),
        },
        raise_on_error=False,
    )
    return errors_of(result)


def test_raw_bars_come_from_alpaca_and_name_what_it_does_not_know(traded: Pipeline, server: AlpacaServer) -> None:
    """A range in one run, a symbol without bars in the metadata, and no page kept once the rows are stored."""
    assert "" == materialise(traded)
    stored = traded.lake.read(Dataset.RAW_BARS, start=DAYS[0], end=DAYS[-1])
    assert 6 == stored.height
    assert {"alpaca/sip/raw"} == set(stored["source"])
    assert "NOSUCH" == traded.metadata("raw_bars", DAYS[-1])["absent_symbols"]
    assert not list(traded.settings.alpaca_staging.rglob("*.parquet"))
    assert 2 == len(server.journal)


def test_a_run_that_alpaca_fails_stores_nothing_and_the_next_goes_on(traded: Pipeline, server: AlpacaServer) -> None:
    """The first page survives the failed run; the second run asks only for the rest."""
    server.plan(None, Fault(status=401, body='{"message": "unauthorized."}'))
    assert "ALPACA_API_KEY_ID" in materialise(traded)
    assert [] == traded.lake.sessions(Dataset.RAW_BARS)
    server.requests.clear()
    assert "" == materialise(traded)
    assert 1 == len(server.journal)
    assert 6 == traded.lake.read(Dataset.RAW_BARS, start=DAYS[0], end=DAYS[-1]).height

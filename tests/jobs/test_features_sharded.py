"""Features in shards of symbols: by processes of this machine and by two Celery workers, the same as by one process."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from importlib.resources import files
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from support.pipeline import LAST, Pipeline, errors_of, pipeline
from support.servers import fresh_database
from support.workers import celery_variables, celery_workers

from trading_pipeline.adapters.store.lake import Dataset
from trading_pipeline.core.features import alpha158, compile_features
from trading_pipeline.core.features.sets import feature_set_of
from trading_pipeline.core.sessions import xnys
from trading_pipeline.embedded import ServerUrls
from trading_pipeline.errors import ConfigError, DataQualityError
from trading_pipeline.services.features import feature_store
from trading_pipeline.services.shards import ShardFolder, split_symbols

FIRST = xnys().shift(LAST, -30)
RANGE = {"start": xnys().shift(LAST, -9).isoformat(), "end": LAST.isoformat(), "shards": 6}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory, servers: ServerUrls) -> Iterator[Pipeline]:
    """A pipeline with bars, and with features of the range as one process makes them."""
    home = tmp_path_factory.mktemp("sharded")
    sample = pl.read_parquet(str(files("trading_pipeline.adapters.market_data").joinpath("sample/bars.parquet")))
    bars = sample.filter(pl.col("session") >= FIRST)
    sessions = xnys().between(date.fromisoformat(str(RANGE["start"])), LAST)
    with fresh_database(servers) as url, pipeline(home, url, servers.redis_url) as opened:
        opened.lake.write(Dataset.BARS, bars, sessions=bars["session"].unique().to_list())
        fresh = bars.select("session", "symbol").with_columns(pl.lit("fresh").alias("state"))
        store = feature_store(opened.lake, compile_features(alpha158()))
        assert 60 == store.update(sessions, fresh.filter(pl.col("session") >= sessions[0])).computed
        yield opened


def forget(opened: Pipeline) -> None:
    """Leave nothing of the range to reuse."""
    start = date.fromisoformat(str(RANGE["start"]))
    sessions = xnys().between(start, LAST)
    for dataset in (Dataset.FEATURE_INPUTS, Dataset.FEATURES):
        empty = opened.lake.read(dataset, start=start, end=LAST).clear()
        opened.lake.write(dataset, empty, sessions=sessions)


def stored_files(opened: Pipeline) -> dict[Dataset, list[str]]:
    """Return the files of the features; their names are digests of their bytes."""
    return {
        dataset: [part.name for part in opened.lake.catalog(dataset).parts]
        for dataset in (Dataset.FEATURES, Dataset.FEATURE_INPUTS)
    }


def execute(job: str, opened: Pipeline, variables: dict[str, str], folder: Path, *, shards: int = 6) -> str:
    """Run a job as an operator does, in a process of its own; return the id of its run."""
    config = folder / "config.json"
    config.write_text(json.dumps({"ops": {"plan_shards": {"config": RANGE | {"shards": shards}}}}))
    command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "trading_pipeline.definitions", "-j", job]
    before = set(opened.instance.get_run_ids())
    done = subprocess.run(
        [*command, "-c", config], env=opened.environment | variables, capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stderr[-3000:]
    (run_id,) = set(opened.instance.get_run_ids()) - before
    return run_id


def events_of(opened: Pipeline, run_id: str) -> list[dg.DagsterEvent]:
    """Return the events of a run."""
    records = opened.instance.get_records_for_run(run_id, limit=5_000).records
    events = (record.event_log_entry.dagster_event for record in records)
    return [event for event in events if event is not None]


def test_two_celery_workers_store_what_one_process_stores(loaded: Pipeline, tmp_path: Path) -> None:
    """Real workers on a real Redis share the shards; every session is reported as materialised."""
    import os

    before = stored_files(loaded)
    forget(loaded)
    variables = {"PATH": os.environ["PATH"]} | celery_variables(loaded.environment["REDIS_URL"])
    with celery_workers(["one", "two"], loaded.environment | variables, tmp_path):
        run_id = execute("features_celery", loaded, variables, tmp_path)
    assert before == stored_files(loaded)
    messages = events_of(loaded, run_id)
    workers = {
        event.engine_event_data.metadata["Celery worker"].value
        for event in messages
        if event.is_engine_event and "Celery worker" in event.engine_event_data.metadata
    }
    assert {"one@here", "two@here"} == workers
    reported = {event.partition for event in messages if event.is_step_materialization}
    assert {day.isoformat() for day in xnys().between(date.fromisoformat(str(RANGE["start"])), LAST)} == reported
    assert not list((loaded.settings.shard_root).glob("*"))


def test_processes_of_one_machine_store_what_one_process_stores(loaded: Pipeline, tmp_path: Path) -> None:
    """Each shard is a process of its own; what is there already is not computed again."""
    before = stored_files(loaded)
    forget(loaded)
    run_id = execute("features_sharded", loaded, {}, tmp_path, shards=2)
    assert before == stored_files(loaded)
    processes = {event.pid for event in events_of(loaded, run_id) if event.is_step_success}
    assert 4 == len(processes)
    again = loaded.run("features_sharded", plan_shards=RANGE)
    assert "" == errors_of(again)
    computed = {
        event.step_key: event.step_output_data.metadata["rows_computed"].value
        for event in again.filter_events(lambda one: one.is_successful_output)
        if event.step_output_data.metadata
    }
    assert {0} == set(computed.values())


def test_a_folder_that_workers_do_not_share_is_named(tmp_path: Path) -> None:
    """Rather than storing half of the symbols."""
    folder = ShardFolder(tmp_path)
    folder.put("values", 0, 0, pl.DataFrame({"x": [1]}))
    with pytest.raises(DataQualityError, match=r"values-0000-0001\.parquet is absent: every worker must see"):
        folder.get("values", 0, 2)


def test_a_set_that_compares_symbols_is_not_sharded(loaded: Pipeline) -> None:
    """Its features need all symbols at once."""
    ranked = feature_set_of("ranked", [("RANK", "CSRank($close)")])
    store = feature_store(loaded.lake, compile_features(ranked))
    with pytest.raises(ConfigError, match="compares symbols"):
        split_symbols(store, ["A", "B"], 2)


def test_every_symbol_is_in_one_shard(loaded: Pipeline) -> None:
    """As many in each as can be, none empty."""
    store = feature_store(loaded.lake, compile_features(feature_set_of("one", [("A", "$close")])))
    assert [["A", "D"], ["B", "E"], ["C"]] == split_symbols(store, ["E", "D", "C", "B", "A", "A"], 3)
    assert [["A"], ["B"]] == split_symbols(store, ["A", "B"], 5)


def test_an_empty_range_is_refused(loaded: Pipeline) -> None:
    """A holiday alone has nothing to compute."""
    result = loaded.run("features_sharded", plan_shards={"start": "2023-07-04", "end": "2023-07-04"})
    assert not result.success
    assert "holds 0 sessions" in errors_of(result)
    assert isinstance(result, dg.ExecuteInProcessResult)

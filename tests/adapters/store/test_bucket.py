"""The lake in a bucket: the same answers as a folder gives, with conditional puts where a folder has locks."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import boto3
import obstore
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from support.s3 import S3Server, running_s3

from trading_pipeline.adapters.market_data.bundled import BundledSample
from trading_pipeline.adapters.store import bucket as bucket_module
from trading_pipeline.adapters.store.adjusted import read_adjusted_bars
from trading_pipeline.adapters.store.bucket import Bucket
from trading_pipeline.adapters.store.duckdb_views import connect_views
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.raw_bars import record_raw_bars
from trading_pipeline.adapters.store.sql import ask
from trading_pipeline.core.quality import GateConfig
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import ConfigError, DataQualityError, ServerUnavailable, SqlRefused
from trading_pipeline.services.gate import judge_sessions
from trading_pipeline.settings import Settings

DAYS = [date(2024, 7, 1) + timedelta(days=offset) for offset in range(40)]
SCHEMA = {"session": pl.Date, "symbol": pl.String, "value": pl.Float64}
MANIFEST = "bars/manifest.json"


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """One server for all tests of the file."""
    with running_s3() as running:
        yield running


@pytest.fixture
def name(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket, and the variables by which it is found."""
    for variable, value in server.environment.items():
        monkeypatch.setenv(variable, value)
    name = f"lakes-{uuid4().hex}"
    boto3.client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture
def lake(name: str) -> Lake:
    """Return an empty lake under a prefix."""
    return Lake(f"s3://{name}/equities/daily bars")


@pytest.fixture
def objects(name: str) -> Bucket:
    """Return the objects under the same prefix."""
    return Bucket.at(name, "equities/daily bars")


def frame(*rows: tuple[date, str, float | None]) -> pl.DataFrame:
    """Return rows of a small dataset."""
    return pl.DataFrame(list(rows), schema=SCHEMA, orient="row")


def keys(objects: Bucket) -> set[str]:
    """Return the names of everything under the prefix."""
    return {str(entry["path"]) for entry in obstore.list(objects.store).collect()}


def named(lake: Lake) -> set[str]:
    """Return the parts that the manifest of the bars names."""
    return {f"bars/{part.name}" for part in lake.catalog(Dataset.BARS).parts}


def test_rows_come_back_as_they_were_written(lake: Lake):
    """Nulls and NaN included, restated sessions in their newest version, empty sessions as written."""
    rows = frame((DAYS[1], "B", None), (DAYS[0], "B", float("nan")), (DAYS[0], "A", 1.5))
    lake.write(Dataset.BARS, rows, sessions=DAYS[:3])
    newer = frame((DAYS[1], "B", 2.0))

    assert [DAYS[1]] == lake.write(Dataset.BARS, newer, sessions=[DAYS[1]])
    assert_frame_equal(
        pl.concat([rows.filter(pl.col("session") == DAYS[0]).sort("symbol"), newer]),
        lake.read(Dataset.BARS, start=DAYS[0], end=DAYS[4]),
    )
    assert lake.has(Dataset.BARS, DAYS[2])
    assert [] == lake.write(Dataset.BARS, newer, sessions=[DAYS[1]])


def test_many_appends_become_few_objects(lake: Lake, objects: Bucket):
    """Parts are merged on the way, and what they replaced is removed one commit later."""
    for day in DAYS:
        lake.write(Dataset.BARS, frame((day, "A", 1.0)), sessions=[day])

    assert DAYS == lake.read(Dataset.BARS, start=DAYS[0], end=DAYS[-1])["session"].to_list()
    assert len(named(lake)) < 25
    lake.write(Dataset.BARS, frame((DAYS[0], "A", 2.0)), sessions=DAYS[:1])
    retired = {f"bars/{part}" for part in lake.catalog(Dataset.BARS).retired}
    assert keys(objects) == named(lake) | retired | {MANIFEST}


def test_of_two_writers_on_one_version_one_wins(objects: Bucket):
    """At the first version and at every later one; the loser is told, and has changed nothing."""
    version: str | None = None
    with ThreadPoolExecutor(4) as pool:
        for turn in range(5):
            contents = [f"turn {turn} of writer {writer}".encode() for writer in range(4)]
            won = list(pool.map(lambda content, seen: objects.swap(MANIFEST, content, seen), contents, [version] * 4))
            found = objects.read(MANIFEST)
            assert found is not None
            assert 1 == won.count(True)
            assert contents[won.index(True)] == found[0]
            version = found[1]


def test_writers_at_the_same_time_all_get_their_rows_in(lake: Lake):
    """A lost race is run again on what the winner left: nobody's rows are undone."""

    def add(number: int) -> list[date]:
        mine = frame((DAYS[0], f"S{number:02}", float(number)))
        return lake.update(
            Dataset.BARS,
            lambda present: mine if present is None else pl.concat([present, mine]),
            sessions=DAYS[:1],
        )

    with ThreadPoolExecutor(4) as pool:
        changed = list(pool.map(add, range(8)))

    assert [DAYS[:1]] * 8 == changed
    assert [f"S{number:02}" for number in range(8)] == lake.read_session(Dataset.BARS, DAYS[0])["symbol"].to_list()


@pytest.mark.parametrize("kind", ["lost_answer", "lost_request"])
@pytest.mark.parametrize("ending", ["manifest.json", ".parquet"])
@pytest.mark.parametrize("written", [False, True])
def test_a_connection_lost_at_a_put_leaves_one_commit(
    lake: Lake, server: S3Server, kind: str, ending: str, written: bool
):
    """Whether the put was made or not, and of the first manifest as of a later one; the caller hears what changed."""
    if written:
        lake.write(Dataset.BARS, frame((DAYS[0], "A", 1.0)), sessions=DAYS[:1])
    server.arm(kind, ending)

    assert DAYS[:2] == lake.write(Dataset.BARS, frame((DAYS[0], "A", 2.0), (DAYS[1], "A", 3.0)), sessions=DAYS[:2])

    assert [2.0, 3.0] == lake.read(Dataset.BARS, start=DAYS[0], end=DAYS[1])["value"].to_list()
    assert 1 == len(named(lake))


def test_a_commit_that_was_made_unheard_and_built_upon_counts_as_made(
    lake: Lake, objects: Bucket, server: S3Server, monkeypatch: pytest.MonkeyPatch
):
    """The writer is told that another one came first, finds its own rows, and still says which sessions it changed."""
    swap = Bucket.swap

    def unheard(self: Bucket, key: str, content: bytes, version: str | None) -> bool:
        monkeypatch.setattr(Bucket, "swap", swap)
        swap(self, key, content, version)
        Lake(lake.root).write(Dataset.BARS, frame((DAYS[1], "B", 5.0)), sessions=[DAYS[1]])
        return swap(self, key, content, version)

    monkeypatch.setattr(Bucket, "swap", unheard)

    assert DAYS[:1] == lake.write(Dataset.BARS, frame((DAYS[0], "A", 1.0)), sessions=DAYS[:1])
    assert [1.0, 5.0] == lake.read(Dataset.BARS, start=DAYS[0], end=DAYS[1])["value"].to_list()


def test_an_upload_that_was_broken_off_is_seen_by_nobody(lake: Lake, name: str, objects: Bucket):
    """Not as an object, not by a full scan, and not by the next writer."""
    lake.write(Dataset.BARS, frame((DAYS[0], "A", 1.0)), sessions=DAYS[:1])
    (part,) = named(lake)
    before = keys(objects)
    client = boto3.client("s3")
    for key in (f"{objects.url.partition(name)[2][1:]}/{one}" for one in (part, MANIFEST)):
        upload = client.create_multipart_upload(Bucket=name, Key=key)["UploadId"]
        client.upload_part(Bucket=name, Key=key, UploadId=upload, PartNumber=1, Body=b"half")

    assert before == keys(objects)
    assert [1.0] == lake.read(Dataset.BARS, start=DAYS[0], end=DAYS[1])["value"].to_list()
    assert DAYS[1:2] == lake.write(Dataset.BARS, frame((DAYS[1], "A", 2.0)), sessions=DAYS[1:2])


def test_parts_of_a_writer_that_died_are_removed_when_they_are_old(
    lake: Lake, objects: Bucket, monkeypatch: pytest.MonkeyPatch
):
    """Young ones stay, since their writer may be about to name them."""
    objects.put("bars/2024-07-01_dead.parquet", b"never named")
    lake.write(Dataset.BARS, frame((DAYS[0], "A", 1.0)), sessions=DAYS[:1])
    assert "bars/2024-07-01_dead.parquet" in keys(objects)

    monkeypatch.setattr(bucket_module, "SLOWEST_WRITER", -timedelta(days=1))
    lake.write(Dataset.BARS, frame((DAYS[1], "A", 1.0)), sessions=DAYS[1:2])

    assert named(lake) | {MANIFEST} == keys(objects)


def test_the_same_content_is_never_put_under_a_name_that_is_being_removed(lake: Lake, objects: Bucket):
    """A part of a bar that is restated and taken back is a new object."""
    names = set()
    for value in (1.0, 2.0, 1.0):
        lake.write(Dataset.BARS, frame((DAYS[0], "A", value)), sessions=DAYS[:1])
        names |= named(lake)

    assert 3 == len(names)


def test_a_server_that_ignores_conditions_is_refused(lake: Lake, server: S3Server):
    """On the first commit of a dataset: two writers would undo each other's work."""
    server.arm("unconditional", "manifest.json", count=2)

    with pytest.raises(ConfigError, match="ignores conditional puts"):
        lake.write(Dataset.BARS, frame((DAYS[0], "A", 1.0)), sessions=DAYS[:1])


def test_what_is_wrong_with_the_bucket_is_said(name: str, monkeypatch: pytest.MonkeyPatch):
    """A bucket that is not there is no empty lake; a server that is not there is worth another try."""
    with pytest.raises(ConfigError, match="there is no such bucket"):
        Lake("s3://nobodys-bucket/lake").sessions(Dataset.BARS)
    monkeypatch.setattr(bucket_module, "RETRIES", {"max_retries": 0})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(ServerUnavailable, match="s3://nowhere/bars/manifest"):
        Lake("s3://nowhere").sessions(Dataset.BARS)


@pytest.mark.parametrize("root", ["gs://bucket/lake", "s3:///lake", "s3://bucket/lake?region=x"])
def test_other_urls_are_refused(root: str):
    """Not taken for names of folders."""
    with pytest.raises(ConfigError, match="give a folder, or s3://bucket/prefix"):
        Lake(root)


def test_a_manifest_that_is_damaged_is_no_empty_dataset(lake: Lake, objects: Bucket):
    """The error names the object."""
    objects.put(MANIFEST, b"{")
    with pytest.raises(DataQualityError, match=r"manifest of bars is damaged.*bars/manifest.json"):
        lake.sessions(Dataset.BARS)


def test_sql_reads_the_bucket_and_nothing_else_of_it(lake: Lake, objects: Bucket):
    """Restated sessions in their newest version; objects that no manifest names are out of reach."""
    lake.write(Dataset.FEATURES, frame((DAYS[0], "A", 1.0), (DAYS[1], "A", 2.0)), sessions=DAYS[:2])
    lake.write(Dataset.FEATURES, frame((DAYS[1], "A", 3.0)), sessions=DAYS[1:2])
    objects.put("secret.parquet", b"PAR1")

    with closing(connect_views(lake)) as views:
        assert [(1.0,), (3.0,)] == views.execute("SELECT value FROM features ORDER BY session").fetchall()
    assert ((4.0,),) == ask(lake, "SELECT sum(value) FROM features", limit=5, seconds=60).rows
    with pytest.raises(SqlRefused, match="Cannot access file"):
        ask(lake, f"SELECT * FROM '{objects.location('secret.parquet')}'", limit=5, seconds=60)


def test_the_gate_files_the_same_in_a_bucket_as_in_a_folder(lake: Lake, tmp_path: Path):
    """Raw bars, verdicts and adjusted bars do not depend on where the lake is."""
    days = xnys().between(date(2023, 9, 11), date(2023, 9, 21))
    raw = BundledSample().bars(days, {"AAPL", "META"})
    adjusted = []
    for one in (lake, Lake(tmp_path / "lake")):
        record_raw_bars(one, raw, sessions=days, now=datetime(2024, 1, 2, tzinfo=UTC))
        judge_sessions(one, days, GateConfig())
        adjusted.append(read_adjusted_bars(one, start=days[0], end=days[-1]))

    assert_frame_equal(*adjusted)
    for dataset in (Dataset.RAW_BARS, Dataset.QUARANTINED_BARS, Dataset.VERDICTS, Dataset.SESSION_VERDICTS):
        assert_frame_equal(*(one.read(dataset, start=days[0], end=days[-1]) for one in (lake, Lake(tmp_path / "lake"))))


def test_the_setting_names_the_bucket(monkeypatch: pytest.MonkeyPatch):
    """LAKE_URL; without it the lake is a folder of PIPELINE_HOME."""
    monkeypatch.setenv("LAKE_URL", "s3://bucket/prefix")
    assert "s3://bucket/prefix" == Settings(_env_file=None).lake_root
    monkeypatch.delenv("LAKE_URL")
    assert Path(".pipeline/lake").absolute() == Settings(_env_file=None).lake_root

"""SQL over the lake: a DuckDB connection with a view per dataset; it is for reading and never writes to the lake."""

import glob
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Final

import duckdb

from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.errors import ConfigError, DataQualityError

_NEEDS: Final = re.compile(r"^-- Needs: (?P<datasets>.+)$", re.MULTILINE)
_OFFLINE: Final[dict[str, str | bool | int | float | list[str]]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}


def connect_views(lake: Lake, *, memory: str | None = None) -> duckdb.DuckDBPyConnection:
    """Open an in-memory database with a view of every dataset that was written, and those of `sql/views` made of them.

    All views show the lake as of this moment; connect again to see later commits. A query on a connection that is
    older than two commits fails with a duckdb.Error where files have gone. Times are shown in UTC. The connection reads
    the files of these views and nothing else, can write nowhere, and its settings cannot be changed. The caller closes
    it.

    Raises:
        DataQualityError: files of a dataset cannot be read, or lack a column that a view needs.
    """
    connection = duckdb.connect(":memory:", config=_OFFLINE)
    try:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET temp_directory = ''")  # what does not fit into memory is an error, not a file
        if memory is not None:
            connection.execute(f"SET memory_limit = {_quoted(memory)}")
        if (files_of_buckets := lake.filesystem()) is not None:
            connection.register_filesystem(files_of_buckets)
        readable: list[str] = []
        existing: set[str] = set()
        for dataset in Dataset:
            if sources := _sources(lake, dataset):
                readable += [path for path, _ in sources]
                existing.add(dataset.value)
                _create(connection, dataset, f"CREATE VIEW {dataset} AS {_union(sources)}")
        for name, statement in _derived(existing):
            _create(connection, name, statement)
        _lock(connection, readable)
    except BaseException:
        connection.close()
        raise
    return connection


def read_query(name: str) -> str:
    """Return the text of a query of `sql/queries`, such as `coverage_by_symbol`, to be run on the views.

    Raises:
        ConfigError: there is no such query; the message lists those there are.
    """
    queries = {Path(entry.name).stem: entry for entry in files("sql").joinpath("queries").iterdir()}
    if name not in queries:
        raise ConfigError(f"no query {name!r} in sql/queries: choose one of {', '.join(sorted(queries))}", query=name)
    return queries[name].read_text(encoding="utf-8")


def _create(connection: duckdb.DuckDBPyConnection, name: str, statement: str) -> None:
    try:
        connection.execute(statement)
    except duckdb.Error as error:
        raise DataQualityError(f"view {name} does not fit the files of the lake: {error}", view=name) from error


def _sources(lake: Lake, dataset: Dataset) -> list[tuple[str, list[str]]]:
    """Return the files of a dataset, each with its sessions that a newer file replaces."""
    catalog = lake.catalog(dataset)
    return [
        (
            lake.location(dataset, part),
            [day.isoformat() for day, _ in part.sessions if catalog.live[day].part is not part],
        )
        for part in catalog.parts
    ]


def _union(sources: list[tuple[str, list[str]]]) -> str:
    intact = [_literal(path) for path, dead in sources if not dead]
    selects = []
    if intact:
        selects.append(f"SELECT * FROM read_parquet([{', '.join(intact)}], hive_partitioning = false)")  # noqa: S608
    for path, dead in sources:
        if dead:
            replaced = ", ".join(f"DATE '{day}'" for day in dead)
            file = f"read_parquet([{_literal(path)}], hive_partitioning = false)"
            selects.append(f"SELECT * FROM {file} WHERE session NOT IN ({replaced})")  # noqa: S608 - all quoted
    return " UNION ALL ".join(selects)


def _derived(existing: set[str]) -> Iterator[tuple[str, str]]:
    entries = sorted(files("sql").joinpath("views").iterdir(), key=lambda entry: entry.name)
    for entry in entries:
        if entry.name.endswith(".sql"):
            text = entry.read_text(encoding="utf-8")
            needed = _NEEDS.search(text)
            if needed and set(needed["datasets"].split(", ")) <= existing:
                yield Path(entry.name).stem, text


def _lock(connection: duckdb.DuckDBPyConnection, readable: list[str]) -> None:
    # Whatever the SQL says, it reads these files and no other, loads nothing and cannot undo that.
    # DuckDB compares the pattern as well as the path it stands for.
    names = ", ".join([*map(_quoted, readable), *map(_literal, readable)])
    connection.execute(f"SET allowed_paths = [{names}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _literal(path: str) -> str:
    # A folder name may hold anything: glob characters are meant literally.
    return _quoted(glob.escape(path))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

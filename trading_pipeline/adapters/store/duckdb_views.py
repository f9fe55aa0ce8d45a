"""SQL over the lake: a DuckDB connection with a view per dataset; it is for reading and never writes to the lake."""

import glob
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import duckdb

from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.errors import ConfigError, DataQualityError

_ROOT = "$lake_root"
_NEEDS = re.compile(r"^-- Needs: (?P<datasets>.+)$", re.MULTILINE)


def connect_views(root: Path) -> duckdb.DuckDBPyConnection:
    """Open an in-memory database with the views of every dataset that exists under the root of a lake.

    The views are defined in `sql/views`, a file each. They read the files anew with every query; only a dataset that is
    written for the first time needs a new connection. A query that meets a file in the moment of its replacement fails
    with a duckdb.Error and can be repeated. Times are shown in UTC. The caller closes the connection.

    Raises:
        DataQualityError: files of a dataset cannot be read, or lack a column that a view needs.
    """
    connection = duckdb.connect(
        ":memory:", config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    )
    try:
        connection.execute("SET TimeZone = 'UTC'")
        for name, statement in _statements(Lake(root)):
            _create(connection, name, statement.replace(_ROOT, _literal(root)))
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


def _statements(lake: Lake) -> Iterator[tuple[str, str]]:
    existing = {dataset.value for dataset in Dataset if lake.sessions(dataset)}
    entries = sorted(files("sql").joinpath("views").iterdir(), key=lambda entry: entry.name)
    texts = {
        Path(entry.name).stem: entry.read_text(encoding="utf-8") for entry in entries if entry.name.endswith(".sql")
    }
    # The views of the datasets come first: the others are made of them.
    for name in sorted(texts, key=lambda name: (name not in existing, name)):
        needed = _NEEDS.search(texts[name])
        if needed and set(needed["datasets"].split(", ")) <= existing:
            yield name, texts[name]


def _literal(root: Path) -> str:
    # The root may hold anything a folder name can: glob characters are meant literally, quotes end no string.
    path = glob.escape(str(root.absolute())).replace("'", "''")
    return f"'{path}'"

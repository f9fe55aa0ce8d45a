"""One SQL question to the lake, answered within bounds; nothing can be written and nothing else be read."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import duckdb

from trading_pipeline.adapters.store.duckdb_views import connect_views
from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.errors import SqlRefused

MEMORY: Final = "2GB"
_READING: Final = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Rows of a query; `truncated` says that there were more than the limit."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    truncated: bool

    def as_dicts(self) -> list[dict[str, Any]]:
        """Return a dict a row; columns that share a name are told apart by a number."""
        names: dict[str, None] = {}
        for column in self.columns:
            numbered = (f"{column}_{number}" for number in count(2))
            names[column if column not in names else next(one for one in numbered if one not in names)] = None
        return [dict(zip(names, row, strict=True)) for row in self.rows]


def ask(lake: Lake, text: str, *, limit: int, seconds: float) -> Answer:
    """Answer one SELECT (or EXPLAIN) over the views of the lake.

    Args:
        lake: read as of the moment of the call.
        text: one statement in DuckDB's SQL.
        limit: rows returned at most.
        seconds: after so long the query is stopped.

    Raises:
        SqlRefused: not exactly one reading statement, an error in it, or no answer in time. The reason is DuckDB's.
        DataQualityError: the lake cannot be read.
    """
    with closing(connect_views(lake, memory=MEMORY)) as connection:
        try:
            statements = connection.extract_statements(text)
            if len(statements) != 1 or statements[0].type not in _READING:
                kinds = ", ".join(statement.type.name for statement in statements) or "nothing"
                raise SqlRefused(f"one SELECT is answered, and nothing that writes or sets; this is {kinds}", sql=text)
            with _stopped_after(connection, seconds):
                result = connection.execute(statements[0])
                columns = tuple(column[0] for column in result.description or ())
                rows = result.fetchmany(limit + 1)
        except duckdb.InterruptException as error:
            raise SqlRefused(f"no answer within {seconds:g} s: ask for less, or raise --seconds", sql=text) from error
        except duckdb.Error as error:
            raise SqlRefused(str(error), sql=text) from error
    return Answer(columns=columns, rows=tuple(rows[:limit]), truncated=len(rows) > limit)


@contextmanager
def _stopped_after(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
    timer = threading.Timer(seconds, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()

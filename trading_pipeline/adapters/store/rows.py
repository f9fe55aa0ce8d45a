"""Many rows as one statement: they travel as one JSON text, which PostgreSQL makes rows of a table's type of again."""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, LiteralString

from psycopg import Connection
from psycopg.rows import DictRow


def write_rows(
    connection: Connection[DictRow], statement: LiteralString, rows: Sequence[Mapping[str, Any]]
) -> list[DictRow]:
    """Run a statement once for all rows, in the caller's transaction, and return what it returns.

    Its one parameter is the rows: `from json_populate_recordset(null::ledger.orders, %s)`. Values are texts, whole
    numbers, booleans, None, what JSON has for a column of JSON, dates, aware instants and Decimals, the last exact.
    Without rows nothing is run.

    Raises:
        TypeError: a value of another type.
        ValueError: NaN or infinity.
    """
    if not rows:
        return []
    done = connection.execute(statement, (json.dumps(rows, default=_text, allow_nan=False),))
    return done.fetchall() if done.description else []


def _text(value: object) -> str:
    if isinstance(value, (Decimal, date)):
        return str(value)
    msg = f"{value!r} is of {type(value).__name__}, which has no exact text for a column"
    raise TypeError(msg)

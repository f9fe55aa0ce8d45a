"""Databases of a test's own on the shared servers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import psycopg
from psycopg import sql

from trading_pipeline.embedded import ServerUrls

_numbers = count(1)


@contextmanager
def fresh_database(servers: ServerUrls) -> Iterator[str]:
    """Make an empty database and drop it afterwards, whoever still holds it."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    yield servers.database_url.rpartition("/")[0] + f"/{name}"
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))

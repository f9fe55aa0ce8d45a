"""Forward-only SQL migrations of the ledger, from `sql/migrations`."""

import hashlib
from importlib import resources

import psycopg
import structlog

from trading_pipeline.adapters.store.postgres import CONNECT_SECONDS, unavailable
from trading_pipeline.errors import ConfigError

_LOCK = 0x7472616465  # an advisory lock of our own: two starters must not migrate at once
_BOOTSTRAP = """
create schema if not exists ledger;
create table if not exists ledger.schema_migrations (
    name        text primary key,
    sha256      text not null,
    applied_at  timestamptz not null default now()
);
"""

log = structlog.get_logger(__name__)


def migrate(database_url: str) -> list[str]:
    """Bring the ledger's tables up to date and return the names of the migrations applied now.

    All pending migrations are applied in one transaction: either the schema is current afterwards or unchanged.

    Raises:
        ConfigError: a migration that was applied earlier has been edited since.
        ServerUnavailable: PostgreSQL did not answer.
    """
    applied_now: list[str] = []
    with unavailable(), psycopg.connect(database_url, connect_timeout=CONNECT_SECONDS) as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
        connection.execute(_BOOTSTRAP)
        rows: list[tuple[str, str]] = connection.execute("select name, sha256 from ledger.schema_migrations").fetchall()
        applied = dict(rows)
        for name, text in _files():
            digest = hashlib.sha256(text.encode()).hexdigest()
            if name not in applied:
                connection.execute(text.encode())
                connection.execute(
                    "insert into ledger.schema_migrations (name, sha256) values (%s, %s)", (name, digest)
                )
                applied_now.append(name)
            elif applied[name] != digest:
                raise ConfigError(
                    f"migration {name} was edited after it had been applied: restore it and add a new one", name=name
                )
        connection.execute("delete from ledger.commits where at < now() - interval '7 days'")
    if applied_now:
        log.info("ledger migrated", migrations=applied_now)
    return applied_now


def _files() -> list[tuple[str, str]]:
    folder = resources.files("sql") / "migrations"
    found = [(entry.name, entry.read_text()) for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return sorted(found)

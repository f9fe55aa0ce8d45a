"""Celery workers of the project: real processes on a real Redis."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from celery import Celery
from dagster_celery.make_app import make_app

PATIENCE = 60
"""Seconds in which a worker must answer: starting one imports Dagster."""


def celery_variables(redis_url: str) -> dict[str, str]:
    """Return the variables of workers and runs: databases of the server that the risk book does not use."""
    server = redis_url.rpartition("/")[0]
    return {"CELERY_BROKER_URL": f"{server}/1", "CELERY_RESULT_BACKEND": f"{server}/2"}


@contextmanager
def celery_workers(names: Sequence[str], environment: dict[str, str], folder: Path) -> Iterator[None]:
    """Run a worker of one process per name until the end; each has answered before the block begins."""
    variables = os.environ | environment
    command = [sys.executable, "-m", "celery", "-A", "trading_pipeline.workers", "worker"]
    started = []
    for name in names:
        log = (folder / f"{name}.log").open("wb")
        arguments = ["-n", f"{name}@here", "--concurrency", "1", "--prefetch-multiplier", "1", "--loglevel", "INFO"]
        started.append(subprocess.Popen([*command, *arguments], env=variables, stdout=log, stderr=log))
        log.close()
    try:
        _wait(make_app({"broker": environment["CELERY_BROKER_URL"]}), set(names), started)
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(PATIENCE)


def _wait(app: Celery, names: set[str], started: Sequence[subprocess.Popen[bytes]]) -> None:
    for _ in range(PATIENCE):
        ended = [process.args for process in started if process.poll() is not None]
        if ended:
            raise RuntimeError(f"workers ended: {ended}")
        # Each call waits for up to a second for the workers that answer.
        answers = app.control.inspect(timeout=1.0).ping() or {}
        if names <= {answer.partition("@")[0] for answer in answers}:
            return
    raise RuntimeError(f"workers {names} did not answer")

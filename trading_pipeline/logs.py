"""Structured logs: key=value on a terminal, JSON elsewhere; run and order ids are bound where they are known."""

import logging
import sys
from pathlib import Path
from typing import TextIO

import structlog

CHATTY_LIBRARIES = ("mlflow", "alembic", "matplotlib")


def configure_logging(level: str, *, file: Path | None = None) -> None:
    """Send this system's logs from `level` on to standard error, or as JSON lines to the end of a file.

    Libraries that narrate their work are heard from WARNING on. Call once a process.
    """
    stream: TextIO = sys.stderr
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        stream = file.open("a", encoding="utf-8", buffering=1)
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if stream.isatty() else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    for library in CHATTY_LIBRARIES:
        logging.getLogger(library).setLevel(logging.WARNING)

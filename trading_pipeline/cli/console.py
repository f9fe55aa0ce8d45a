"""How commands speak: tables or JSON on standard output, one clear line on standard error, and the exit code."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from trading_pipeline.errors import ConfigError, PipelineError, TransientError

_NUMBER = re.compile(r"-?[\d,]*\.?\d*|\d{4}-\d\d-\d\d")

OK, REFUSED, UNAVAILABLE, CONFIGURATION, INTERRUPTED = 0, 1, 2, 3, 130

WIDTH_WITHOUT_TERMINAL = 120

out = Console(width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL)
err = Console(stderr=True)


def show(rows: Sequence[dict[str, Any]], *, title: str, as_json: bool) -> None:
    """Print rows as a table, or as one JSON array."""
    if as_json:
        click.echo(json.dumps(list(rows), default=str))
        return
    if not rows:
        out.print(f"[bold]{title}[/bold]: none")
        return
    out.print(as_table(rows, title=title))


def as_table(rows: Sequence[dict[str, Any]], *, title: str) -> Table:
    """Lay rows out as a table; numbers to the right."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=SIMPLE_HEAD)
    for name in columns:
        numeric = all(_NUMBER.fullmatch(_text(row.get(name))) for row in rows)
        widest = max(len(_text(row.get(name))) for row in rows)
        table.add_column(
            name.replace("_", " "),
            justify="right" if numeric else "left",
            overflow="fold",
            min_width=widest if numeric else None,
        )
    for row in rows:
        table.add_row(*(_text(row.get(name)) for name in columns))
    return table


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn this system's errors into one line and an exit code; anything else keeps its traceback."""
    try:
        yield
    except ConfigError as error:
        _leave(error, CONFIGURATION)
    except TransientError as error:
        _leave(error, UNAVAILABLE)
    except PipelineError as error:
        _leave(error, REFUSED)
    except click.UsageError as error:
        error.show()
        raise SystemExit(CONFIGURATION) from error
    except (KeyboardInterrupt, click.Abort):
        err.print("interrupted")
        raise SystemExit(INTERRUPTED) from None


def _leave(error: PipelineError, code: int) -> None:
    err.print(f"[red]{type(error).__name__}[/red]: {error.message}", highlight=False, soft_wrap=True)
    raise SystemExit(code) from error


def _text(value: Any) -> str:
    return "" if value is None else str(value)

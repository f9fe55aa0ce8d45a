"""Commands that look into the lake or feed it; none needs a server, unless it asks a vendor."""

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from trading_pipeline.adapters.clock import SystemClock
from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.cli.console import err, show
from trading_pipeline.cli.runtime import opened_minutes
from trading_pipeline.core.sessions import xnys
from trading_pipeline.logs import configure_logging
from trading_pipeline.settings import Settings, load_settings

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")


@click.command("sql")
@click.argument("text")
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="Rows printed at most.")
@click.option("--seconds", type=click.FloatRange(0.1), default=60.0, show_default=True, help="Stop after so long.")
@_AS_JSON
def sql(text: str, limit: int, seconds: float, *, as_json: bool) -> None:
    """Answer one SELECT over the lake. Views: its datasets and those of sql/views. Nothing can be written."""
    from trading_pipeline.adapters.store.sql import ask  # noqa: PLC0415 - duckdb only where it is needed

    answer = ask(_lake(), text, limit=limit, seconds=seconds)
    show(answer.as_dicts(), title="answer", as_json=as_json)
    if answer.truncated:
        err.print(f"there are more rows: --limit is {limit}")


@click.command("inspect")
@click.argument("symbol")
@click.option("--bars", "newest", type=click.IntRange(1), default=10, show_default=True, help="How many bars.")
@click.option("--known-at", type=str, default=None, help="Only what was known then, e.g. 2024-07-03T21:00:00+00:00.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw all its prices to an .svg.")
@_AS_JSON
def inspect(symbol: str, newest: int, known_at: str | None, plot: Path | None, *, as_json: bool) -> None:
    """Show the bars, corporate actions, quarantine and restated versions of SYMBOL."""
    from trading_pipeline.services.inspection import inspect_symbol  # noqa: PLC0415 - as above

    name, instant, lake = symbol.strip().upper(), _instant(known_at), _lake()
    report = inspect_symbol(lake, name, newest=newest, known_at=instant)
    if plot is not None:
        _draw(lake, name, instant, plot)
    if as_json:
        show([dict(report.sections())], title=symbol, as_json=True)
        return
    for title, rows in report.sections():
        show([_brief(title, row) for row in rows], title=title, as_json=False)


@click.command("import-actions")
@click.argument("file", type=click.Path(path_type=Path))
@_AS_JSON
def import_actions(file: Path, *, as_json: bool) -> None:
    """Import corporate actions from a CSV or Parquet FILE: all of it, or nothing with the reasons."""
    from trading_pipeline.adapters.market_data.importing.action_file import read_action_file  # noqa: PLC0415
    from trading_pipeline.adapters.store.actions import record_actions  # noqa: PLC0415

    actions = read_action_file(file, now=SystemClock().now())
    new = record_actions(_lake(), actions)
    row = {"rows": actions.height, "new": new, "known_already": actions.height - new}
    show([row], title=f"imported {file}", as_json=as_json)


@click.command("export-qlib")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--convention", type=click.Choice(["previous_close", "ex_date_close"]), default="previous_close", show_default=True
)
@_AS_JSON
def export(folder: Path, convention: str, *, as_json: bool) -> None:
    """Write the good bars, adjusted, to FOLDER in qlib's binary layout; again: only what has changed."""
    from trading_pipeline.adapters.store.qlib_export import export_qlib  # noqa: PLC0415
    from trading_pipeline.core.adjustment import Convention  # noqa: PLC0415

    done = export_qlib(_lake(), folder, convention=Convention(convention))
    row = {
        "sessions": done.sessions,
        "symbols": done.symbols,
        "files_written": done.written,
        "files_unchanged": done.unchanged,
    }
    show([row], title=f"exported to {folder}", as_json=as_json)


@click.command("freshness")
@click.option(
    "--mode",
    type=click.Choice(["per_symbol", "latest", "oldest", "median"]),
    default="per_symbol",
    show_default=True,
    help="What decides: the share of fresh symbols, as for orders, or the age of one statistic of them.",
)
@click.option(
    "--at", type=str, default=None, help="An instant of the past instead of now, e.g. 2024-07-03T15:00:00-04:00."
)
@_AS_JSON
def freshness(mode: str, at: str | None, *, as_json: bool) -> None:
    """Show how old the newest bar of every expected symbol is, in minutes of trading; exits with 1 when too old.

    Looks at the good bars of the lake and, with MARKET_DATA=alpaca, at the minutes of the session under way.
    """
    from trading_pipeline.adapters.market_data.universe_file import expected_universe  # noqa: PLC0415 - as above
    from trading_pipeline.core.freshness import judge_freshness  # noqa: PLC0415
    from trading_pipeline.services.intraday import newest_bars  # noqa: PLC0415

    settings, calendar, now = _settings(), xnys(), SystemClock().now()
    instant = _instant(at, option="--at") or now
    if instant > now:
        raise click.UsageError(f"--at {at} has not come yet")
    members = expected_universe(settings.universe, settings.universe_file)
    symbols = members.on(instant.astimezone(calendar.zone).date())["symbol"].to_list()
    limit = settings.data_freshness_minutes
    with opened_minutes(settings) as minutes:
        newest = newest_bars(
            Lake(settings.lake_root),
            symbols,
            as_of=instant,
            max_age_minutes=limit,
            calendar=calendar,
            minutes=minutes,
        )
    report = judge_freshness(
        newest,
        expected=symbols,
        as_of=instant,
        max_age_minutes=limit,
        min_fresh_pct=settings.min_fresh_pct,
        mode=mode,
        calendar=calendar,
    )
    rows = report.table.join(newest.drop("ended_at"), on="symbol", how="left", maintain_order="left")
    show(rows.to_dicts(), title=f"freshness at {instant.isoformat()}", as_json=as_json)
    report.require()


DATA_COMMANDS = (sql, inspect, import_actions, export, freshness)


def _settings() -> Settings:
    settings = load_settings()
    configure_logging(settings.log_level)
    return settings


def _lake() -> Lake:
    return Lake(_settings().lake_root)


def _brief(title: str, row: dict[str, Any]) -> dict[str, Any]:
    """Leave out what every row says; of quarantined ones all but what they are held for. A terminal is narrow."""
    if title == "quarantined":
        return {name: row[name] for name in ("session", "close", "volume", "detail")}
    return {name: value for name, value in row.items() if name not in {"symbol", "ended_at"}}


def _draw(lake: Lake, symbol: str, known_at: datetime | None, file: Path) -> None:
    from trading_pipeline.adapters.price_plot import price_plot  # noqa: PLC0415 - as above
    from trading_pipeline.services.inspection import price_histories  # noqa: PLC0415

    if file.suffix.lower() != ".svg":
        raise click.UsageError(f"--plot {file}: name a file that ends in .svg")
    content = price_plot(price_histories(lake, [symbol], known_at=known_at))
    try:
        file.write_bytes(content)
    except OSError as error:
        raise click.UsageError(f"--plot {file} cannot be written: {error.strerror}") from error
    err.print(f"the plot is in {file}", highlight=False)


def _instant(text: str | None, *, option: str = "--known-at") -> datetime | None:
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.UsageError(f"{option} {text} is no instant: write it as 2024-07-03T21:00:00+00:00") from error
    if instant.utcoffset() is None:
        raise click.UsageError(f"{option} {text} has no time zone: append +00:00 for UTC")
    return instant

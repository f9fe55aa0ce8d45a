"""Corporate actions from a CSV or Parquet file, all of them or none."""

from datetime import datetime
from pathlib import Path

import polars as pl

from trading_pipeline.adapters.market_data.importing.cells import OFFSET
from trading_pipeline.adapters.market_data.importing.problems import Problem, invalid
from trading_pipeline.core.corporate_actions import ACTION_SCHEMA, require_actions
from trading_pipeline.errors import BarFileInvalid

_NEEDED = ("symbol", "ex_date", "kind")


def read_action_file(path: Path, *, now: datetime) -> pl.DataFrame:
    """Return the actions of a file in action format.

    Columns `symbol`, `ex_date` and `kind` are needed; `ratio`, `amount`, `distributed`, `other_symbol`, `action_id` and
    `known_at` are read where they are there. An action without an id is named after symbol, day, kind and other symbol,
    so that a file with a corrected amount corrects it; several of one kind and day need ids. Without `known_at` the
    actions are known from `now` on.

    Raises:
        BarFileInvalid: the file cannot be read, columns are missing or unknown, cells do not parse, a symbol is not
            written as bars write it, or `known_at` is naive or has not come yet.
        DataQualityError: rows that are no usable actions, by name.
    """
    try:
        rows = pl.read_csv(path, infer_schema=False) if path.suffix.lower() == ".csv" else pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BarFileInvalid(f"{path.name} cannot be read: {error}", path=str(path)) from error
    missing = [name for name in _NEEDED if name not in rows.columns]
    unknown = [name for name in rows.columns if name not in ACTION_SCHEMA]
    if missing or unknown:
        raise BarFileInvalid(
            f"{path.name}: columns missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}",
            path=str(path),
        )
    key = pl.concat_str(
        "symbol", pl.col("ex_date").cast(pl.String), "kind", "other_symbol", separator=":", ignore_nulls=True
    )
    absent = [pl.lit(None).alias(name) for name in ACTION_SCHEMA if name not in rows.columns]
    whole = rows.with_columns(absent)
    _require_zone(path, whole)
    try:
        typed = whole.with_columns(_parsed(whole)).cast(ACTION_SCHEMA).select(ACTION_SCHEMA.names())
    except pl.exceptions.PolarsError as error:
        raise BarFileInvalid(f"{path.name}: a cell does not parse: {error}", path=str(path)) from error
    done = typed.with_columns(
        pl.coalesce("action_id", "import:" + key).alias("action_id"),
        pl.lit(f"import:{path.name}").alias("source"),
        pl.col("known_at").fill_null(pl.lit(now).cast(ACTION_SCHEMA["known_at"])),
    )
    actions = require_actions(done, where=path.name)
    if problems := _misread(actions, now, first=2 if path.suffix.lower() == ".csv" else 1):
        raise invalid(path, problems)
    return actions


def _require_zone(path: Path, rows: pl.DataFrame) -> None:
    known, dtype = pl.col("known_at"), rows.schema["known_at"]
    naive = isinstance(dtype, pl.Datetime) and dtype.time_zone is None
    if dtype == pl.String:
        naive = rows.select(known.str.strip_chars().str.contains(OFFSET).not_().any()).item()
    if naive:
        raise BarFileInvalid(
            f"{path.name}: column known_at has no time zone: add the offset, as in 2024-07-03T17:00:00-04:00",
            path=str(path),
        )


def _misread(actions: pl.DataFrame, now: datetime, *, first: int) -> list[Problem]:
    """Name rows that would never apply to a bar, and knowledge of the future; `first` numbers the first row."""
    numbered = actions.with_row_index("row", offset=first)
    problems = []
    for name in ("symbol", "other_symbol"):
        plain = pl.col(name).str.strip_chars().str.to_uppercase()
        odd = numbered.filter(pl.col(name) != plain).select("row", name, plain.alias("plain"))
        problems += [
            Problem(row=row, column=name, what=f"'{said}' is not how a symbol is written: use '{right}'")
            for row, said, right in odd.iter_rows()
        ]
    ahead = numbered.filter(pl.col("known_at") > now).select("row", "known_at")
    return problems + [
        Problem(row=row, column="known_at", what=f"{known_at} has not come yet: say since when the action was known")
        for row, known_at in ahead.iter_rows()
    ]


def _parsed(rows: pl.DataFrame) -> list[pl.Expr]:
    texts = [
        pl.col("ex_date").str.to_date("%Y-%m-%d") if rows.schema["ex_date"] == pl.String else pl.col("ex_date"),
        pl.col("known_at").str.to_datetime(time_zone="UTC", time_unit="us")
        if rows.schema["known_at"] == pl.String
        else pl.col("known_at"),
    ]
    return [*texts, *(pl.col(name).cast(pl.Float64) for name in ("ratio", "amount", "distributed"))]

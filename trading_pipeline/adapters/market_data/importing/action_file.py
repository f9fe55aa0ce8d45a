"""Corporate actions from a CSV or Parquet file, all of them or none."""

from datetime import datetime
from pathlib import Path

import polars as pl

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
        BarFileInvalid: the file cannot be read, columns are missing or unknown, or cells do not parse.
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
    try:
        typed = whole.with_columns(_parsed(whole)).cast(ACTION_SCHEMA).select(ACTION_SCHEMA.names())
    except pl.exceptions.PolarsError as error:
        raise BarFileInvalid(f"{path.name}: a cell does not parse: {error}", path=str(path)) from error
    done = typed.with_columns(
        pl.coalesce("action_id", "import:" + key).alias("action_id"),
        pl.lit(f"import:{path.name}").alias("source"),
        pl.col("known_at").fill_null(pl.lit(now).cast(ACTION_SCHEMA["known_at"])),
    )
    return require_actions(done, where=path.name)


def _parsed(rows: pl.DataFrame) -> list[pl.Expr]:
    texts = [
        pl.col("ex_date").str.to_date("%Y-%m-%d") if rows.schema["ex_date"] == pl.String else pl.col("ex_date"),
        pl.col("known_at").str.to_datetime(time_zone="UTC", time_unit="us")
        if rows.schema["known_at"] == pl.String
        else pl.col("known_at"),
    ]
    return [*texts, *(pl.col(name).cast(pl.Float64) for name in ("ratio", "amount", "distributed"))]

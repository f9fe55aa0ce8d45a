"""The bar format as a pandera model; imported only where rows are checked, because pandera is slow to import."""

from typing import Annotated

import pandera.polars as pa
import polars as pl
from pandera.api.polars.model_config import BaseConfig
from pandera.errors import SchemaErrors

from trading_pipeline.core.bars import BAR_KEY, BAR_SCHEMA, EXCHANGE_ZONE

_INFINITY = float("inf")
_PLAIN_NAMES = {"multiple_fields_uniqueness": "more than one row for the key", "not_nullable": "missing"}


class BarModel(pa.DataFrameModel):
    """Clean bars: one row per symbol and session, prices in dollars, times the end of the interval in UTC."""

    session: pl.Date
    symbol: pl.String = pa.Field(str_length={"min_value": 1})
    ended_at: Annotated[pl.Datetime, "us", "UTC"]
    open: pl.Float64 = pa.Field(gt=0, lt=_INFINITY)
    high: pl.Float64 = pa.Field(gt=0, lt=_INFINITY)
    low: pl.Float64 = pa.Field(gt=0, lt=_INFINITY)
    close: pl.Float64 = pa.Field(gt=0, lt=_INFINITY)
    volume: pl.Float64 = pa.Field(ge=0, lt=_INFINITY)
    vwap: pl.Float64 = pa.Field(gt=0, lt=_INFINITY, nullable=True)
    source: pl.String

    class Config(BaseConfig):
        """One row a key, no other columns."""

        strict = True
        unique = list(BAR_KEY)  # noqa: RUF012 - the base class declares it as an instance variable

    @pa.dataframe_check
    @classmethod
    def high_is_highest(cls, data: pa.PolarsData) -> pl.LazyFrame:
        """High is not below open, close or low."""
        return data.lazyframe.select(pl.col("high") >= pl.max_horizontal("open", "close", "low"))

    @pa.dataframe_check
    @classmethod
    def low_is_lowest(cls, data: pa.PolarsData) -> pl.LazyFrame:
        """Low is not above open, close or high."""
        return data.lazyframe.select(pl.col("low") <= pl.min_horizontal("open", "close", "high"))

    @pa.dataframe_check
    @classmethod
    def ends_on_its_session(cls, data: pa.PolarsData) -> pl.LazyFrame:
        """The interval ends on the day of the session in New York: a bar of a later day is a look ahead."""
        ended_on = pl.col("ended_at").dt.convert_time_zone(EXCHANGE_ZONE).dt.date()
        return data.lazyframe.select(ended_on == pl.col("session"))


def bar_violations(frame: pl.DataFrame) -> list[str]:
    """Describe every violation in a frame that has the columns of the bar format: row, key, column, check."""
    try:
        BarModel.validate(frame, lazy=True)
    except SchemaErrors as error:
        return [_describe(case, frame) for case in error.failure_cases.sort("index").to_dicts()]
    return []


def _describe(case: dict[str, object], frame: pl.DataFrame) -> str:
    index, check = case["index"], _PLAIN_NAMES.get(str(case["check"]), case["check"])
    if not isinstance(index, int):
        return f"{case['column']}: {check}"
    session, symbol = frame.row(index)[:2]
    subject = f"{case['column']} {case['failure_case']} ({check})" if case["column"] in BAR_SCHEMA else check
    return f"row {index + 1} ({symbol} {session}): {subject}"

"""Corporate actions in the lake: every version of each, read as known at an instant."""

from datetime import date, datetime
from typing import Final

import polars as pl

from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.corporate_actions import ACTION_SCHEMA, require_actions
from trading_pipeline.core.versions import KNOWN_AT
from trading_pipeline.errors import DataQualityError

_CONTENT: Final = [name for name in ACTION_SCHEMA if name not in (KNOWN_AT, "source")]


def record_actions(lake: Lake, actions: pl.DataFrame) -> int:
    """Store what is new among some actions and return how many rows that were; nothing stored is ever changed.

    An action that says what its newest stored version says is no news, however often a look-back reads it again. A
    correction has the same `action_id` and a later `known_at`, on whatever day it falls now.

    Raises:
        DataQualityError: the rows are no usable actions, or two of them say different things at the same instant.
    """
    offered = require_actions(actions, where="corporate actions")
    if offered.is_empty():
        return 0
    stored = _all(lake)
    history = (
        pl.concat([stored.with_columns(_stored=pl.lit(value=True)), offered.with_columns(_stored=pl.lit(value=False))])
        .unique([*_CONTENT, KNOWN_AT], keep="first", maintain_order=True)
        .sort("action_id", KNOWN_AT, maintain_order=True)
    )
    _require_one_version(history)
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift().over("action_id")) for name in _CONTENT)
    news = history.filter(~pl.col("_stored"), ~same).drop("_stored")
    if news.is_empty():
        return 0
    partitioned = news.with_columns(pl.col("ex_date").alias("session"))
    lake.update(
        Dataset.CORPORATE_ACTIONS,
        lambda present: (
            partitioned if present is None else pl.concat([present, partitioned]).unique(maintain_order=True)
        ),
        sessions=sorted(set(partitioned["session"])),
    )
    return news.height


def read_actions(
    lake: Lake, *, known_at: datetime | None = None, start: date = date.min, end: date = date.max
) -> pl.DataFrame:
    """Return the actions of a span of ex-dates, both ends included, as known at an instant (None: now).

    One row an action, in its newest version of then; a lake without any gives a frame without rows.
    """
    known = _all(lake)
    if known_at is not None:
        known = known.filter(pl.col(KNOWN_AT) <= known_at)
    newest = known.sort(KNOWN_AT).unique("action_id", keep="last")
    return newest.filter(pl.col("ex_date").is_between(start, end)).sort("ex_date", "symbol", "action_id")


def _all(lake: Lake) -> pl.DataFrame:
    if not lake.sessions(Dataset.CORPORATE_ACTIONS):
        return ACTION_SCHEMA.to_frame()
    rows = lake.read(Dataset.CORPORATE_ACTIONS, start=date.min, end=date.max)
    return rows.select(ACTION_SCHEMA.names())


def _require_one_version(history: pl.DataFrame) -> None:
    twice = history.filter(pl.struct("action_id", KNOWN_AT).is_duplicated())
    if twice.height:
        raise DataQualityError(
            f"action {twice['action_id'][0]} says two things at the same instant: a correction needs a later known_at",
            action_id=twice["action_id"][0],
        )

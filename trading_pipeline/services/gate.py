"""The quality gate over the lake: judge a range with the bars around it, and file what later bars have changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from trading_pipeline.adapters.store.actions import read_actions
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.raw_bars import read_raw_bars
from trading_pipeline.core.bars import BAR_SCHEMA, validate_bars
from trading_pipeline.core.quality import GateConfig, judge_bars
from trading_pipeline.core.quality.coverage import session_verdicts
from trading_pipeline.core.sessions import SessionCalendar, xnys
from trading_pipeline.errors import DataQualityError

RECENT = timedelta(days=30)
"""Looked back first for last good closes; symbols not found there are looked for in all of history."""
CHUNK_ROWS = 1_500_000
"""Rows judged at once; bounds memory on long ranges of many symbols."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the gate filed.

    Attributes:
        bars: good rows of the asked sessions.
        quarantined: the others, with reasons.
        verdicts: one row a session and symbol.
        sessions: one row a session.
        raw_rows: rows there were.
        rejudged: earlier sessions whose verdicts these bars have changed.
    """

    bars: pl.DataFrame
    quarantined: pl.DataFrame
    verdicts: pl.DataFrame
    sessions: pl.DataFrame
    raw_rows: int
    rejudged: Sequence[date]


def judge_sessions(
    store: Lake, sessions: Sequence[date], config: GateConfig, *, known_at: datetime | None = None
) -> Judged:
    """Judge raw bars of whole sessions and write `bars`, `quarantined_bars` and `verdicts`.

    Bars before the sessions and after them, as far as the rules reach, are read as well: the answer is the same however
    a range is split. Sessions before whose answer has changed (a bar turned out to be of another day, an action came
    late) are written again.

    Args:
        store: the lake.
        sessions: in order, each with raw bars.
        config: thresholds.
        known_at: judge with what was known at an instant, and leave all other sessions alone. None: with what is known.

    Raises:
        DataQualityError: rows were lost, or a bar that passed breaks the bar format: nothing is written then.
    """
    parts = [_judge(store, chunk, config, known_at) for chunk in _chunks(store, sessions)]
    verdicts = pl.concat([part.verdicts for part in parts])
    return Judged(
        bars=pl.concat([part.bars for part in parts]),
        quarantined=pl.concat([part.quarantined for part in parts]),
        verdicts=verdicts,
        sessions=session_verdicts(verdicts, config),
        raw_rows=sum(part.raw_rows for part in parts),
        rejudged=sorted({day for part in parts for day in part.rejudged} - set(sessions)),
    )


def _chunks(store: Lake, sessions: Sequence[date]) -> list[Sequence[date]]:
    symbols = max(store.read_session(Dataset.RAW_BARS, sessions[-1], columns=["symbol"]).height, 1)
    size = max(CHUNK_ROWS // symbols, 1)
    return [sessions[at : at + size] for at in range(0, len(sessions), size)]


def _judge(store: Lake, sessions: Sequence[date], config: GateConfig, known_at: datetime | None) -> Judged:
    calendar = xnys()
    first, last = sessions[0], sessions[-1]
    start, end = _shifted(calendar, first, -2 * config.reach), _shifted(calendar, last, config.reach)
    raw = read_raw_bars(store, start=start, end=end, known_at=known_at)
    result = judge_bars(
        raw,
        last_good=_last_good(store, start, set(raw["symbol"].drop_nulls())),
        config=config,
        actions=read_actions(store, known_at=known_at),
        accepted=_accepted(store, known_at),
        second_vendor=_known(store, Dataset.REFERENCE_BARS),
        data_start=store.sessions(Dataset.RAW_BARS)[0],
    )
    reached = store.sessions(Dataset.BARS, start=_shifted(calendar, first, -config.reach), end=last)
    before = [day for day in reached if day < first and known_at is None]
    written = [*before, *sessions]
    verdicts = result.verdicts(end)
    bars, quarantined, verdicts = (
        frame.filter(pl.col("session").is_in(written)) for frame in (result.bars, result.quarantined, verdicts)
    )
    judged = pl.concat([bars.select("session"), quarantined.select("session")]).filter(pl.col("session") >= first)
    raw_rows = raw.filter(pl.col("session").is_in(list(sessions))).height
    if judged.height != raw_rows:
        raise DataQualityError(
            f"the gate lost rows: {raw_rows} raw, {judged.height} bars and quarantined: nothing was written",
            raw=raw_rows,
            judged=judged.height,
        )
    bars = validate_bars(bars.select(BAR_SCHEMA.names()), where=f"bars {first} to {last}")
    changed = set(store.write(Dataset.BARS, bars, sessions=written))
    changed |= set(store.write(Dataset.QUARANTINED_BARS, quarantined, sessions=written))
    store.write(Dataset.VERDICTS, verdicts, sessions=written)
    return _of_sessions(sessions, bars, quarantined, verdicts, raw_rows, sorted(changed & set(before)), config)


def _of_sessions(
    sessions: Sequence[date],
    bars: pl.DataFrame,
    quarantined: pl.DataFrame,
    verdicts: pl.DataFrame,
    raw_rows: int,
    rejudged: Sequence[date],
    config: GateConfig,
) -> Judged:
    asked = pl.col("session").is_in(list(sessions))
    return Judged(
        bars=bars.filter(asked),
        quarantined=quarantined.filter(asked),
        verdicts=verdicts.filter(asked),
        sessions=session_verdicts(verdicts.filter(asked), config),
        raw_rows=raw_rows,
        rejudged=rejudged,
    )


def _shifted(calendar: SessionCalendar, session: date, count: int) -> date:
    """Return the session so many later (negative: earlier), at most the first or last of the calendar."""
    at = calendar.sessions.index(session) + count
    return calendar.sessions[min(max(at, 0), len(calendar.sessions) - 1)]


def _known(store: Lake, dataset: Dataset) -> pl.DataFrame | None:
    """Return all of a small dataset, or None when there is none."""
    return store.read(dataset, start=date.min, end=date.max) if store.sessions(dataset) else None


def _accepted(store: Lake, known_at: datetime | None) -> pl.DataFrame | None:
    accepted = _known(store, Dataset.ACCEPTANCES)
    if accepted is None or known_at is None:
        return accepted
    return accepted.filter(pl.col("accepted_at") <= known_at)


def _last_good(store: Lake, first: date, symbols: set[str]) -> dict[str, float]:
    """Find the last good close of each symbol before a session, however long ago: no split of a range matters."""
    before = first - timedelta(days=1)
    recent = before - RECENT
    found: dict[str, float] = {}
    for start, end in ((recent, before), (date.min, recent - timedelta(days=1))):
        missing = symbols - set(found)
        if missing and store.sessions(Dataset.BARS, start=start, end=end):
            history = store.read(Dataset.BARS, start=start, end=end, columns=["session", "symbol", "close"])
            wanted = history.filter(pl.col("symbol").is_in(missing)).sort("session")
            found |= dict(wanted.group_by("symbol").agg(pl.col("close").last()).iter_rows())
    return found

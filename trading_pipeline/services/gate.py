"""The quality gate over the lake: judge a range with the bars around it, and file what later bars have changed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Self

import polars as pl

from trading_pipeline.adapters.market_data.importing.reference import reference_source
from trading_pipeline.adapters.store.acceptances import read_acceptances
from trading_pipeline.adapters.store.actions import read_actions
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.raw_bars import read_raw_bars
from trading_pipeline.core.bars import BAR_SCHEMA, validate_bars
from trading_pipeline.core.quality import GateConfig, judge_bars
from trading_pipeline.core.quality.actions import taken_over
from trading_pipeline.core.quality.coverage import session_verdicts
from trading_pipeline.core.quality.panel import days_of
from trading_pipeline.core.sessions import xnys
from trading_pipeline.core.versions import as_known_at
from trading_pipeline.errors import DataQualityError

CHUNK_ROWS = 1_500_000
"""Rows judged at once; bounds memory on long ranges of many symbols."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the gate filed.

    Attributes:
        bars: good rows of the asked sessions.
        quarantined: the others, with reasons.
        verdicts: one row a session and symbol.
        sessions: one row a session (`SESSION_SCHEMA`).
        raw_rows: rows there were.
        rejudged: sessions around the asked ones whose rows were filed anew.
    """

    bars: pl.DataFrame
    quarantined: pl.DataFrame
    verdicts: pl.DataFrame
    sessions: pl.DataFrame
    raw_rows: int
    rejudged: Sequence[date]

    @classmethod
    def of_parts(cls, parts: Sequence[Self]) -> Self:
        """Put the parts of a range together."""
        sessions = pl.concat([part.sessions for part in parts])
        asked = set(sessions["session"])
        return cls(
            bars=pl.concat([part.bars for part in parts]),
            quarantined=pl.concat([part.quarantined for part in parts]),
            verdicts=pl.concat([part.verdicts for part in parts]),
            sessions=sessions,
            raw_rows=sum(part.raw_rows for part in parts),
            rejudged=sorted({day for part in parts for day in part.rejudged} - asked),
        )


def judge_sessions(
    store: Lake,
    sessions: Sequence[date],
    config: GateConfig,
    *,
    second_vendor: str = "",
    known_at: datetime | None = None,
) -> Judged:
    """Judge raw bars of whole sessions and write `bars`, `quarantined_bars`, `verdicts` and `session_verdicts`.

    Bars before the sessions and after them, as far as the rules reach, are read as well: the answer is the same however
    a range is split. Sessions around them whose answer has changed (a bar turned out to be of another day, an action
    came late, a bar was restated or accepted) are written again.

    Args:
        store: the lake.
        sessions: in order, each with raw bars.
        config: thresholds.
        second_vendor: whose imported reference bars to compare with; empty: nobody's.
        known_at: judge with what was known at an instant, and leave all other sessions alone. None: with what is known.

    Raises:
        DataQualityError: rows were lost, or a bar that passed breaks the bar format: nothing is written then.
    """
    question = _Question(store=store, config=config, second_vendor=second_vendor, known_at=known_at)
    return Judged.of_parts([question.judge(chunk) for chunk in _chunks(store, sessions)])


def _chunks(store: Lake, sessions: Sequence[date]) -> list[Sequence[date]]:
    symbols = max(store.read_session(Dataset.RAW_BARS, sessions[-1], columns=["symbol"]).height, 1)
    size = max(CHUNK_ROWS // symbols, 1)
    return [sessions[at : at + size] for at in range(0, len(sessions), size)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    store: Lake
    config: GateConfig
    second_vendor: str
    known_at: datetime | None

    def judge(self, sessions: Sequence[date]) -> Judged:
        """Judge neighbouring sessions and file the answer for them, and for those around them that they have changed.

        Rules look `reach` sessions back and forth. Twice as far is read, so that what is filed around the asked
        sessions has all its own neighbours.
        """
        calendar, reach = xnys(), self.config.reach
        start, end = (calendar.shift_within(sessions[at], 2 * by) for at, by in ((0, -reach), (-1, reach)))
        raw = read_raw_bars(self.store, start=start, end=end, known_at=self.known_at)
        actions = read_actions(self.store, known_at=self.known_at)
        result = judge_bars(
            raw,
            last_good=_last_good(self.store, start, raw, reach, actions),
            config=self.config,
            actions=actions,
            accepted=read_acceptances(self.store, start=start, end=end, known_at=self.known_at),
            second_vendor=self._reference(start, end),
            data_start=self.store.sessions(Dataset.RAW_BARS)[0],
        )
        written = self._written(sessions)
        verdicts = result.verdicts(end, sessions=written)
        answer = Judged(
            bars=validate_bars(
                _of(result.bars, written).select(BAR_SCHEMA.names()), where=f"bars {written[0]} to {written[-1]}"
            ),
            quarantined=_of(result.quarantined, written),
            verdicts=verdicts,
            sessions=session_verdicts(verdicts, self.config, written),
            raw_rows=_of(raw, written).height,
            rejudged=(),
        )
        changed = self._file(answer, written)
        return replace(
            answer,
            bars=_of(answer.bars, sessions),
            quarantined=_of(answer.quarantined, sessions),
            verdicts=_of(answer.verdicts, sessions),
            sessions=_of(answer.sessions, sessions),
            raw_rows=_of(raw, sessions).height,
            rejudged=sorted(changed - set(sessions)),
        )

    def _written(self, sessions: Sequence[date]) -> list[date]:
        if self.known_at is not None:
            return list(sessions)
        calendar, reach = xnys(), self.config.reach
        around = self.store.sessions(
            Dataset.BARS,
            start=calendar.shift_within(sessions[0], -reach),
            end=calendar.shift_within(sessions[-1], reach),
        )
        return sorted({*around, *sessions})

    def _file(self, answer: Judged, written: Sequence[date]) -> set[date]:
        """Write all of it. After a crash in between, the session gate finds that the parts do not fit."""
        out = answer.bars.height + answer.quarantined.height
        if out != answer.raw_rows:
            raise DataQualityError(
                f"the gate lost rows: {answer.raw_rows} raw, {out} bars and quarantined: nothing was written",
                raw=answer.raw_rows,
                judged=out,
            )
        changed: set[date] = set()
        for dataset, rows in (
            (Dataset.BARS, answer.bars),
            (Dataset.QUARANTINED_BARS, answer.quarantined),
            (Dataset.VERDICTS, answer.verdicts),
            (Dataset.SESSION_VERDICTS, answer.sessions),
        ):
            changed |= set(self.store.write(dataset, rows, sessions=written))
        return changed

    def _reference(self, start: date, end: date) -> pl.DataFrame | None:
        if not self.second_vendor or not self.store.sessions(Dataset.REFERENCE_BARS, start=start, end=end):
            return None
        rows = self.store.read(Dataset.REFERENCE_BARS, start=start, end=end)
        mine = rows.filter(pl.col("source") == reference_source(self.second_vendor))
        return as_known_at(mine, self.known_at).select("session", "symbol", "close", "source")


def _of(frame: pl.DataFrame, sessions: Sequence[date]) -> pl.DataFrame:
    return frame.filter(pl.col("session").is_in(list(sessions)))


def _last_good(store: Lake, start: date, raw: pl.DataFrame, reach: int, actions: pl.DataFrame) -> dict[str, float]:
    """Find the last good close before the rows of each symbol, at most `reach` sessions before the first of them.

    That of a company which has left the symbol since is none.
    """
    calendar = xnys()
    since, before = calendar.shift_within(start, -reach), start - timedelta(days=1)
    if not store.sessions(Dataset.BARS, start=since, end=before):
        return {}
    bars = store.read(Dataset.BARS, start=since, end=before, columns=["session", "symbol", "close"])
    newest = bars.sort("session").group_by("symbol").agg(pl.all().last())
    begins = raw.group_by("symbol").agg(pl.col("session").min().alias("begins"))
    beside = newest.join(begins, on="symbol", how="inner")
    apart = days_of(beside["begins"], calendar) - days_of(beside["session"], calendar)
    known = beside.filter(pl.Series(apart <= reach))
    left = taken_over(actions)
    if left is not None:
        of_others = left.join(beside, on="symbol", how="inner").filter(
            pl.col("first_day") > pl.col("session"), pl.col("first_day") <= pl.col("begins")
        )
        known = known.join(of_others, on="symbol", how="anti")
    return dict(known.select("symbol", "close").iter_rows())

"""The gates of a session, read where it matters: by whoever predicts, sizes or sends from it. Unknown is no."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.raw_bars import read_raw_bars
from trading_pipeline.core.bars import BAR_SCHEMA
from trading_pipeline.core.freshness import FRESH
from trading_pipeline.core.quality.coverage import USABLE
from trading_pipeline.errors import DataQualityError, GateNotPassed

_BAR = BAR_SCHEMA.names()
_NAMED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionGate:
    """A session that passed its gates.

    Attributes:
        session: which.
        fresh: symbols that may be used.
        excluded: symbols that may not, each with the reason in words.
    """

    session: date
    fresh: frozenset[str]
    excluded: Mapping[str, str]

    def reason(self, symbol: str) -> str:
        """Return why a symbol may not be used; empty for one that may."""
        return "" if symbol in self.fresh else self.excluded.get(symbol, "its data are not judged")


def session_gate(lake: Lake, session: date) -> SessionGate:
    """Read the quality gate and the freshness of a session.

    Raises:
        GateNotPassed: the session was not judged, or judged as not usable; its raw bars, or what the gate has filed,
            have changed since; it has too few fresh symbols. Names the gate and what to do.
    """
    for refused in failed_gates(lake, [session]).values():
        raise refused
    held = _require_current(lake, session)
    states = dict(_rows(lake, Dataset.FRESHNESS, [session]).select("symbol", "state").iter_rows())
    fresh = frozenset(symbol for symbol, state in states.items() if state == FRESH and symbol not in held)
    excluded = {symbol: f"its data are {state}" for symbol, state in states.items() if state != FRESH}
    return SessionGate(session=session, fresh=fresh, excluded=dict(sorted((excluded | held).items())))


def failed_gates(lake: Lake, sessions: Sequence[date]) -> dict[date, GateNotPassed]:
    """Return the sessions of a range that were not judged, or judged as not usable, each with the refusal of it."""
    judged = {row["session"]: row for row in _rows(lake, Dataset.SESSION_VERDICTS, sessions).iter_rows(named=True)}
    manifest = _rows(lake, Dataset.FRESHNESS, sessions)
    fresh = {row["session"]: row for row in _freshness(manifest).iter_rows(named=True)} if manifest.height else {}
    refusals = {day: _quality_refusal(day, judged.get(day)) or _age_refusal(day, fresh.get(day)) for day in sessions}
    return {day: refusal for day, refusal in refusals.items() if refusal is not None}


def one_refusal(refused: Mapping[date, GateNotPassed]) -> GateNotPassed:
    """Return one error that names all sessions that were refused."""
    days = [str(day) for day in sorted(refused)]
    first = refused[min(refused)]
    if len(days) == 1:
        return first
    named = ", ".join(days[:_NAMED]) + (f" and {len(days) - _NAMED} more" if len(days) > _NAMED else "")
    return GateNotPassed(
        f"{len(days)} sessions did not pass their gates: {named}. The first: {first.message}", sessions=days
    )


def _freshness(manifest: pl.DataFrame) -> pl.DataFrame:
    fresh = (pl.col("state") == FRESH).sum().alias("fresh")
    return manifest.group_by("session").agg(
        pl.col("session_usable").all().alias("usable"), fresh, pl.len().alias("all")
    )


def _quality_refusal(session: date, row: dict[str, Any] | None) -> GateNotPassed | None:
    if row is None:
        return _refused(session, "quality", "no quality gate has judged it: materialise `bars`")
    if row["verdict"] == USABLE:
        return None
    counts = ", ".join(f"{row[name]} {name}" for name in ("good", "quarantined", "missing"))
    return _refused(
        session,
        "quality",
        f"the quality gate calls it {row['verdict']}: of {row['expected']} expected symbols {counts}. "
        "Load the session again, then materialise `bars` and what follows",
    )


def _age_refusal(session: date, row: dict[str, Any] | None) -> GateNotPassed | None:
    if row is None:
        return _refused(session, "freshness", "no freshness was judged: materialise `features`")
    if row["usable"]:
        return None
    why = f"it was not fresh enough, {row['fresh']} of {row['all']} symbols: see the metadata of `features`"
    return _refused(session, "freshness", why)


def _require_current(lake: Lake, session: date) -> dict[str, str]:
    """Check that what the gate has filed are the raw bars of now, and return the symbols that have none of it good."""
    bars, quarantined = (_read(lake, dataset, session) for dataset in (Dataset.BARS, Dataset.QUARANTINED_BARS))
    try:
        raw = read_raw_bars(lake, start=session, end=session)
    except DataQualityError as missing:
        raise _refused(session, "quality", missing.message) from missing
    filed = pl.concat([bars.select(_BAR), quarantined.select(_BAR)]).sort(_BAR, nulls_last=True)
    if not filed.equals(raw.sort(_BAR, nulls_last=True)):
        raise _refused(
            session,
            "quality",
            f"{raw.height} raw bars are not the {filed.height} that were judged: they were restated since, or the gate "
            "was interrupted. Materialise `bars` and what follows again",
        )
    held = quarantined.filter(pl.col("symbol").is_not_null()).join(bars, on="symbol", how="anti")
    reasons = held.group_by("symbol").agg(pl.col("reason").str.join(";"))
    return {symbol: f"its bar is in quarantine: {reason}" for symbol, reason in reasons.iter_rows()}


def _rows(lake: Lake, dataset: Dataset, sessions: Sequence[date]) -> pl.DataFrame:
    """Return what was filed of some sessions; no rows where nothing was."""
    first, last = min(sessions), max(sessions)
    if not lake.sessions(dataset, start=first, end=last):
        return pl.DataFrame()
    return lake.read(dataset, start=first, end=last).filter(pl.col("session").is_in(list(sessions)))


def _read(lake: Lake, dataset: Dataset, session: date) -> pl.DataFrame:
    try:
        return lake.read_session(dataset, session)
    except DataQualityError as missing:
        raise _refused(session, "quality", missing.message) from missing


def _refused(session: date, gate: str, why: str) -> GateNotPassed:
    return GateNotPassed(f"session {session} did not pass the {gate} gate: {why}", session=str(session), gate=gate)

"""The gates of a session, read where it matters: by whoever predicts, sizes or sends from it. Unknown is no."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.raw_bars import read_raw_bars
from trading_pipeline.core.bars import BAR_SCHEMA
from trading_pipeline.core.freshness import FRESH
from trading_pipeline.core.quality.coverage import USABLE
from trading_pipeline.errors import DataQualityError, GateNotPassed

_BAR = BAR_SCHEMA.names()


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
    _require_usable(lake, session)
    held = _require_current(lake, session)
    states = _freshness(lake, session)
    fresh = frozenset(symbol for symbol, state in states.items() if state == FRESH and symbol not in held)
    excluded = {symbol: f"its data are {state}" for symbol, state in states.items() if state != FRESH}
    return SessionGate(session=session, fresh=fresh, excluded=dict(sorted((excluded | held).items())))


def failed_gates(lake: Lake, sessions: Sequence[date]) -> dict[date, str]:
    """Return the sessions that did not pass their gates, each with the reason in words."""
    failed: dict[date, str] = {}
    for session in sessions:
        try:
            session_gate(lake, session)
        except GateNotPassed as refused:
            failed[session] = refused.message
    return failed


def _require_usable(lake: Lake, session: date) -> None:
    rows = _read(lake, Dataset.SESSION_VERDICTS, session)
    if rows.height != 1:
        raise _refused(session, "quality", "no quality gate has judged it: materialise `bars`")
    row = rows.row(0, named=True)
    if row["verdict"] != USABLE:
        counts = ", ".join(f"{row[name]} {name}" for name in ("good", "quarantined", "missing"))
        raise _refused(
            session,
            "quality",
            f"the quality gate calls it {row['verdict']}: of {row['expected']} expected symbols {counts}. "
            "Load the session again, then materialise `bars` and what follows",
        )


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


def _freshness(lake: Lake, session: date) -> dict[str, str]:
    manifest = _read(lake, Dataset.FRESHNESS, session)
    if manifest.is_empty():
        raise _refused(session, "freshness", "no freshness was judged: materialise `features`")
    if not manifest["session_usable"].all():
        fresh = manifest.filter(pl.col("state") == FRESH).height
        raise _refused(
            session,
            "freshness",
            f"it was not fresh enough, {fresh} of {manifest.height} symbols: see the metadata of `features`",
        )
    return dict(manifest.select("symbol", "state").iter_rows())


def _read(lake: Lake, dataset: Dataset, session: date) -> pl.DataFrame:
    try:
        return lake.read_session(dataset, session)
    except DataQualityError as missing:
        gate = "freshness" if dataset is Dataset.FRESHNESS else "quality"
        raise _refused(session, gate, missing.message) from missing


def _refused(session: date, gate: str, why: str) -> GateNotPassed:
    return GateNotPassed(f"session {session} did not pass the {gate} gate: {why}", session=str(session), gate=gate)

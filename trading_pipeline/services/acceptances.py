"""An operator's word on quarantined bars: accepted with a reason, or the acceptance taken back; never rewritten."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import polars as pl

from trading_pipeline.adapters.store.acceptances import read_acceptances, record_decisions
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.quality.gate import releasable
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.errors import OperatorError

Rows = list[dict[str, Any]]
Audit = Callable[[str, dict[str, Any]], None]
"""Writes the audit row of a verb with its detail; comes before anything changes."""
NEXT_STEP = "applies when the session is judged again: materialise `bars` of it, or of any of the 70 sessions after it"


def accept_bars(
    lake: Lake, symbol: str, first: date, last: date, *, action: OperatorAction, now: datetime, audit: Audit
) -> Rows:
    """Accept the bars of a symbol that are in quarantine from one session to another, both included.

    Judgements are waived, broken rows are not: see `releasable`. The acceptance is of the values that were seen; a bar
    that is restated waits again.

    Returns:
        One row a quarantined bar: `session`, `symbol`, `close`, `reason`, `accepted`, `next`.

    Raises:
        OperatorError: none of these bars is in quarantine, or none of them can be accepted.
    """
    held = _of_symbol(_rows(lake, first, last), symbol).with_columns(
        pl.col("reason").map_elements(releasable, return_dtype=pl.Boolean).alias("releasable")
    )
    free = held.filter("releasable")
    if free.is_empty():
        why = (
            f"only a restatement can release what is broken ({'; '.join(held['reason'].unique().sort())})"
            if held.height
            else "none of its bars is in quarantine there"
        )
        raise OperatorError(f"nothing to accept of {symbol} from {first} to {last}: {why}", symbol=symbol)
    audit("accept_bars", _detail(free, symbol))
    record_decisions(lake, free.rename({"reason": "reasons"}), accepted=True, action=action, now=now)
    return [
        {**_shown(row), "reason": row["reason"], "accepted": row["releasable"]}
        | {"next": NEXT_STEP if row["releasable"] else "only a restatement releases it"}
        for row in held.iter_rows(named=True)
    ]


def revoke_acceptance(
    lake: Lake, symbol: str, first: date, last: date, *, action: OperatorAction, now: datetime, audit: Audit
) -> Rows:
    """Take back the acceptances of a symbol's bars from one session to another, both included.

    Raises:
        OperatorError: none of these bars is accepted.
    """
    accepted = _of_symbol(read_acceptances(lake, start=first, end=last), symbol)
    if accepted.is_empty():
        raise OperatorError(f"no bar of {symbol} from {first} to {last} is accepted", symbol=symbol)
    audit("revoke_acceptance", _detail(accepted, symbol))
    record_decisions(lake, accepted, accepted=False, action=action, now=now)
    return [
        {**_shown(row), "reason": row["reasons"], "accepted": False, "next": NEXT_STEP}
        for row in accepted.iter_rows(named=True)
    ]


def _rows(lake: Lake, first: date, last: date) -> pl.DataFrame:
    if not lake.sessions(Dataset.QUARANTINED_BARS, start=first, end=last):
        raise OperatorError(
            f"no session from {first} to {last} was judged: materialise `bars` of it first", first=str(first)
        )
    return lake.read(Dataset.QUARANTINED_BARS, start=first, end=last)


def _of_symbol(rows: pl.DataFrame, symbol: str) -> pl.DataFrame:
    return rows.filter(pl.col("symbol") == symbol).sort("session")


def _detail(bars: pl.DataFrame, symbol: str) -> dict[str, Any]:
    shown = [{name: str(value) for name, value in _shown(row).items()} for row in bars.to_dicts()]
    return {"symbol": symbol, "bars": shown}


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("session", "symbol", "close", "volume")}

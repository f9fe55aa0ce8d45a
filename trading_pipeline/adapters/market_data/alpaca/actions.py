"""Corporate actions from Alpaca, in the pipeline's own format."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Final

import polars as pl
import structlog

from trading_pipeline.adapters.alpaca.transport import AlpacaReader
from trading_pipeline.core.clock import Clock
from trading_pipeline.core.corporate_actions import ACTION_SCHEMA, ActionKind, require_actions
from trading_pipeline.errors import DataQualityError

LOOK_BACK: Final = timedelta(days=30)
"""How far before the wanted days each call looks again: Alpaca adds actions late and gives no guarantee when."""
LOOK_AHEAD: Final = timedelta(days=10)
"""Splits are announced before their day: what is known early adjusts open orders in time."""
PAGE_ROWS: Final = 1_000
SYMBOLS_A_REQUEST: Final = 400
SOURCE: Final = "alpaca"

log = structlog.get_logger(__name__)
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """How one of Alpaca's lists is read: the kind, the fields of symbol and day, and the numbers of a row."""

    kind: ActionKind
    symbol: str = "symbol"
    day: str = "ex_date"
    other: str | None = None
    ratio: Callable[[Row], float] | None = None
    amount: Callable[[Row], float] | None = None
    distributed: Callable[[Row], float] | None = None


def _number(row: Row, name: str) -> float:
    value = float(row[name])
    if not value > 0:
        msg = f"{name} is {row[name]}"
        raise ValueError(msg)
    return value


def _of(name: str) -> Callable[[Row], float]:
    return lambda row: _number(row, name)


def _quotient(new: str, old: str) -> Callable[[Row], float]:
    return lambda row: _number(row, new) / _number(row, old)


_MERGED: Final = _Form(kind=ActionKind.MERGER, symbol="acquiree_symbol", day="effective_date", other="acquirer_symbol")
_EXCHANGED: Final = _quotient("acquirer_rate", "acquiree_rate")
_FORMS: Final[Mapping[str, _Form]] = {
    "forward_splits": _Form(kind=ActionKind.SPLIT, ratio=_quotient("new_rate", "old_rate")),
    "reverse_splits": _Form(kind=ActionKind.REVERSE_SPLIT, ratio=_quotient("new_rate", "old_rate")),
    "unit_splits": _Form(
        kind=ActionKind.SPIN_OFF,
        symbol="old_symbol",
        day="effective_date",
        other="new_symbol",
        distributed=_quotient("new_rate", "old_rate"),
    ),
    "stock_dividends": _Form(kind=ActionKind.STOCK_DIVIDEND, ratio=lambda row: 1 + _number(row, "rate")),
    "cash_dividends": _Form(kind=ActionKind.CASH_DIVIDEND, amount=_of("rate")),
    "spin_offs": _Form(
        kind=ActionKind.SPIN_OFF,
        symbol="source_symbol",
        other="new_symbol",
        distributed=_quotient("new_rate", "source_rate"),
    ),
    "rights_distributions": _Form(
        kind=ActionKind.RIGHTS, symbol="source_symbol", other="new_symbol", distributed=_of("rate")
    ),
    "cash_mergers": replace(_MERGED, amount=_of("rate")),
    "stock_mergers": replace(_MERGED, distributed=_EXCHANGED),
    "stock_and_cash_mergers": replace(_MERGED, distributed=_EXCHANGED, amount=_of("cash_rate")),
    "name_changes": _Form(kind=ActionKind.SYMBOL_CHANGE, symbol="old_symbol", day="process_date", other="new_symbol"),
    "redemptions": _Form(kind=ActionKind.REDEMPTION, day="process_date", amount=_of("rate")),
    "worthless_removals": _Form(kind=ActionKind.WORTHLESS, day="process_date"),
}


class AlpacaActions:
    """Corporate actions of any US stock, as Alpaca tells them at the time of asking.

    Args:
        reader: an `AlpacaReader` over alpaca-py's corporate actions client.
        clock: the present instant.
    """

    def __init__(self, reader: AlpacaReader, *, clock: Clock) -> None:
        self._reader, self._clock = reader, clock

    def actions(self, start: date, end: date, symbols: Collection[str]) -> pl.DataFrame:
        """Return the actions of these symbols that Alpaca processed or will process around some days.

        From `LOOK_BACK` before `start` to `LOOK_AHEAD` after `end`: what was added late is found by a later call.

        Returns:
            As `ACTION_SCHEMA`, sorted by day and symbol, each action once.

        Raises:
            DataQualityError: a list this code does not know, or a row without what its kind needs.
            ConfigError: credentials or subscription.
            TransientError: Alpaca did not answer.
        """
        ordered, rows = sorted(set(symbols)), list[dict[str, Any]]()
        for at in range(0, len(ordered), SYMBOLS_A_REQUEST):
            chunk = ",".join(ordered[at : at + SYMBOLS_A_REQUEST])
            rows += self._pages({**_span(start, end), "symbols": chunk, "limit": PAGE_ROWS, "sort": "asc"})
        frame = pl.DataFrame(rows, schema=ACTION_SCHEMA).unique("action_id", keep="last", maintain_order=True)
        return require_actions(frame, where="Alpaca's corporate actions").sort("ex_date", "symbol", "action_id")

    def _pages(self, parameters: Mapping[str, str | int]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        seen: set[str] = set()
        token: str | None = None
        while True:
            asked = dict(parameters) if token is None else {**parameters, "page_token": token}
            answer = self._reader.get("/corporate-actions", asked)
            rows += _rows(answer.get("corporate_actions") or {}, self._clock.now())
            token = answer.get("next_page_token") or None
            if token is None:
                return rows
            if token in seen:
                raise DataQualityError("Alpaca's corporate actions: the paging does not end", pages=len(seen))
            seen.add(token)


def _span(start: date, end: date) -> dict[str, str | int]:
    return {"start": (start - LOOK_BACK).isoformat(), "end": (end + LOOK_AHEAD).isoformat()}


def _rows(lists: Mapping[str, Any], known_at: datetime) -> list[dict[str, Any]]:
    unknown = sorted(set(lists) - set(_FORMS))
    if unknown:
        raise DataQualityError(
            f"Alpaca's corporate actions have kinds this version does not know: {', '.join(unknown)}", kinds=unknown
        )
    return [_row(name, action, known_at) for name, actions in lists.items() for action in actions or []]


def _row(name: str, action: Row, known_at: datetime) -> dict[str, Any]:
    form = _FORMS[name]
    try:
        return {
            "action_id": f"{SOURCE}:{action['id']}",
            "symbol": action[form.symbol],
            "ex_date": date.fromisoformat(action[form.day]),
            "kind": form.kind.value,
            "ratio": form.ratio(action) if form.ratio else None,
            "amount": form.amount(action) if form.amount else None,
            "distributed": form.distributed(action) if form.distributed else None,
            "other_symbol": action.get(form.other) if form.other else None,
            "source": SOURCE,
            "known_at": known_at,
        }
    except (KeyError, TypeError, ValueError) as error:
        raise DataQualityError(
            f"Alpaca's {name} have a row that cannot be read ({type(error).__name__}: {error}): {dict(action)}",
            kind=name,
        ) from error

"""Reads Alpaca's quotes, trades and trading states. Their numbers are Decimal or int: no float holds a price."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from trading_pipeline.core.pricing import Quote, Trade
from trading_pipeline.errors import NoPrice

HALTING: Final = frozenset({"D", "I", "J", "K", "M", "P", "X", "Z"})
"""Quote conditions of the CTA tapes that tell of a halt or a delayed opening; UTP uses none of them for two open sides
but `I`, order imbalance, and `X`, order influx, which are no time to take a quote at either."""
NOT_FIRM: Final = frozenset({"L", "N", "U", "W"})
"""Quote conditions of closed and non-firm quotes."""
_HALTED: Final = frozenset({"2", "H", "P"})
_RESUMED: Final = frozenset({"3", "T"})


def quote_of(row: object, source: str) -> Quote | NoPrice:
    """Read a quote; a reason instead of one that is null, has no time zone, or is none."""
    if row is None:
        return NoPrice.EMPTY
    try:
        fields = _fields(row)
        conditions = {str(one) for one in fields.get("c") or ()}
        return Quote(
            bid=_number(fields["bp"]),
            ask=_number(fields["ap"]),
            at=_instant(fields["t"]),
            source=source,
            firm=not conditions & NOT_FIRM,
            halted=bool(conditions & HALTING),
        )
    except _Naive:
        return NoPrice.NAIVE
    except (KeyError, TypeError, ValueError):
        return NoPrice.MALFORMED


def trade_of(row: object, source: str) -> Trade | NoPrice:
    """Read a trade; a reason instead of one that is null, has no time zone, or is none."""
    if row is None:
        return NoPrice.EMPTY
    try:
        fields = _fields(row)
        return Trade(price=_number(fields["p"]), at=_instant(fields["t"]), source=source)
    except _Naive:
        return NoPrice.NAIVE
    except (KeyError, TypeError, ValueError):
        return NoPrice.MALFORMED


def halted_by(row: Mapping[str, Any]) -> bool | None:
    """Tell whether a trading state halts a symbol (True) or lets it trade again (False); None: it says neither."""
    code = str(row.get("sc", ""))
    return True if code in _HALTED else False if code in _RESUMED else None


class _Naive(ValueError):
    """A time without its zone."""


def _fields(row: object) -> Mapping[str, Any]:
    if not isinstance(row, Mapping):
        raise TypeError(type(row).__name__)
    return row


def _number(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise TypeError(type(value).__name__)
    return Decimal(value)


def _instant(text: object) -> datetime:
    if not isinstance(text, str):
        raise TypeError(type(text).__name__)
    instant = datetime.fromisoformat(text)
    if instant.utcoffset() is None:
        raise _Naive(text)
    return instant

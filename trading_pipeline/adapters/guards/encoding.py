"""Translates between the book as plain values and the fields of its two Redis hashes; it must not decide anything."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from trading_pipeline.adapters.guards.book import (
    BookSnapshot,
    BookState,
    RecentIntent,
    Reservation,
    SessionCount,
    SymbolState,
)
from trading_pipeline.adapters.guards.checks import Quantity, exact_ticks, quantity, whole, word
from trading_pipeline.adapters.guards.layouts import ABSENT
from trading_pipeline.adapters.guards.records import (
    ACCOUNT,
    BREAKERS,
    GATES,
    KILL_SWITCHES,
    LIMITS,
    SESSION,
    SIDES,
    SYMBOL,
)
from trading_pipeline.core.money import from_ticks
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.core.risk.halts import Breaker, TradingState
from trading_pipeline.core.risk.limits import LIMIT_NAMES, LimitChange, LimitSet, LimitValue, RiskLimits, in_dollars

Fields = Mapping[str, str]

NO_END = 0
"""How the book writes the end of what does not end by itself."""

_START = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def milliseconds(instant: datetime | None) -> int:
    """Return an aware instant as the book writes it, rounded down; `NO_END` for None."""
    return NO_END if instant is None else (instant - _START) // _MILLISECOND


def changes_text(limits: LimitSet) -> str:
    """Return limits as the book holds them, oldest first: index, value and end, and the symbol if it is one's own.

    Raises:
        ValueError: a limit that is not a whole number of its unit below 2**53, or a symbol that is not one word.
    """
    base = [LimitChange(limit=name, value=limits.limits.value(name)) for name in LIMIT_NAMES]
    return "\n".join(_change_line(one) for one in (*base, *limits.changes) if one.limit in LIMIT_NAMES)


def book_fields(state: BookState) -> dict[str, str | int]:
    """Return the fields of the book hash, records as words; the script packs them and adds what follows from them.

    Raises:
        ValueError: a limit that is not a whole number of its unit below 2**53.
    """
    account = dict.fromkeys((name for name, _ in ACCOUNT.fields), 0) | {
        "kill_switch": KILL_SWITCHES.index(state.kill_switch),
        "breaker": BREAKERS.index(state.breaker),
        "gate": GATES.index(state.gate),
        "epoch": state.epoch,
        "sequence": state.sequence,
        "quiet_until_ms": milliseconds(state.quiet_until),
    }
    fields: dict[str, str | int] = {
        "account": ACCOUNT.as_words(account),
        "kill_switch_reason": state.kill_switch_reason,
        "breaker_reason": state.breaker_reason,
        "gate_reason": state.gate_reason,
        "changes": changes_text(LimitSet(limits=state.limits, changes=state.changes)),
        "cleared": f"{state.cleared_last_second} {state.cleared_last_minute}",
    }
    for session, count in state.sessions.items():
        words = SESSION.as_words({"orders": count.orders, "traded": count.notional_ticks})
        fields[f"session:{session.isoformat()}"] = words
    symbols = state.symbols()
    for name in sorted({*symbols, *state.blocked, *state.quarantined}):
        fields[f"symbol:{name}"] = _symbol_words(name, symbols.get(name, SymbolState()), state)
    fields |= {f"intent:{number}": _intent_words(one) for number, one in enumerate(state.intents)}
    return fields | {f"order:{held.client_order_id}": _order_words(held) for held in state.reservations}


def history_fields(state: BookState) -> dict[str, str | int]:
    """Return the fields of the history hash: the epoch it belongs to and the executions already counted."""
    return {"epoch": state.epoch, **{f"execution:{one}": state.sequence for one in state.executions}}


def flat(fields: Mapping[str, str | int]) -> list[str | int]:
    """Return field and value in turn, as HSET wants them."""
    return [part for pair in fields.items() for part in pair]


def snapshot_from(state: str, cause: str, breaker: int, pairs: Iterable[str]) -> BookSnapshot:
    """Read a snapshot from the script's reply: the derived states, and the book hash as field and value in turn.

    Raises:
        ValueError: records of another format, or of states that are none.
    """
    walk = iter(pairs)
    fields = dict(zip(walk, walk, strict=True))
    account = ACCOUNT.from_words(fields["account"])
    quiet = BREAKERS[breaker] is Breaker.QUIET_PERIOD
    return BookSnapshot(
        state=TradingState(state),
        cause=VerdictCode(cause) if cause else None,
        epoch=account["epoch"],
        sequence=account["sequence"],
        initialised_at=_instant(int(fields["initialised_at_ms"])),
        limits=_limits(LIMITS.from_words(fields["limits"])),
        limit_set=_limit_set(fields["changes"].split("\n")),
        kill_switch=KILL_SWITCHES[account["kill_switch"]],
        kill_switch_reason=fields["kill_switch_reason"],
        breaker=BREAKERS[breaker],
        breaker_reason=fields["breaker_reason"],
        gate=GATES[account["gate"]],
        gate_reason=fields["gate_reason"],
        quiet_until=_instant(account["quiet_until_ms"]) if quiet else None,
        gross_ticks=account["gross"],
        long_ticks=account["long"],
        short_ticks=account["short"],
        net_high_ticks=account["net_high"],
        net_low_ticks=account["net_low"],
        symbols_over_limits=account["symbols_over"],
        symbols=dict(sorted(_symbols(fields))),
        reservations={order: _reservation(order, text) for order, text in _named(fields, "order:")},
        sessions={
            date.fromisoformat(day): _count(SESSION.from_words(words)) for day, words in _named(fields, "session:")
        },
    )


def _symbol_words(name: str, one: SymbolState, book: BookState) -> str:
    mine = [order for order in book.reservations if order.symbol == name]
    numbers = dict.fromkeys((field for field, _ in SYMBOL.fields), ABSENT) | {
        "mark": one.mark_ticks,
        "highest_buy": max((order.reach_ticks for order in mine if order.side is Side.BUY), default=0),
        "lowest_sell": min((order.reach_ticks for order in mine if order.side is Side.SELL), default=0),
        "over_limit": 0,
        "blocked": int(name in book.blocked),
    }
    for field in ("position", "pending_buy", "pending_sell"):
        numbers[field], numbers[f"{field}_nanos"] = quantity(f"{field} of {name}", getattr(one, field))
    if name in book.quarantined:
        numbers["quarantined_until_ms"] = milliseconds(book.quarantined[name])
    return SYMBOL.as_words(numbers)


def _order_words(held: Reservation) -> str:
    remaining = quantity("remaining", held.remaining)
    limit = ABSENT if held.limit_ticks is None else held.limit_ticks
    numbers = (*remaining, held.sequence, held.price_ticks, limit, SIDES.index(held.side), held.qty)
    return " ".join((*map(str, numbers), held.trade_session.isoformat(), held.symbol, held.payload_digest))


def _intent_words(one: RecentIntent) -> str:
    kind = one.age_us, SIDES.index(one.side), one.qty, one.trade_session.isoformat(), one.symbol
    return " ".join((*map(str, kind), one.client_order_id, one.strategy_id))


def _named(fields: Fields, prefix: str) -> Iterator[tuple[str, str]]:
    return ((name.removeprefix(prefix), value) for name, value in fields.items() if name.startswith(prefix))


def _symbols(fields: Fields) -> Iterator[tuple[str, SymbolState]]:
    for name, words in _named(fields, "symbol:"):
        numbers = SYMBOL.from_words(words)
        until = numbers["quarantined_until_ms"]
        state = SymbolState(
            position=Quantity(numbers["position"], numbers["position_nanos"]).decimal,
            pending_buy=Quantity(numbers["pending_buy"], numbers["pending_buy_nanos"]).decimal,
            pending_sell=Quantity(numbers["pending_sell"], numbers["pending_sell_nanos"]).decimal,
            mark_ticks=numbers["mark"],
            blocked=numbers["blocked"] != 0,
            quarantined=until != ABSENT,
            quarantined_until=None if until in {ABSENT, NO_END} else _instant(until),
        )
        if state != SymbolState():  # a limit of its own is shown among the limits
            yield name, state


def _count(numbers: Mapping[str, int]) -> SessionCount:
    return SessionCount(numbers["orders"], numbers["traded"])


def _reservation(client_order_id: str, words: str) -> Reservation:
    *numbers, session, symbol, digest = words.split(" ")
    shares, nanos, sequence, price, limit, side, qty = map(int, numbers)
    return Reservation(
        client_order_id=client_order_id,
        payload_digest=digest,
        symbol=symbol,
        side=SIDES[side],
        qty=qty,
        remaining=Quantity(shares, nanos).decimal,
        sequence=sequence,
        trade_session=date.fromisoformat(session),
        price_ticks=price,
        limit_ticks=None if limit == ABSENT else limit,
    )


def _stored(name: str, value: LimitValue) -> int | None:
    if isinstance(value, Decimal):
        return exact_ticks(name, value)
    return None if value is None else whole(name, value)


def _read(name: str, stored: int | None) -> LimitValue:
    return from_ticks(stored) if stored is not None and in_dollars(name) else stored


def _limits(numbers: Mapping[str, int]) -> RiskLimits:
    return RiskLimits().with_values(
        {name: _read(name, None if stored == ABSENT else stored) for name, stored in numbers.items()}
    )


def _change_line(change: LimitChange) -> str:
    stored = _stored(change.limit, change.value)
    value = "-" if stored is None else stored
    line = f"{LIMIT_NAMES.index(change.limit) + 1} {value} {milliseconds(change.until)}"
    return line if change.symbol is None else f"{line} {word('symbol', change.symbol)}"


def _limit_set(lines: list[str]) -> LimitSet:
    changes = [_change(*line.split(" ")) for line in lines]
    base = {one.limit: one.value for one in changes[: len(LIMIT_NAMES)]}
    return LimitSet(limits=RiskLimits().with_values(base), changes=tuple(changes[len(LIMIT_NAMES) :]))


def _change(index: str, value: str, ends: str, symbol: str | None = None) -> LimitChange:
    name = LIMIT_NAMES[int(index) - 1]
    return LimitChange(
        limit=name,
        symbol=symbol,
        value=_read(name, None if value == "-" else int(value)),
        until=None if int(ends) == NO_END else _instant(int(ends)),
    )


def _instant(ms: int) -> datetime:
    return _START + ms * _MILLISECOND

"""Translates between the book as plain values and the fields of its two Redis hashes; it must not decide anything."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from trading_pipeline.adapters.guards.book import (
    BookSnapshot,
    BookState,
    Reservation,
    SessionCount,
    SymbolState,
)
from trading_pipeline.adapters.guards.checks import Quantity, exact_ticks, filled, quantity, whole, word
from trading_pipeline.core.money import LARGEST_EXACT_INTEGER, from_ticks
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import ClearanceRequest, VerdictCode
from trading_pipeline.core.risk.halts import Breaker, Gate, KillSwitch, TradingState
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
    """Return limits as the book holds them: a list of index, symbol, value and end, oldest first.

    Raises:
        ValueError: a limit that is not a whole number of its unit below 2**53, or a symbol that is not one word.
    """
    base = [LimitChange(limit=name, value=limits.limits.value(name)) for name in LIMIT_NAMES]
    rows = [
        (
            LIMIT_NAMES.index(one.limit) + 1,
            "" if one.symbol is None else word("symbol", one.symbol),
            _stored(one.limit, one.value),
            milliseconds(one.until),
        )
        for one in (*base, *limits.changes)
        if one.limit in LIMIT_NAMES
    ]
    return json.dumps(rows, separators=(",", ":"))


def book_fields(state: BookState) -> dict[str, str | int]:
    """Return the fields of the book hash; the script adds what follows from them.

    Raises:
        ValueError: a limit that is not a whole number of its unit below 2**53.
    """
    fields: dict[str, str | int] = {
        "epoch": state.epoch,
        "sequence": state.sequence,
        "kill_switch": state.kill_switch.value,
        "kill_switch_reason": state.kill_switch_reason,
        "breaker": state.breaker.value,
        "breaker_reason": state.breaker_reason,
        "gate": state.gate.value,
        "gate_reason": state.gate_reason,
        "changes": changes_text(LimitSet(limits=state.limits, changes=state.changes)),
    }
    if state.quiet_until is not None:
        fields["quiet_until_ms"] = milliseconds(state.quiet_until)
    for session, count in state.sessions.items():
        fields[f"session:{session.isoformat()}"] = json.dumps([count.orders, count.notional_ticks])
    for name, one in state.symbols().items():
        fields[f"symbol:{name}"] = _symbol_text(name, one, state.reservations)
    fields |= {f"blocked:{name}": 1 for name in state.blocked}
    fields |= {f"quarantined:{name}": milliseconds(until) for name, until in state.quarantined.items()}
    return fields | {f"order:{held.client_order_id}": _order_text(held) for held in state.reservations}


def history_fields(state: BookState) -> dict[str, str | int]:
    """Return the fields of the history hash: the epoch it belongs to and the executions already counted."""
    return {"epoch": state.epoch, **{f"execution:{one}": state.sequence for one in state.executions}}


def flat(fields: Mapping[str, str | int]) -> list[str | int]:
    """Return field and value in turn, as HSET wants them."""
    return [part for pair in fields.items() for part in pair]


def snapshot_from(state: str, cause: str, breaker: str, pairs: Iterable[str]) -> BookSnapshot:
    """Read a snapshot from the script's reply: the derived states, and the book hash as field and value in turn."""
    walk = iter(pairs)
    fields = dict(zip(walk, walk, strict=True))
    quiet = Breaker(breaker) is Breaker.QUIET_PERIOD
    gross, long, short, high, low, over = json.loads(fields["totals"])
    return BookSnapshot(
        state=TradingState(state),
        cause=VerdictCode(cause) if cause else None,
        epoch=int(fields["epoch"]),
        sequence=int(fields["sequence"]),
        initialised_at=_instant(int(fields["initialised_at_ms"])),
        limits=_limits(json.loads(fields["limits"])),
        limit_set=_limit_set(json.loads(fields["changes"])),
        kill_switch=KillSwitch(fields["kill_switch"]),
        kill_switch_reason=fields["kill_switch_reason"],
        breaker=Breaker(breaker),
        breaker_reason=fields["breaker_reason"],
        gate=Gate(fields["gate"]),
        gate_reason=fields["gate_reason"],
        quiet_until=_instant(int(fields["quiet_until_ms"])) if quiet else None,
        gross_ticks=gross,
        long_ticks=long,
        short_ticks=short,
        net_high_ticks=high,
        net_low_ticks=low,
        symbols_over_limits=over,
        symbols=_symbols(fields),
        reservations={order: _reservation(order, text) for order, text in _named(fields, "order:")},
        sessions={date.fromisoformat(day): SessionCount(*json.loads(text)) for day, text in _named(fields, "session:")},
    )


def request_text(request: ClearanceRequest) -> str:
    """Return a request as the words `clear.lua` reads, "-" for what is not known.

    Raises:
        ValueError: an id, digest or symbol that is not one word, an empty strategy, or a number that is not whole, of
            its sign and below 2**53.
    """
    market = request.market
    words = (
        word("client_order_id", request.client_order_id),
        word("payload_digest", request.payload_digest),
        word("symbol", request.symbol),
        Side(request.side).value,
        request.trade_session.isoformat(),
        "1" if request.flatten else "0",
        str(whole("qty", request.qty, at_least=1)),
        _known("reference_ticks", market.reference_ticks, at_least=1),
        _known("reference_age_seconds", market.reference_age_seconds),
        _known("adv_shares", market.adv_shares),
        _known("equity_ticks", market.equity_ticks, at_least=1 - LARGEST_EXACT_INTEGER),
        _known("limit_ticks", request.limit_ticks, at_least=1),
        str(whole("repeat", request.repeat)),
        str(whole("epoch", request.epoch)),
        str(whole("min_sequence", request.min_sequence)),
        filled("strategy_id", request.strategy_id),
    )
    return " ".join(words)


def _known(name: str, value: int | None, *, at_least: int = 0) -> str:
    return "-" if value is None else str(whole(name, value, at_least=at_least))


def _symbol_text(name: str, one: SymbolState, held: Iterable[Reservation]) -> str:
    mine = [order for order in held if order.symbol == name]
    highest_buy = max((order.reach_ticks for order in mine if order.side is Side.BUY), default=0)
    lowest_sell = min((order.reach_ticks for order in mine if order.side is Side.SELL), default=0)
    shares = (*quantity(name, one.position), *quantity(name, one.pending_buy), *quantity(name, one.pending_sell))
    return json.dumps([*shares, one.mark_ticks, highest_buy, lowest_sell, 0])


def _order_text(held: Reservation) -> str:
    remaining = quantity("remaining", held.remaining)
    numbers = f"{held.qty} {remaining.shares} {remaining.nanos} {held.sequence}"
    prices = f"{held.price_ticks} {'-' if held.limit_ticks is None else held.limit_ticks}"
    day = held.trade_session.isoformat()
    return f"{held.symbol} {held.side.value} {numbers} {day} {prices} {held.payload_digest}"


def _named(fields: Fields, prefix: str) -> Iterator[tuple[str, str]]:
    return ((name.removeprefix(prefix), value) for name, value in fields.items() if name.startswith(prefix))


def _symbols(fields: Fields) -> dict[str, SymbolState]:
    numbers = {name: json.loads(text) for name, text in _named(fields, "symbol:")}
    blocked = {name for name, _ in _named(fields, "blocked:")}
    quarantined = {name: int(text) for name, text in _named(fields, "quarantined:")}
    return {
        name: _symbol(
            numbers.get(name, [0] * 10),
            blocked=name in blocked,
            quarantined=name in quarantined,
            until=quarantined.get(name, NO_END),
        )
        for name in sorted({*numbers, *blocked, *quarantined})
    }


def _symbol(numbers: list[int], *, blocked: bool, quarantined: bool, until: int) -> SymbolState:
    return SymbolState(
        position=Quantity(numbers[0], numbers[1]).decimal,
        pending_buy=Quantity(numbers[2], numbers[3]).decimal,
        pending_sell=Quantity(numbers[4], numbers[5]).decimal,
        mark_ticks=numbers[6],
        blocked=blocked,
        quarantined=quarantined,
        quarantined_until=None if until == NO_END else _instant(until),
    )


def _reservation(client_order_id: str, text: str) -> Reservation:
    symbol, side, qty, shares, nanos, sequence, session, price, limit, digest = text.split(" ")
    return Reservation(
        client_order_id=client_order_id,
        payload_digest=digest,
        symbol=symbol,
        side=Side(side),
        qty=int(qty),
        remaining=Quantity(int(shares), int(nanos)).decimal,
        sequence=int(sequence),
        trade_session=date.fromisoformat(session),
        price_ticks=int(price),
        limit_ticks=None if limit == "-" else int(limit),
    )


def _stored(name: str, value: LimitValue) -> int | None:
    if isinstance(value, Decimal):
        return exact_ticks(name, value)
    return None if value is None else whole(name, value)


def _read(name: str, stored: int | None) -> LimitValue:
    return from_ticks(stored) if stored is not None and in_dollars(name) else stored


def _limits(numbers: list[int | None]) -> RiskLimits:
    return RiskLimits().with_values({name: _read(name, one) for name, one in zip(LIMIT_NAMES, numbers, strict=True)})


def _limit_set(rows: list[tuple[int, str, int | None, int]]) -> LimitSet:
    changes = [
        LimitChange(
            limit=LIMIT_NAMES[index - 1],
            symbol=symbol or None,
            value=_read(LIMIT_NAMES[index - 1], stored),
            until=None if ends == NO_END else _instant(ends),
        )
        for index, symbol, stored, ends in rows
    ]
    base = {one.limit: one.value for one in changes[: len(LIMIT_NAMES)]}
    return LimitSet(limits=RiskLimits().with_values(base), changes=tuple(changes[len(LIMIT_NAMES) :]))


def _instant(ms: int) -> datetime:
    return _START + ms * _MILLISECOND

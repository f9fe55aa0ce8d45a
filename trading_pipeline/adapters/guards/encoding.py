"""Translates between the book as plain values and the fields of its two Redis hashes; it must not decide anything."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta

from trading_pipeline.adapters.guards.book import BookSnapshot, BookState, Reservation, SymbolState
from trading_pipeline.adapters.guards.checks import exact_ticks, whole
from trading_pipeline.core.money import from_ticks
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.halts import Breaker, KillSwitch, TradingState
from trading_pipeline.core.risk.limits import RiskLimits

Fields = Mapping[str, str]

_START = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_MS_A_SECOND = 1000


def limit_fields(limits: RiskLimits) -> dict[str, int]:
    """Return the limits as fields of the book: shares, 1/10,000 dollar, milliseconds.

    Raises:
        ValueError: a limit that is not a whole number of its unit below 2**53.
    """
    fields = {
        "max_position_shares": limits.max_position_shares,
        "max_position_ticks": exact_ticks("max_position_notional", limits.max_position_notional),
        "max_gross_ticks": exact_ticks("max_gross_notional", limits.max_gross_notional),
        "max_order_shares": limits.max_order_shares,
        "max_order_ticks": exact_ticks("max_order_notional", limits.max_order_notional),
        "max_orders_per_session": limits.max_orders_per_session,
        "quiet_period_ms": limits.quiet_period_seconds * _MS_A_SECOND,
    }
    return {name: whole(name, value) for name, value in fields.items()}


def book_fields(state: BookState) -> dict[str, str | int]:
    """Return the fields of the book hash.

    Raises:
        ValueError: a limit that is not a whole number of its unit below 2**53.
    """
    symbols = state.symbols()
    fields: dict[str, str | int] = {
        "epoch": state.epoch,
        "sequence": state.sequence,
        "kill_switch": state.kill_switch.value,
        "kill_switch_reason": state.kill_switch_reason,
        "breaker": state.breaker.value,
        "breaker_reason": state.breaker_reason,
        "gross_ticks": sum(one.exposure_ticks for one in symbols.values()),
        **limit_fields(state.limits),
    }
    if state.quiet_until is not None:
        fields["quiet_until_ms"] = (state.quiet_until - _START) // _MILLISECOND
    fields |= {f"session:{session.isoformat()}": count for session, count in state.orders_per_session.items()}
    for name, one in symbols.items():
        fields |= {f"symbol:{name}:{key}": value for key, value in _symbol_fields(one)}
    return fields | {f"order:{held.client_order_id}": _order_text(held) for held in state.reservations}


def history_fields(state: BookState) -> dict[str, str | int]:
    """Return the fields of the history hash: the epoch it belongs to and the executions already counted."""
    return {"epoch": state.epoch, **{f"execution:{one}": state.sequence for one in state.executions}}


def flat(fields: Mapping[str, str | int]) -> list[str | int]:
    """Return field and value in turn, as HSET wants them."""
    return [part for pair in fields.items() for part in pair]


def snapshot_from(state: str, breaker: str, pairs: Iterable[str]) -> BookSnapshot:
    """Read a snapshot from the script's reply: the derived states, and the book hash as field and value in turn."""
    walk = iter(pairs)
    fields = dict(zip(walk, walk, strict=True))
    quiet = Breaker(breaker) is Breaker.QUIET_PERIOD
    return BookSnapshot(
        state=TradingState(state),
        epoch=int(fields["epoch"]),
        sequence=int(fields["sequence"]),
        initialised_at=_instant(fields["initialised_at_ms"]),
        limits=_limits(fields),
        kill_switch=KillSwitch(fields["kill_switch"]),
        kill_switch_reason=fields["kill_switch_reason"],
        breaker=Breaker(breaker),
        breaker_reason=fields["breaker_reason"],
        quiet_until=_instant(fields["quiet_until_ms"]) if quiet else None,
        gross_ticks=int(fields["gross_ticks"]),
        symbols=_symbols(fields),
        reservations={order: _reservation(order, text) for order, text in _named(fields, "order:")},
        orders_per_session={date.fromisoformat(day): int(count) for day, count in _named(fields, "session:")},
    )


def _symbol_fields(one: SymbolState) -> Iterator[tuple[str, int]]:
    yield "position", one.position
    yield "buy", one.pending_buy
    yield "sell", one.pending_sell
    yield "mark", one.mark_ticks
    yield "exposure", one.exposure_ticks
    if one.blocked:
        yield "blocked", 1


def _order_text(held: Reservation) -> str:
    numbers = f"{held.qty} {held.remaining} {held.sequence}"
    return f"{held.symbol} {held.side.value} {numbers} {held.trade_session.isoformat()} {held.payload_digest}"


def _named(fields: Fields, prefix: str) -> Iterator[tuple[str, str]]:
    return ((name.removeprefix(prefix), value) for name, value in fields.items() if name.startswith(prefix))


def _symbols(fields: Fields) -> dict[str, SymbolState]:
    groups: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for name, value in _named(fields, "symbol:"):
        symbol, _, key = name.rpartition(":")
        groups[symbol][key] = value
    return {symbol: _symbol(one) for symbol, one in groups.items()}


def _symbol(one: Fields) -> SymbolState:
    return SymbolState(
        position=int(one.get("position", 0)),
        pending_buy=int(one.get("buy", 0)),
        pending_sell=int(one.get("sell", 0)),
        mark_ticks=int(one.get("mark", 0)),
        blocked="blocked" in one,
    )


def _reservation(client_order_id: str, text: str) -> Reservation:
    symbol, side, qty, remaining, sequence, session, digest = text.split(" ")
    return Reservation(
        client_order_id=client_order_id,
        payload_digest=digest,
        symbol=symbol,
        side=Side(side),
        qty=int(qty),
        remaining=int(remaining),
        sequence=int(sequence),
        trade_session=date.fromisoformat(session),
    )


def _limits(fields: Fields) -> RiskLimits:
    return RiskLimits(
        max_position_shares=int(fields["max_position_shares"]),
        max_position_notional=from_ticks(int(fields["max_position_ticks"])),
        max_gross_notional=from_ticks(int(fields["max_gross_ticks"])),
        max_order_shares=int(fields["max_order_shares"]),
        max_order_notional=from_ticks(int(fields["max_order_ticks"])),
        max_orders_per_session=int(fields["max_orders_per_session"]),
        quiet_period_seconds=int(fields["quiet_period_ms"]) // _MS_A_SECOND,
    )


def _instant(milliseconds: str) -> datetime:
    return _START + int(milliseconds) * _MILLISECOND

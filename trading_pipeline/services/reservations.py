"""What the book reserves for orders, as the ledger has them: it is written and compared from here alone."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import ROUND_CEILING, Decimal

from trading_pipeline.adapters.guards.book import BookSnapshot, Reservation
from trading_pipeline.adapters.store.ledger import Chain, ExternalOrder, OrderRecord, chains_of
from trading_pipeline.core.money import from_ticks, to_ticks
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import limit_ticks
from trading_pipeline.services.differences import Difference, DifferenceKind, LedgerView, plain

_OF_OTHERS = "external"
"""In place of a digest: an order of others has none."""

_Term = int | str | date | None


def reservation_of(chain: Chain, newest_sequence: int) -> Reservation:
    """Return the reservation of a chain: what any live order of it may still fill, at the worst price of them."""
    intent = chain.newest.intent
    limits = [limit_ticks(order.intent) for order in chain.live]
    worst = max if intent.side is Side.BUY else min
    bounded = [limit for limit in limits if limit is not None]
    return Reservation(
        client_order_id=chain.holder,
        payload_digest=chain.newest.payload_digest,
        symbol=intent.symbol,
        side=intent.side,
        qty=max(order.intent.qty for order in chain.live),
        remaining=chain.held,
        sequence=chain.newest.guard_sequence or newest_sequence,
        trade_session=intent.trade_session,
        price_ticks=max(order.judged_ticks for order in chain.live),
        limit_ticks=worst(bounded) if len(bounded) == len(limits) else None,
    )


def reservation_of_others(order: ExternalOrder, *, sequence: int, trade_session: date) -> Reservation:
    """Return the reservation of somebody else's order: its exposure is held like that of one of ours."""
    return Reservation(
        client_order_id=order.broker_order_id,
        payload_digest=_OF_OTHERS,
        symbol=order.symbol,
        side=order.side,
        qty=int(order.qty.to_integral_value(rounding=ROUND_CEILING)),
        remaining=order.remaining,
        sequence=sequence,
        trade_session=trade_session,
        price_ticks=to_ticks(order.price),
    )


def notional_held(session: date, held: Iterable[Reservation]) -> int:
    """Return what reservations of our orders may still add to a trade session, in 1/10,000 dollar.

    It is what the guard takes back when it is told that they end: a fraction of a share stays in the count.
    """
    ours = (one for one in held if one.trade_session == session and one.payload_digest != _OF_OTHERS)
    return sum(int(one.remaining) * one.price_ticks for one in ours)


def reservation_differences(ledger: LedgerView, book: BookSnapshot) -> Iterator[Difference]:
    """Compare what the book holds with the orders that may still fill, ours and others'."""
    untold: defaultdict[str, Decimal] = defaultdict(Decimal)
    for row in ledger.unposted:
        untold[row["holder"]] += row["qty"]
    live = {chain.holder: chain for chain in chains_of(ledger.live, ledger.members)}
    # Until the guard was told of an end in a chain, it may hold what it held for the larger of two orders.
    for order_id, chain in ((one, chain) for one, chain in live.items() if one not in ledger.unsettled):
        order, held = chain.newest, book.reservations.get(order_id)
        remaining = chain.held + untold[order_id]
        wanted = f"{order.intent.side} {plain(remaining)} {order.intent.symbol}"
        if held is None:
            if remaining > 0:
                yield _reservation(DifferenceKind.RESERVATION_MISSING, order_id, order.intent.symbol, wanted, "none")
        elif _held(held) != (order.intent.symbol, order.intent.side, remaining):
            yield _reservation(
                DifferenceKind.RESERVATION_DIFFERS, order_id, order.intent.symbol, wanted, _holding(held)
            )
        else:
            yield from _other_terms(held, _terms(ledger.members.get(order_id, chain.live), held))
    yield from _reserved_for_others(ledger, book)
    untold_ends = {*ledger.unreleased, *ledger.unsettled, *untold, *ledger.external}
    for order_id, held in book.reservations.items():
        if order_id not in live and order_id not in untold_ends:
            yield _reservation(
                DifferenceKind.RESERVATION_SURPLUS, order_id, held.symbol, "not cleared, or over", _holding(held)
            )


def _reserved_for_others(ledger: LedgerView, book: BookSnapshot) -> Iterator[Difference]:
    # Their session is that of the day on which the book was written, and so is not compared.
    for order_id, other in ledger.external.items():
        held = book.reservations.get(order_id)
        if held is None or _held(held) != (other.symbol, other.side, other.remaining):
            wanted, there = f"{other.side} {plain(other.remaining)} {other.symbol}", _holding(held) if held else "none"
            kind = DifferenceKind.RESERVATION_DIFFERS if held else DifferenceKind.RESERVATION_MISSING
            yield _reservation(kind, order_id, other.symbol, wanted, there)
        else:
            held_as = reservation_of_others(other, sequence=held.sequence, trade_session=held.trade_session)
            yield from _other_terms(held, {name: {value} for name, value in _figures(held_as).items()})


def _terms(orders: Sequence[OrderRecord], held: Reservation) -> dict[str, set[_Term]]:
    """Say what a reservation may be held for: each figure with the values it may have.

    A single order says them all. Of a chain the guard keeps those of the newest order it cleared, whatever became of
    that, the highest price it judged one at, and of the shares no more than any of its orders asks for; a book that was
    written anew has those of its live orders.
    """
    terms: dict[str, set[_Term]] = {
        "limit": {limit_ticks(one.intent) for one in orders},
        "digest": {one.payload_digest for one in orders},
        "session": {one.intent.trade_session for one in orders},
    }
    largest = max(one.intent.qty for one in orders)
    terms["qty"] = {largest if len(orders) == 1 else min(held.qty, largest)}
    if all(one.judged_price is not None for one in orders):
        terms["price"] = {one.judged_ticks for one in orders}
    return terms


def _figures(held: Reservation) -> dict[str, _Term]:
    return {
        "qty": held.qty,
        "price": held.price_ticks,
        "limit": held.limit_ticks,
        "digest": held.payload_digest,
        "session": held.trade_session,
    }


def _other_terms(held: Reservation, terms: Mapping[str, Collection[_Term]]) -> Iterator[Difference]:
    there = _figures(held)
    apart = [name for name in there if name in terms and there[name] not in terms[name]]
    if apart:
        wanted = ", ".join(f"{name} {' or '.join(sorted(_shown(name, one) for one in terms[name]))}" for name in apart)
        said = ", ".join(f"{name} {_shown(name, there[name])}" for name in apart)
        yield _reservation(DifferenceKind.RESERVATION_TERMS, held.client_order_id, held.symbol, wanted, said)


def _shown(name: str, value: _Term) -> str:
    if value is None:
        return "none"
    return f"{from_ticks(value)}" if isinstance(value, int) and name != "qty" else str(value)


def _reservation(kind: DifferenceKind, order_id: str, symbol: str, ledger: str, book: str) -> Difference:
    return Difference(kind=kind, subject=order_id, symbol=symbol, ledger=ledger, book=book)


def _held(held: Reservation) -> tuple[str, Side, Decimal]:
    return held.symbol, held.side, Decimal(held.remaining)


def _holding(held: Reservation) -> str:
    return f"{held.side} {plain(Decimal(held.remaining))} {held.symbol}"

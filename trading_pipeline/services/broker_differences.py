"""Ledger and broker side by side: each difference by its name. Compares only; reads nothing."""

from collections.abc import Iterator
from decimal import Decimal

from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.services.differences import (
    BrokerView,
    Difference,
    DifferenceKind,
    LedgerView,
    apart,
    plain,
    signed_sums,
)

_NONE = Decimal(0)
_AT_THE_BROKER = frozenset({OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED})


def broker_differences(ledger: LedgerView, broker: BrokerView) -> Iterator[Difference]:
    """Compare the ledger with the broker."""
    yield from _executions(broker)
    for one in broker.unbooked:
        yield Difference(
            kind=DifferenceKind.EXECUTION_NOT_BOOKED,
            subject=one.fill.execution_id,
            symbol=one.fill.symbol,
            ledger="unknown",
            broker=f"{one.fill.side} {plain(one.fill.qty)} {one.fill.symbol}",
        )
    unbooked = signed_sums(_to_come(ledger, broker))
    for symbol, (held, there) in apart(ledger.positions, broker.positions):
        if held + unbooked.get(symbol, _NONE) != there:
            yield Difference(
                kind=DifferenceKind.POSITION, subject=symbol, symbol=symbol, ledger=plain(held), broker=plain(there)
            )
    yield from _orders(ledger, broker)


def _to_come(ledger: LedgerView, broker: BrokerView) -> Iterator[tuple[str, str, Decimal]]:
    """What booking the broker's executions would add: those of inferred shares take their place first."""
    inferred = dict(ledger.inferred)
    for one in broker.unbooked:
        known = min(inferred.get(one.client_order_id, _NONE), one.fill.qty)
        inferred[one.client_order_id] = inferred.get(one.client_order_id, _NONE) - known
        yield one.fill.symbol, one.fill.side, one.fill.qty - known


def _executions(broker: BrokerView) -> Iterator[Difference]:
    """One execution, two contents: the broker has corrected its record, or we booked another one."""
    for one in broker.executions:
        fill, row = one.fill, broker.booked.get(one.fill.execution_id)
        if row is None:
            continue
        said = [
            f"{side} {plain(qty)} {symbol} at {price:f}"
            for side, qty, symbol, price in (
                (row["side"], row["qty"], row["symbol"], row["price"].normalize()),
                (fill.side, fill.qty, fill.symbol, fill.price.normalize()),
            )
        ]
        if said[0] != said[1]:
            yield Difference(
                kind=DifferenceKind.EXECUTION_DIFFERS,
                subject=fill.execution_id,
                symbol=fill.symbol,
                ledger=said[0],
                broker=said[1],
            )


def _orders(ledger: LedgerView, broker: BrokerView) -> Iterator[Difference]:
    live = {order.client_order_id: order for order in ledger.live}
    for working in broker.working:
        order = live.get(working.client_order_id)
        there = f"{working.side} {plain(working.qty)} {working.symbol} open"
        state = order.state if order is not None else ledger.known.get(working.client_order_id)
        subject = working.client_order_id or working.broker_order_id
        if state is None and working.broker_order_id not in ledger.external:
            yield _order(DifferenceKind.ORDER_UNKNOWN_TO_LEDGER, subject, working.symbol, "unknown", there)
        elif state is not None and state not in _AT_THE_BROKER:
            yield _order(DifferenceKind.ORDER_STATE, subject, working.symbol, state, there)
    for order_id, reported in broker.ended.items():
        order = live[order_id]
        if reported is not None and reported.state.terminal:
            yield _order(DifferenceKind.ORDER_STATE, order_id, order.intent.symbol, order.state, f"{reported.state}")
        elif reported is None and order.state in _AT_THE_BROKER:
            yield _order(
                DifferenceKind.ORDER_UNKNOWN_TO_BROKER, order_id, order.intent.symbol, order.state, "never seen"
            )


def _order(kind: DifferenceKind, order_id: str, symbol: str, ledger: str, broker: str) -> Difference:
    return Difference(kind=kind, subject=order_id, symbol=symbol, ledger=ledger, broker=broker)

"""What the broker did, brought home: fills booked and posted, ended orders released. Safe to repeat at any time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import partial

import structlog
from psycopg.rows import DictRow

from trading_pipeline.adapters.broker.protocol import BrokerOrder, Execution
from trading_pipeline.adapters.guards.telling import Lowering, Posting, Told
from trading_pipeline.adapters.store.ledger import BookRecord, OrderRecord, Report
from trading_pipeline.core.batches import batches
from trading_pipeline.core.executions import Cumulative
from trading_pipeline.core.money import to_ticks
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.orders.states import OrderState, Source
from trading_pipeline.errors import (
    ExecutionConflict,
    IllegalTransition,
    OrderConflict,
    PipelineError,
    TradingHalted,
    TransientError,
)
from trading_pipeline.services.account import LATE_SESSIONS, TradingAccount
from trading_pipeline.services.looking import Look, look
from trading_pipeline.services.monitor import watch_fills
from trading_pipeline.services.surprises import (
    report_conflict,
    report_fills,
    report_larger,
    report_late_shares,
    report_misfit,
    report_open_orders,
)

BOOKED_TOGETHER = 512
"""Executions committed together. More would hold the locks of their positions longer."""
MOVED_TOGETHER = 256
"""Orders brought together to where the broker has them."""
TOLD_TOGETHER = 1_024
"""Fills or ends in one message to the guard."""

Misfit = tuple[str, str, OrderConflict]
"""An execution the guard does not take, its symbol, and why."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """What became of executions: those booked now, and those that contradict what is booked under their ids."""

    new: list[Execution] = field(default_factory=list)
    refused: list[Execution] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What one settlement changed: executions booked now, and orders that ended now."""

    booked: tuple[Execution, ...]
    ended: tuple[str, ...]


def settle(account: TradingAccount, session: date) -> Settlement:
    """Bring the broker to the close of a session and book all it did with our orders, alone on the account."""
    with account.ledger.lane(account.account):
        return settle_in_lane(account, session)


def settle_in_lane(account: TradingAccount, session: date, *, must_judge: bool = True) -> Settlement:
    """Settle while the caller holds the account's lane.

    Each execution is committed to the ledger before the guard is told. A crash in between leaves it unposted, and the
    next settlement tells the guard, which knows executions by their id. The same goes for ended orders, for losses,
    which the risk monitor judges before anything else is decided, and for surprises. `must_judge`: see `judge_losses`.
    """
    account.broker.advance(session)
    seen = look(account, session)
    booked = book_executions(account, seen.unsettled).new
    live = account.ledger.orders.live(account.account)
    reported = [(order, seen.found[order.client_order_id]) for order in live if order.client_order_id in seen.found]
    after = take_over_many(account, [(order, over) for order, over in reported if over.state.terminal])
    book_late_shares(account, seen)
    for order, still in reported:
        if not still.state.terminal:
            report_larger(account, order, still)
    pass_on(account, must_judge=must_judge)
    report_fills(account, account.calendar.shift(session, -LATE_SESSIONS))
    report_open_orders(account, account.broker.open_orders())
    ended = tuple(one.client_order_id for one in after if one.state.terminal)
    return Settlement(booked=tuple(booked), ended=ended)


def book_late_shares(account: TradingAccount, seen: Look) -> None:
    """Book shares of ended orders that the broker counts and whose executions, which were read, it does not show.

    They are named before they are booked: afterwards nothing of the order would tell that they were a surprise.
    """
    for order_id, order in account.ledger.orders.get_many(seen.unsettled).items():
        told = seen.found[order_id]
        if order.state.terminal and order.filled_qty < told.filled_qty:
            report_late_shares(account, order, told)
            take_over(account, order, told, source=Source.RECONCILIATION)


def pass_on(account: TradingAccount, *, must_judge: bool = True) -> None:
    """Tell the guard and the risk monitor what was booked: the last step of whoever books, once for all it booked.

    What the guard could not be told, and what could not be judged, is by the next call.
    """
    tell_guard(account)
    judge_losses(account, must_judge=must_judge)


def judge_losses(account: TradingAccount, *, must_judge: bool = True) -> None:
    """Let the risk monitor judge every fill once, those a crash left unjudged among them.

    With `must_judge` a caller hears that it was not possible, and so decides nothing before it is. Without, a person
    who wants to get out, or to have a book again, is not kept from it.
    """
    try:
        newest = account.ledger.monitors.unwatched_fill(account.account)
        if newest is not None:
            watch_fills(account)
            account.ledger.monitors.watched(account.account, newest)
    except PipelineError as failure:
        if must_judge:
            raise
        log.warning("fills could not be judged; the next look does", reason=failure.message)


def book_executions(account: TradingAccount, client_order_ids: Sequence[str]) -> Booked:
    """Read the executions of these orders and book every one that the ledger does not know.

    One that contradicts what was booked under its id is left out, reported, and keeps no other from being booked. Each
    batch commits on its own: after a crash between two of them, the figures of the orders in those that are left still
    differ, so the next look reads the executions again, and books what is not there by its id.
    """
    booked = Booked()
    executions = account.broker.executions(client_order_ids) if client_order_ids else []
    for together in batches(executions, BOOKED_TOGETHER):
        try:
            booked.new.extend(book(account, together))
        except ExecutionConflict:
            _book_one_by_one(account, together, booked)
    return booked


def book(account: TradingAccount, executions: Sequence[Execution]) -> list[Execution]:
    """Book executions in one transaction and return those that were not booked before; raises what `book_many` does."""
    bookings = account.ledger.fills.book_many(account.account, [one.executed for one in executions])
    return [one for one, booking in zip(executions, bookings, strict=True) if booking is not None]


def _book_one_by_one(account: TradingAccount, executions: Sequence[Execution], booked: Booked) -> None:
    for one in executions:
        try:
            booked.new.extend(book(account, [one]))
        except ExecutionConflict as conflict:
            report_conflict(account, one.fill.execution_id, one.fill.symbol, conflict)
            booked.refused.append(one)


def take_over_many(account: TradingAccount, reported: Sequence[tuple[OrderRecord, BrokerOrder]]) -> list[OrderRecord]:
    """Bring orders to where the broker says they are, and return each as it stands then: see `take_over`.

    Those of which every share is booked move together; an order of which shares are missing goes alone.
    """
    whole = [(stored, told) for stored, told in reported if stored.filled_qty == told.filled_qty]
    after: dict[str, OrderRecord] = {}
    for together in batches(whole, MOVED_TOGETHER):
        reports = [
            Report(
                client_order_id=stored.client_order_id,
                state=told.state,
                reason=told.reason,
                source=Source.RECONCILIATION,
            )
            for stored, told in together
        ]
        names = {stored.client_order_id: told.broker_order_id for stored, told in together}
        try:
            after |= account.ledger.orders.move_many(reports, names)
        except IllegalTransition as impossible:
            log.warning("orders are moved one by one", reason=str(impossible))
    left = [(stored, told) for stored, told in reported if stored.client_order_id not in after]
    alone = (take_over(account, stored, told, source=Source.RECONCILIATION) for stored, told in left)
    return [*after.values(), *alone]


def take_over(
    account: TradingAccount,
    order: OrderRecord,
    reported: BrokerOrder,
    reason: str = "",
    source: Source = Source.BROKER,
) -> OrderRecord:
    """Bring an order to where the broker says it is, its executions first.

    An order ends only when the ledger has every share the broker says was filled; until then it stays live, its
    exposure held. Shares whose executions the broker does not show are booked from its cumulative figures. An order
    that is further along already is returned as it is. `source` is `RECONCILIATION` where we looked the order up, and
    `BROKER` where the broker answered to what we asked of the order.
    """
    orders = account.ledger.orders
    stored = orders.get(order.client_order_id) or order
    # A broker lists executions of the whole account: they are read only where a share is missing.
    if stored.filled_qty < reported.filled_qty:
        book_executions(account, [order.client_order_id])
        stored = orders.get(order.client_order_id) or order
    if stored.filled_qty < reported.filled_qty:
        # Asked again, so that the figures hold every execution that was just read.
        reported = account.broker.find(order.client_order_id) or reported
        stored = _book_missing(account, stored, reported)
    wanted = reported.state
    if wanted.terminal and stored.filled_qty != reported.filled_qty:
        log.warning(
            "executions are missing: the order stays live",
            client_order_id=order.client_order_id,
            reported=str(reported.filled_qty),
            booked=str(stored.filled_qty),
        )
        wanted = OrderState.ACCEPTED
    try:
        return orders.move(
            order.client_order_id,
            wanted,
            reason=reason or reported.reason,
            broker_order_id=reported.broker_order_id,
            source=source,
        )
    except IllegalTransition:
        return orders.get(order.client_order_id) or stored


def _book_missing(account: TradingAccount, order: OrderRecord, reported: BrokerOrder) -> OrderRecord:
    if reported.average_price is None:
        return order
    session = order.intent.trade_session
    report = Cumulative(
        client_order_id=order.client_order_id,
        symbol=reported.symbol,
        side=reported.side,
        qty=reported.filled_qty,
        average=reported.average_price,
        session=session,
        as_of=min(account.clock.now(), account.calendar.close_at(session)),
    )
    try:
        inferred = account.ledger.fills.book_reported(account.account, report)
    except ExecutionConflict as conflict:
        report_conflict(account, order.client_order_id, order.intent.symbol, conflict)
        return order
    if inferred is not None:
        log.warning(
            "executions are missing: booked from the broker's cumulative figures",
            client_order_id=order.client_order_id,
            qty=str(inferred.fill.qty),
            price=str(inferred.fill.price),
        )
    return account.ledger.orders.get(order.client_order_id) or order


def tell_guard(account: TradingAccount) -> None:
    """Post every booked fill and release every ended order the guard has not been told of, in this order.

    When the guard cannot be reached, or its book is not the one the ledger knows, the next call does it.
    """
    book = account.ledger.books.get(account.account)
    misfits: list[Misfit] = []
    try:
        _release_ended(account, book, _post_fills(account, book, misfits))
    except (TransientError, TradingHalted) as failure:
        log.warning("the guard could not be told of fills and ends; the next settlement does", reason=str(failure))
    for execution_id, symbol, misfit in misfits:  # last: a block begins an epoch
        report_misfit(account, execution_id, symbol, misfit)


def _post_fills(account: TradingAccount, book: BookRecord, misfits: list[Misfit]) -> int:
    fills, sequence = account.ledger.fills, book.high_sequence
    for rows in batches(fills.unposted(account.account), TOLD_TOGETHER):
        told = account.guard.post_many([_posting(row) for row in rows], epoch=book.epoch, min_sequence=sequence)
        # A misfit stays unposted, and its order's exposure held, until a rebuild; the others must not wait for it.
        symbols = {row["execution_id"]: row["symbol"] for row in rows}
        misfits += [(one, symbols[one], misfit) for one, misfit in told.conflicts.items()]
        sequence = _remember(account, book, told, fills.mark_posted)
    return sequence


def _release_ended(account: TradingAccount, book: BookRecord, sequence: int) -> None:
    orders = account.ledger.orders
    for ended in batches(orders.unreleased(account.account), TOLD_TOGETHER):
        told = account.guard.void_many(ended, epoch=book.epoch, min_sequence=sequence)
        sequence = _remember(account, book, told, orders.mark_released)
    _settle_chains(account, book, sequence)


def _settle_chains(account: TradingAccount, book: BookRecord, sequence: int) -> None:
    """Lower what chains of replacements hold that lost an order, and end those of which none is live."""
    unsettled = account.ledger.chains.unsettled(account.account)
    members = {one.holder: one.members for one in unsettled if one.held is None}
    mark_all = partial(_mark_chains, account, members)
    for over in batches(sorted(members), TOLD_TOGETHER):
        told = account.guard.void_many(over, epoch=book.epoch, min_sequence=sequence)
        sequence = _remember(account, book, told, mark_all)
    lowerings = [
        Lowering(client_order_id=one.client_order_id, holder=one.holder, remaining=one.held)
        for one in unsettled
        if one.held is not None
    ]
    for together in batches(lowerings, TOLD_TOGETHER):
        told = account.guard.lower_many(together, epoch=book.epoch, min_sequence=sequence)
        sequence = _remember(account, book, told, account.ledger.orders.mark_released)


def _mark_chains(account: TradingAccount, members: Mapping[str, Sequence[str]], over: Sequence[str]) -> None:
    account.ledger.orders.mark_released([one for holder in over for one in members[holder]])


def _remember(account: TradingAccount, book: BookRecord, told: Told, mark: Callable[[Sequence[str]], None]) -> int:
    """Mark what the guard knows now, and return the sequence of its book; what it does not know is told again."""
    if told.done:
        # The sequence first: a book that lost these steps later is then known to be stale.
        account.ledger.books.saw_book(account.account, book.epoch, told.sequence)
        mark(told.done)
    if told.failure is not None:
        raise told.failure
    return told.sequence


def _posting(row: DictRow) -> Posting:
    return Posting(
        client_order_id=row["holder"] or row["execution_id"],  # an external fill is of no order of ours
        execution_id=row["execution_id"],
        qty=row["qty"],
        symbol=row["symbol"],
        side=Side(row["side"]),
        price_ticks=to_ticks(row["price"]),
        trade_session=row["counted_for"],
        judged_ticks=to_ticks(row["judged_at"] or Decimal(0)),
    )

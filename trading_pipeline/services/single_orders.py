"""What an operator can do to one order or one position: cancel, replace, close. Each may be repeated at any time.

Each is written to the ledger first, with who and why. Exposure comes back only when an order is proven over.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from trading_pipeline.adapters.store.ledger import NewOrder, OrderRecord, chains_of
from trading_pipeline.core.accounting import Position
from trading_pipeline.core.orders.model import OrderIntent, Purpose, ReferencePrice, Side
from trading_pipeline.core.orders.states import HOLDING, UNSENT, OrderState, Source
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.errors import OperatorError, PipelineError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.settlement import pass_on, settle_in_lane, take_over
from trading_pipeline.services.submission import GRACE, Submission, SubmissionService
from trading_pipeline.services.twap import cancel_parents
from trading_pipeline.services.valuation import Quotes

OPERATOR_STRATEGY = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """What cancelling did: orders that ended, and orders that are still live, each with the reason."""

    canceled: tuple[OrderRecord, ...]
    still_live: tuple[tuple[OrderRecord, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flattening:
    """What flattening did.

    The cancellation before it, the closing orders, and symbols left open, each with the reason.
    """

    cancellation: Cancellation
    submissions: tuple[Submission, ...]
    still_open: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderChange:
    """What is to be different about an order; None keeps what it has. `qty` is the total, what is filled included."""

    qty: int | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None

    def of(self, intent: OrderIntent) -> OrderIntent:
        """Return the intent with the change made.

        Raises:
            OperatorError: nothing is changed, or it does not fit the order's type.
        """
        try:
            changed = replace(
                intent,
                qty=intent.qty if self.qty is None else self.qty,
                limit_price=intent.limit_price if self.limit_price is None else self.limit_price,
                stop_price=intent.stop_price if self.stop_price is None else self.stop_price,
            )
        except ValueError as misfit:
            raise OperatorError(str(misfit), client_order_id=intent.client_order_id) from misfit
        if changed == intent:
            raise OperatorError(
                f"order {intent.client_order_id} is as asked for already: give another quantity, limit or stop",
                client_order_id=intent.client_order_id,
            )
        return changed


def cancel_order(account: TradingAccount, client_order_id: str, action: OperatorAction) -> Cancellation:
    """Cancel one order; one that never left us is withdrawn, one that has ended is returned as it is.

    With an order goes the one that is to take its place, or whose place it is to take: whichever works is cancelled.

    Raises:
        OperatorError: the account has no such order, or it was replaced by another one, which is named.
    """
    with account.ledger.lane(account.account):
        order = known_order(account, client_order_id)
        account.ledger.books.record_action(account.account, "cancel_order", action, {"order": client_order_id})
        _require_not_replaced(account, order)
        chain = account.ledger.chains.of(client_order_id) or [order]
        wanted = [one for one in chain if one.client_order_id == client_order_id or not one.state.terminal]
        return cancel_orders(account, wanted, action)


def cancel_orders(account: TradingAccount, orders: Sequence[OrderRecord], action: OperatorAction) -> Cancellation:
    """Cancel these orders, each by itself, while the caller holds the lane.

    One order's failure does not keep the others: it is reported, and its cancellation is asked for again by the next
    sweep. An order the broker has not shown yet stays live until the broker must have shown it.
    """
    withdrawn = [_withdraw(account, order, action) if order.state in UNSENT else order for order in orders]
    canceled: list[OrderRecord] = []
    still_live: list[tuple[OrderRecord, str]] = []
    # What was cleared while we withdrew the rest is cancelled like any other; the newest of a chain first.
    for order in sorted(withdrawn, key=lambda one: -one.place):
        try:
            ended, reason = (order, "") if order.state.terminal else _cancel(account, order, action)
        except PipelineError as failure:
            ended, reason = order, failure.message
        if ended.state.terminal:
            canceled.append(ended)
        else:
            still_live.append((ended, reason))
    pass_on(account, must_judge=False)
    return Cancellation(canceled=tuple(canceled), still_live=tuple(still_live))


def close_position(account: TradingAccount, symbol: str, action: OperatorAction, quotes: Quotes) -> Flattening:
    """Cancel what else is under way in a symbol, then close its position; works under an engaged kill switch.

    Repeated, it counts what it is closing already, and finishes what a crash left of it.

    Raises:
        OperatorError: the broker has not traded yet.
    """
    with account.ledger.lane(account.account):
        session = _session(account)
        settle_in_lane(account, session, must_judge=False)
        books, orders = account.ledger.books, account.ledger.orders
        parents = cancel_parents(account, action, symbol=symbol)
        books.record_action(account.account, "close_position", action, {"symbol": symbol, "parents": parents})
        mine = [*orders.live(account.account), *orders.unsent(account.account)]
        others = [one for one in mine if one.intent.symbol == symbol and one.intent.purpose is not Purpose.FLATTEN]
        cancellation = cancel_orders(account, others, action)
        position = account.ledger.fills.positions(account.account).get(symbol)
        if position is None:
            return Flattening(cancellation=cancellation, submissions=(), still_open=())
        return close_all(account, {symbol: position}, quotes, action, cancellation)


def close_all(
    account: TradingAccount,
    held: dict[str, Position],
    quotes: Quotes,
    action: OperatorAction,
    cancellation: Cancellation,
) -> Flattening:
    """Close positions with reduce-only orders, less what live orders close already, while the caller holds the lane."""
    session = _session(account)
    service, prices = SubmissionService(account, Provenance.by_operator(action)), quotes(session, held)
    origin = {"operator": action.operator, "reason": action.reason}
    submissions: list[Submission] = []
    still_open: list[tuple[str, str]] = []
    for symbol, position in held.items():
        try:
            submissions += _finish_closing(account, service, symbol)
            under_way = _closing_shares(account.ledger.orders.live(account.account), symbol, position)
            qty = _shares_left(position, under_way)
            if symbol not in prices or not qty:
                still_open.append((symbol, _why_open(symbol in prices, under_way)))
                continue
            intent = _closing(account, session, symbol, qty, prices[symbol])
            submissions.append(service.submit(NewOrder(intent=intent, origin=origin)))
        except PipelineError as failure:
            still_open.append((symbol, failure.message))
    return Flattening(cancellation=cancellation, submissions=tuple(submissions), still_open=tuple(still_open))


def replace_order(
    account: TradingAccount, client_order_id: str, change: OrderChange, action: OperatorAction, quotes: Quotes
) -> Submission:
    """Ask that an order with another quantity, limit or stop takes the place of a working one, through the guard.

    Repeated with the same change it returns, or finishes, what was asked for before. The old order is live until the
    broker says that it was replaced.

    Raises:
        OperatorError: the account has no such order; it is over, or was replaced by another one, which is named;
            another change of it is under way; the broker does not replace it in the state it is in; the change changes
            nothing or less than what is filled remains; or its symbol has no price.
        TransientError: the broker did not answer; nothing was asked.
    """
    with account.ledger.lane(account.account):
        session = _session(account)
        settle_in_lane(account, session)
        order = known_order(account, client_order_id)
        service = SubmissionService(account, Provenance.by_operator(action))
        intent = replace(change.of(order.intent), session=session, trade_session=account.calendar.next(session))
        before = _asked_before(account, order, intent)
        if before is None:
            _require_open_to_change(account, order, intent)
            account.broker.require_replaceable(client_order_id)
            detail = {"order": client_order_id, "qty": intent.qty}
            detail |= {name: str(getattr(intent, name)) for name in ("limit_price", "stop_price")}
            account.ledger.books.record_action(account.account, "replace_order", action, detail)
            intent = _numbered(account, order, replace(intent, reference=_reference(session, intent.symbol, quotes)))
        else:
            intent = before.intent
        origin = order.origin | {"operator": action.operator, "reason": action.reason, "replaces": client_order_id}
        asked = service.submit(NewOrder(intent=intent, origin=origin, replaces=client_order_id))
        service.look_up()
        settle_in_lane(account, session)
        return Submission(order=known_order(account, intent.client_order_id), verdict=asked.verdict)


def known_order(account: TradingAccount, client_order_id: str) -> OrderRecord:
    """Return an order of the account.

    Raises:
        OperatorError: it has none of this id.
    """
    order = account.ledger.orders.get(client_order_id)
    if order is None or order.intent.account != account.account:
        raise OperatorError(
            f"account {account.account} has no order {client_order_id}: `status` lists those that are open",
            client_order_id=client_order_id,
        )
    return order


def _session(account: TradingAccount) -> date:
    session = account.broker.current_session
    if session is None:
        raise OperatorError("the broker has not traded yet: there is nothing at it to change")
    return session


def _require_not_replaced(account: TradingAccount, order: OrderRecord) -> None:
    if order.state is OrderState.REPLACED:
        by = [one for one in account.ledger.chains.replacements(order.client_order_id) if one.broker_order_id]
        named = f"by {by[-1].client_order_id}" if by else "by an order that is not ours"
        raise OperatorError(
            f"order {order.client_order_id} was replaced {named}: act on that one",
            client_order_id=order.client_order_id,
        )


def _withdraw(account: TradingAccount, order: OrderRecord, action: OperatorAction) -> OrderRecord:
    reason = f"cancelled by {action.operator} before it was sent: {action.reason}"
    return account.ledger.sending.withdraw(order.client_order_id, reason, Source.MANUAL) or order


def _cancel(account: TradingAccount, order: OrderRecord, action: OperatorAction) -> tuple[OrderRecord, str]:
    order = account.ledger.sending.request_cancel(order.client_order_id) or order
    reported = account.broker.cancel(order.client_order_id)
    if reported is None:
        reason = f"never reached the broker; cancelled by {action.operator}"
        seen = account.ledger.sending.absent(order, grace=GRACE, reason=reason, end=OrderState.CANCELED)
        return seen, "the broker has not shown it yet; it is not sent any more, and ends when it stays absent"
    reason = f"{reported.reason}; by {action.operator}: {action.reason}"
    return take_over(account, order, reported, reason), f"the broker reports it {reported.state}"


def _finish_closing(account: TradingAccount, service: SubmissionService, symbol: str) -> list[Submission]:
    """Send what a crash left cleared, or kept from being asked for, of an earlier closing of this session."""
    orders, session = account.ledger.orders, account.broker.current_session
    unsent = [
        one
        for one in (*orders.live(account.account), *orders.unsent(account.account))
        if (one.intent.symbol, one.intent.session, one.intent.purpose) == (symbol, session, Purpose.FLATTEN)
        and one.state in {OrderState.CLEARED, OrderState.PENDING_NEW}
        and one.cancel_requested_at is None
    ]
    return [service.submit(NewOrder(intent=one.intent, origin=one.origin)) for one in unsent]


def _closing(account: TradingAccount, session: date, symbol: str, qty: int, price: ReferencePrice) -> OrderIntent:
    """Build the closing order, numbered past earlier ones of the same shape: ended, or under way already."""
    repeat = 0
    while True:
        intent = OrderIntent(
            account=account.account,
            strategy_id=OPERATOR_STRATEGY,
            session=session,
            trade_session=account.calendar.next(session),
            symbol=symbol,
            side=Side.SELL if qty > 0 else Side.BUY,
            qty=abs(qty),
            reference=price,
            purpose=Purpose.FLATTEN,
            repeat=repeat,
        )
        stored = account.ledger.orders.get(intent.client_order_id)
        # An id says nothing of the account: what another one has not sent yet is not ours to go on with.
        if stored is None or (stored.state in UNSENT and stored.intent.account == account.account):
            return intent
        repeat += 1


def _closing_shares(live: Sequence[OrderRecord], symbol: str, position: Position) -> Decimal:
    """Count the shares of live orders that bring a position nearer to zero: they may still fill."""
    side = Side.SELL if position.qty > 0 else Side.BUY
    ours = [order for order in live if (order.intent.symbol, order.intent.side) == (symbol, side)]
    return sum((chain.held for chain in chains_of(ours)), Decimal(0))


def _shares_left(position: Position, under_way: Decimal) -> int:
    """Return the whole shares still to be closed, signed like the position."""
    left = int(max(abs(position.qty) - under_way, Decimal(0)))
    return left if position.qty > 0 else -left


def _why_open(priced: bool, under_way: Decimal) -> str:  # noqa: FBT001 - a fact, not a switch
    if not priced:
        return "no price"
    return f"orders over {under_way} shares are closing it already" if under_way else "less than one share"


def _asked_before(account: TradingAccount, order: OrderRecord, wanted: OrderIntent) -> OrderRecord | None:
    """Return the replacement that was asked for with the same change before, unless it came to nothing."""
    for one in reversed(account.ledger.chains.replacements(order.client_order_id)):
        asked = one.intent
        same = (asked.qty, asked.limit_price, asked.stop_price) == (wanted.qty, wanted.limit_price, wanted.stop_price)
        stands = one.state in HOLDING or order.state is OrderState.REPLACED
        again = one.state in UNSENT and asked.trade_session == wanted.trade_session
        if same and (again or (stands and one.broker_order_id is not None) or one.state in HOLDING):
            return one
    return None


def _require_open_to_change(account: TradingAccount, order: OrderRecord, wanted: OrderIntent) -> None:
    order_id = order.client_order_id
    _require_not_replaced(account, order)
    under_way = [one for one in account.ledger.chains.replacements(order_id) if one.state in HOLDING]
    filled = order.carried_qty + order.filled_qty
    why = ""
    if order.state not in {OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED}:
        why = f"is {order.state}: only an order that works at the broker can be replaced"
    elif order.intent.parent_id is not None:
        why = f"is a slice of {order.intent.parent_id}, which counts its shares: cancel it, or its parent"
    elif order.cancel_requested_at is not None:
        why = "is being cancelled"
    elif under_way:
        why = f"is being replaced by {under_way[-1].client_order_id} already: wait until that is decided"
    elif wanted.qty <= filled:
        why = f"has {filled:f} shares filled: its new quantity must be above that; cancel it to keep what is filled"
    if why:
        raise OperatorError(f"order {order_id} {why}", client_order_id=order_id, state=order.state.value)


def _reference(session: date, symbol: str, quotes: Quotes) -> ReferencePrice:
    quote = quotes(session, [symbol]).get(symbol)
    if quote is None:
        raise OperatorError(f"{symbol} has no price, so the guard could not judge the order that would result")
    return quote


def _numbered(account: TradingAccount, order: OrderRecord, intent: OrderIntent) -> OrderIntent:
    """Number it past orders of the same shape: that which it replaces, and attempts that came to nothing."""
    while stored := account.ledger.orders.get(intent.client_order_id):
        if stored.state in UNSENT and stored.replaces == order.client_order_id:
            break
        intent = replace(intent, repeat=intent.repeat + 1)
    return intent

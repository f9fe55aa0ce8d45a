"""Ledger, book and broker brought to agree, and the gate opened only when they do.

What our orders did is booked as in any settlement. What is left is somebody else's: working orders are reserved in the
book, shares are booked as external fills, so that both count toward every limit; their symbol is kept from trading
until they are over or an operator accepts them. What neither explains, or has no price, closes the gate.

A book that never heard of a change of the ledger's, as a process died in between, is made anew. One that is missing,
has lost what it knew or is wrong never is: that is an operator's `rebuild_risk_book`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import structlog

from trading_pipeline.adapters.broker.protocol import BrokerOrder
from trading_pipeline.adapters.store.ledger import BookRecord, ExternalOrder
from trading_pipeline.adapters.store.ledger.restatements import RESTATED
from trading_pipeline.core.accounting import Fill
from trading_pipeline.core.risk.halts import LONGEST_REASON, Gate, OperatorAction
from trading_pipeline.errors import NotReconciled, OperatorError, TransientError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.broker_differences import broker_differences
from trading_pipeline.services.differences import Difference, DifferenceKind
from trading_pipeline.services.following import follow
from trading_pipeline.services.rebuilding import News, bring_home, catch_up, rewrite_book
from trading_pipeline.services.restating import release_agreed
from trading_pipeline.services.settlement import pass_on
from trading_pipeline.services.surprises import OF_OTHERS, report_open_orders
from trading_pipeline.services.verification import compare_book, compare_since, read_ledger, read_views, unawaited

SECOND_LOOK = timedelta(seconds=15)
"""How far apart the two looks are that must show the same foreign shares: orders and positions of a broker have been
seen out of step for up to ten seconds."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """What a reconciliation did.

    Attributes:
        record: the account's book, its gate among it.
        external: shares of others booked now.
        unresolved: symbols in which something of others is neither over nor accepted, with what it is.
        released: symbols that came back now.
        unexplained: what is left that nothing explains.
    """

    record: BookRecord
    external: tuple[Fill, ...]
    unresolved: Mapping[str, str]
    released: tuple[str, ...]
    unexplained: tuple[Difference, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Return the gate, then one row a finding."""
        found = [
            *(("booked", one.symbol, f"{one.side} {one.qty:f} at {one.price:f} by others") for one in self.external),
            *(("kept from trading", symbol, why) for symbol, why in self.unresolved.items()),
            *(("trades again", symbol, "what others had in it is over or accepted") for symbol in self.released),
            *(("unexplained", one.symbol, one.describe()) for one in self.unexplained),
        ]
        gate = [{"what": f"gate {self.record.gate}", "symbol": "", "detail": self.record.gate_reason}]
        return gate + [{"what": what, "symbol": symbol, "detail": detail} for what, symbol, detail in found]

    def require_explained(self) -> None:
        """Check that nothing is left unexplained.

        Raises:
            NotReconciled: something is; the gate is closed.
        """
        if self.unexplained:
            lines = "; ".join(one.describe() for one in self.unexplained)
            raise NotReconciled(f"ledger, book and broker differ, the gate is closed: {lines}")


def start(account: TradingAccount, action: OperatorAction) -> Reconciled | None:
    """Record a start of the system and reconcile; None when that could not be done or the account has no book.

    From the record on only reducing orders clear, until a reconciliation has succeeded: this one or a later one.
    """
    account.ledger.externals.started(account.account)
    record = account.ledger.books.get(account.account)
    if not record.epoch:
        return None
    if record.gate is Gate.OPEN:
        _set_gate(account, Gate.CLOSED, action)
    try:
        return reconcile(account, action)
    except TransientError as away:
        log.warning("not reconciled at the start: only reducing orders clear until it is", reason=away.message)
        return None


def reconcile(account: TradingAccount, action: OperatorAction) -> Reconciled:
    """Bring the broker's news home, record what is others', and open or close the gate by what is left.

    Safe to repeat at any time, and after a crash: every step is looked for before it is made.

    Raises:
        OperatorError: the account never had a book.
        ServerUnavailable: a server or the broker did not answer; the gate stays as it is.
    """
    with account.ledger.lane(account.account):
        return reconcile_in_lane(account, action)


def reconcile_in_lane(account: TradingAccount, action: OperatorAction) -> Reconciled:
    """Reconcile while the caller holds the account's lane."""
    name, ledger = account.account, account.ledger
    if not ledger.books.get(name).epoch:
        raise OperatorError(f"account {name} never had a risk book: run initialize-risk-book first", account=name)
    news = bring_home(account)
    catch_up(account, action)
    working = account.broker.open_orders()
    report_open_orders(account, working)
    _record_orders(account, working)
    external, news = _book_shares(account, news)
    _alert_shares(account)
    pass_on(account)
    _hold_orders(account, action)
    awaited = release_agreed(account)
    found = _compare(account, news)
    unresolved = ledger.externals.unresolved(name)
    held_for = {one.symbol: one.describe() for one in reversed(found) if one.symbol} | unresolved
    _quarantine(account, held_for, action)
    released = _release(account, held_for.keys() | awaited.keys(), action)
    record = _gate(account, found, action)
    return Reconciled(
        record=record, external=external, unresolved=awaited | unresolved, released=released, unexplained=found
    )


def _compare(account: TradingAccount, news: News) -> tuple[Difference, ...]:
    """Compare the three. What differs may have happened since the look: it is brought home once more before it counts.

    An order that the broker does not know stays unknown to it, and a book that is wrong stays wrong: for these alone
    nobody is asked again.
    """
    found = unawaited(account, compare_since(account, news.seen, news.refused))
    if all(one.kind is DifferenceKind.ORDER_UNKNOWN_TO_BROKER or not one.broker for one in found):
        return found
    again = bring_home(account)
    pass_on(account)
    return unawaited(account, compare_since(account, again.seen, again.refused))


def accept_external(account: TradingAccount, symbol: str, action: OperatorAction) -> Reconciled:
    """Take what others did in a symbol for ours, by an operator's word; it trades again if nothing else is in the way.

    Where it was accepted before and what followed did not happen, a repetition does that.

    Raises:
        OperatorError: nothing of others is open in it.
        ServerUnavailable: a server or the broker did not answer; repeat it.
    """
    with account.ledger.lane(account.account):
        if symbol in account.ledger.restatements.awaiting(account.account):
            done = _accept_restated(account, symbol, action)
            if symbol not in done.unresolved:
                return done
        if symbol in account.ledger.externals.unresolved(account.account):
            net = account.ledger.externals.accept(account.account, symbol, action)
            detail = {"symbol": symbol, "net_external_shares": str(net)}
            account.ledger.books.record_action(account.account, "accept_external", action, detail)
        elif symbol not in account.ledger.books.quarantined_because(account.account, OF_OTHERS):
            raise OperatorError(
                f"nothing in {symbol} waits to be accepted: `status` and `reconcile` name what does",
                account=account.account,
                symbol=symbol,
            )
        return reconcile_in_lane(account, action)


def _accept_restated(account: TradingAccount, symbol: str, action: OperatorAction) -> Reconciled:
    """Take what the broker holds after a corporate action for right; what it differs by is then booked as others'."""
    books, name = account.ledger.books, account.account
    restated = account.ledger.restatements.awaiting(name)[symbol]
    symbols = restated.symbols
    detail = {"symbols": list(symbols), "after": restated.describe()}
    books.record_action(name, "accept_restated", action, detail)
    for one in symbols:
        if one in books.quarantined_because(name, RESTATED):
            record = books.quarantine(
                name,
                one,
                None,
                OperatorAction(operator=action.operator, reason=f"{OF_OTHERS}accepted after a corporate action"),
            )
            follow(account, record, lambda guard, one=one: guard.quarantine(one, None))  # type: ignore[misc]
    account.ledger.restatements.agree(name, symbols)
    return reconcile_in_lane(account, action)


def _record_orders(account: TradingAccount, working: Sequence[BrokerOrder]) -> None:
    """Record those of the broker's working orders that are others'.

    One whose symbol has no price is left, and one of dollars, which says no shares: a difference, so the gate closes.
    """
    ours = account.ledger.orders.get_many([one.client_order_id for one in working])
    others = [one for one in working if one.client_order_id not in ours and one.qty > one.filled_qty]
    prices = _prices(account, {one.symbol for one in others})
    seen = [_external(one, prices[one.symbol]) for one in others if one.symbol in prices]
    account.ledger.externals.saw(account.account, seen)


def _external(order: BrokerOrder, price: Decimal) -> ExternalOrder:
    return ExternalOrder(
        broker_order_id=order.broker_order_id,
        client_order_id=order.client_order_id,
        symbol=order.symbol,
        side=order.side,
        qty=order.qty,
        filled_qty=order.filled_qty,
        price=price,
    )


def _book_shares(account: TradingAccount, news: News) -> tuple[tuple[Fill, ...], News]:
    """Book the shares at the broker that two looks in a row cannot explain by our orders; return the last look, too."""
    first = _foreign_shares(account)
    session, at = account.session(), account.instant()
    if not first or session is None or at is None:
        return (), news
    account.clock.pause(SECOND_LOOK)
    news = bring_home(account)
    confirmed = {symbol: shares for symbol, shares in _foreign_shares(account).items() if first.get(symbol) == shares}
    prices = _prices(account, set(confirmed))
    actions = account.ledger.restatements.moments(account.account)
    booked: list[Fill] = []
    for symbol, (held, there) in confirmed.items():
        if symbol not in prices:
            log.warning("shares of others have no price: the gate closes", symbol=symbol, shares=str(there - held))
            continue
        # Shares of after an action that takes effect only later are booked right after it.
        when = (session, at)
        if symbol in actions:
            when = max(when, (actions[symbol][0], actions[symbol][1] + timedelta(microseconds=1)))
        fill = account.ledger.externals.book(
            account.account, symbol, held=held, there=there, price=prices[symbol], session=when[0], at=when[1]
        )
        if fill is not None:
            booked.append(fill)
    return tuple(booked), news


def _foreign_shares(account: TradingAccount) -> dict[str, tuple[Decimal, Decimal]]:
    """Return signed shares of ledger and broker where they differ and no execution on its way may explain it.

    All else is read only where shares differ.
    """
    booked = {symbol: one.qty for symbol, one in account.ledger.fills.positions(account.account).items()}
    if account.broker.positions() == booked:
        return {}
    ledger, broker = read_views(account)
    found = list(broker_differences(ledger, broker))
    apart = {one.symbol for one in found if one.kind is DifferenceKind.POSITION}
    conflicting = {one.symbol for one in found if one.kind is DifferenceKind.EXECUTION_DIFFERS}
    conflicting |= {one.fill.symbol for one in broker.unbooked}
    # Shares that the broker has not restated yet are nobody's trade.
    conflicting |= account.ledger.restatements.awaiting(account.account).keys()
    zero = Decimal(0)
    return {
        symbol: (ledger.positions.get(symbol, zero), broker.positions.get(symbol, zero))
        for symbol in sorted(apart - conflicting)
    }


def _hold_orders(account: TradingAccount, action: OperatorAction) -> None:
    """Make the book hold the orders of others, where these alone are what it lacks or holds too much."""
    apart = compare_book(account, read_ledger(account))
    of_others = account.ledger.externals.ids(account.account)
    if apart and all(one.subject in of_others for one in apart):
        rewrite_book(account, action)


def _quarantine(account: TradingAccount, held_for: Mapping[str, str], action: OperatorAction) -> None:
    books, present = account.ledger.books, account.ledger.books.quarantined(account.account)
    for symbol, why in held_for.items():
        # One for a while is an operator's: when it is over, the next reconciliation begins its own.
        if symbol in present:
            continue
        log.warning("a symbol is kept from trading", symbol=symbol, reason=why)
        cause = OperatorAction(operator=action.operator, reason=f"{OF_OTHERS}{why}"[:LONGEST_REASON])
        record = books.quarantine(account.account, symbol, None, cause)
        follow(account, record, lambda guard, symbol=symbol: guard.quarantine(symbol, None))  # type: ignore[misc]


def _release(account: TradingAccount, kept: set[str], action: OperatorAction) -> tuple[str, ...]:
    """End the quarantines that a reconciliation began and that have no cause any more."""
    books = account.ledger.books
    over = [symbol for symbol in books.quarantined_because(account.account, OF_OTHERS) if symbol not in kept]
    for symbol in over:
        record = books.release(account.account, symbol, action)
        follow(account, record, lambda guard, symbol=symbol: guard.release(symbol))  # type: ignore[misc]
    return tuple(over)


def _gate(account: TradingAccount, found: tuple[Difference, ...], action: OperatorAction) -> BookRecord:
    record = account.ledger.books.get(account.account)
    wanted = Gate.CLOSED if found else Gate.OPEN
    if record.gate is wanted:
        return record
    reason = "; ".join(one.describe() for one in found) or "ledger, book and broker agree"
    cause = OperatorAction(operator=action.operator, reason=f"{OF_OTHERS}{reason}"[:LONGEST_REASON])
    return _set_gate(account, wanted, cause)


def _set_gate(account: TradingAccount, gate: Gate, action: OperatorAction) -> BookRecord:
    record = account.ledger.books.set_gate(account.account, gate, action)
    reason = record.gate_reason
    return follow(
        account, record, lambda guard: guard.open_gate(reason) if gate is Gate.OPEN else guard.close_gate(reason)
    )


def _prices(account: TradingAccount, symbols: set[str]) -> dict[str, Decimal]:
    """Return the last price known of each symbol, dollars a share: of the data, else of our newest order in it."""
    if not symbols:
        return {}
    known = account.ledger.externals.prices(account.account) | account.ledger.orders.last_references(account.account)
    known = account.ledger.restatements.restated_prices(account.account, known)
    session, actions = account.session(), account.ledger.restatements.moments(account.account)
    if account.valuation is not None and session is not None:
        quotes = account.valuation.quotes(session, symbols)
        # A price of before an action is none of the shares after it.
        known |= {
            name: one.price for name, one in quotes.items() if name not in actions or one.as_of >= actions[name][1]
        }
    return {symbol: price for symbol, price in known.items() if symbol in symbols}


def _alert_shares(account: TradingAccount) -> None:
    """Write an alert for each booking of shares of others, once; also of those that a crash left without one."""
    for fill in account.ledger.externals.fills(account.account):
        message = (
            f"{fill.side} {fill.qty:f} {fill.symbol} at the broker is of no order of ours: booked at {fill.price:f}"
        )
        if not account.ledger.alerts.known(fill.execution_id):
            log.warning("somebody else trades the account", symbol=fill.symbol, what=message)
            detail = {"symbol": fill.symbol, "execution_id": fill.execution_id}
            account.ledger.alerts.record(key=fill.execution_id, kind="foreign_shares", message=message, detail=detail)

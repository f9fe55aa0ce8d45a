"""The operator's verbs by name: one table, from which the jobs of the UI and the commands of the CLI are made."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any, Self

from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.adapters.store.prices import last_closes
from trading_pipeline.core.orders.model import ReferencePrice
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.errors import ConfigError, OperatorError, PriceUnavailable
from trading_pipeline.services.acceptances import accept_bars, revoke_acceptance
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.arguments import Arguments, Takes, twap_request
from trading_pipeline.services.closing import close_session
from trading_pipeline.services.inbox import redrive_inbox
from trading_pipeline.services.monitor import reset_equity_peak
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.reconciliation import accept_external, reconcile
from trading_pipeline.services.reports import book_row, cancellation_rows, flattening_rows, submission_rows
from trading_pipeline.services.restating import restate_as_the_broker
from trading_pipeline.services.session_story import explain_session
from trading_pipeline.services.single_orders import cancel_order, close_position, replace_order
from trading_pipeline.services.tie_out import accept_cash_difference, require_agreement, tie_out
from trading_pipeline.services.twap import parent_row
from trading_pipeline.services.twap import start as start_parent
from trading_pipeline.services.valuation import Quotes

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorContext:
    """What a verb may need: the operations, prices to flatten at, the limits of a new book, and what was said."""

    account: TradingAccount
    lake: Lake
    operations: RiskOperations
    quotes: Quotes
    limits: RiskLimits
    said: Arguments

    @property
    def symbol(self) -> str:
        """The symbol acted on."""
        return self.said.ticker

    @classmethod
    def of(cls, account: TradingAccount, lake: Lake, limits: RiskLimits, said: Arguments | None = None) -> Self:
        """Build the context of an account whose prices come from the lake."""
        return cls(
            account=account,
            lake=lake,
            operations=RiskOperations(account),
            quotes=lambda session, symbols: _prices_at_hand(account, lake, session, symbols),
            limits=limits,
            said=said or Arguments(),
        )


def _prices_at_hand(
    account: TradingAccount, lake: Lake, session: date, symbols: Collection[str]
) -> dict[str, ReferencePrice]:
    """Return the prices of order time, and the last close, by its own source and age, of a symbol that has none.

    A person who wants to get out must not be kept from it by a feed that fails; of all other orders the guard refuses
    those whose price is too old.
    """
    now = account.prices_now(symbols) or {}
    priced = {symbol: price for symbol, price in now.items() if isinstance(price, ReferencePrice)}
    return last_closes(lake, session, symbols) | priced


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One operator action: what it does, for people, and how."""

    description: str
    act: Callable[[OperatorContext, OperatorAction], Rows]
    takes: Takes = Takes.NOTHING


def _set_limits(on: OperatorContext, action: OperatorAction) -> Rows:
    if on.said.limits:
        return [book_row(on.operations.change_risk_limits(on.said.changes, action))]
    if on.said.symbol or on.said.until:
        raise ConfigError("name the limits to change: a symbol or an end alone changes nothing")
    return [book_row(on.operations.set_risk_limits(on.limits, action))]


def _decide(on: OperatorContext, action: OperatorAction, decide: Callable[..., Rows]) -> Rows:
    """Decide on the bars said, audited first: a decision that could not be stored is made again."""
    first, last = on.said.sessions
    return decide(
        on.lake,
        on.symbol,
        first,
        last,
        action=action,
        now=on.account.clock.now(),
        audit=lambda verb, detail: on.account.ledger.books.record_action(on.account.account, verb, action, detail),
    )


def _reconcile(on: OperatorContext, action: OperatorAction) -> Rows:
    restate_as_the_broker(on.account, on.lake)
    done = reconcile(on.account, action)
    done.require_explained()
    return done.rows()


def _tie_out(on: OperatorContext, action: OperatorAction) -> Rows:
    restate_as_the_broker(on.account, on.lake)
    found = tie_out(on.account, action)
    require_agreement(found)
    return [{"session": found.session.isoformat(), "tie_out": f"{found.describe()}, to the share and the cent"}]


def _close_session(on: OperatorContext, action: OperatorAction) -> Rows:
    restate_as_the_broker(on.account, on.lake)
    done = close_session(on.account, action)
    require_agreement(done.tie_out)
    return done.rows()


def _order_time_price(on: OperatorContext, session: date, symbols: Collection[str]) -> dict[str, ReferencePrice]:
    """Return prices for an order that nobody needs to get out: no other price stands in for one that is missing."""
    now = on.account.prices_now(symbols)
    if now is None:
        return on.quotes(session, symbols)
    for price in now.values():
        if isinstance(price, PriceUnavailable):
            raise price
    return {symbol: price for symbol, price in now.items() if isinstance(price, ReferencePrice)}


def _replace_order(on: OperatorContext, action: OperatorAction) -> Rows:
    quotes = partial(_order_time_price, on)
    done = replace_order(on.account, on.said.order.strip(), on.said.order_change, action, quotes)
    if done.refused:
        raise OperatorError(
            f"the guard keeps the replacement back, {done.verdict.describe() if done.verdict else done.order.reason}; "
            f"order {on.said.order.strip()} is as it was",
            client_order_id=done.order.client_order_id,
        )
    return submission_rows([done])


def _start_twap(on: OperatorContext, action: OperatorAction) -> Rows:
    asked = twap_request(on.account, on.said)
    parent, is_new = start_parent(on.account, asked, action, Provenance.by_operator(action))
    return [parent_row(on.account, parent) | {"new": is_new}]


OPERATOR_VERBS: Mapping[str, Verb] = {
    "initialize_risk_book": Verb(
        description="Create the risk book of an account that has none, with the configured limits.",
        act=lambda on, action: [book_row(on.operations.initialize_risk_book(on.limits, action))],
    ),
    "rebuild_risk_book": Verb(
        description="Write the risk book anew from the ledger, in a new epoch. Halts and limits stay.",
        act=lambda on, action: [book_row(on.operations.rebuild_risk_book(action))],
    ),
    "engage_kill_switch": Verb(
        description="Stop all trading but flatten_positions.",
        act=lambda on, action: [book_row(on.operations.engage_kill_switch(action))],
    ),
    "disengage_kill_switch": Verb(
        description="Let trading go on.",
        act=lambda on, action: [book_row(on.operations.disengage_kill_switch(action))],
    ),
    "trip_circuit_breaker": Verb(
        description="Let only reducing orders through until the breaker is reset.",
        act=lambda on, action: [book_row(on.operations.trip_circuit_breaker(action))],
    ),
    "reset_circuit_breaker": Verb(
        description="Start the quiet period after a trip: reducing orders only, then all.",
        act=lambda on, action: [book_row(on.operations.reset_circuit_breaker(action))],
    ),
    "reset_equity_peak": Verb(
        description="Let the drawdown count from the present equity on, after a withdrawal or an accepted loss.",
        act=lambda on, action: [reset_equity_peak(on.account, action)],
    ),
    "set_risk_limits": Verb(
        description="Change single limits, of the account or of a symbol, for good or until an instant. "
        "Without any: replace the limits by the configured ones.",
        act=_set_limits,
        takes=Takes.LIMITS,
    ),
    "close_gate": Verb(
        description="Let only reducing orders through until the account was reconciled.",
        act=lambda on, action: [book_row(on.operations.close_gate(action))],
    ),
    "open_gate": Verb(
        description="Let orders clear again after a reconciliation.",
        act=lambda on, action: [book_row(on.operations.open_gate(action))],
    ),
    "reconcile": Verb(
        description="Bring ledger, book and broker to agree; the gate opens when they do and closes when they do not.",
        act=_reconcile,
    ),
    "tie_out": Verb(
        description="Compare ledger, book and broker and seal the answer; no order is sent after one that failed.",
        act=_tie_out,
    ),
    "close_session": Verb(
        description="After the close: sweep once more, cancel what is left of the session's orders, and tie it out.",
        act=_close_session,
    ),
    "accept_cash": Verb(
        description="Accept the cash difference, or the activities of unknown types, that the newest tie-out named.",
        act=lambda on, action: accept_cash_difference(on.account, action),
    ),
    "explain_session": Verb(
        description="Write down why a session was not traded, so that it no longer counts as unexplained.",
        act=lambda on, action: [explain_session(on.account, on.said.sessions[0], action).row()],
        takes=Takes.SESSION,
    ),
    "accept_external": Verb(
        description="Accept the shares and orders of others in a symbol, so that it trades again.",
        act=lambda on, action: accept_external(on.account, on.symbol, action).rows(),
        takes=Takes.SYMBOL,
    ),
    "quarantine_symbol": Verb(
        description="Keep a symbol from trading until an instant or its release; a flatten still clears.",
        act=lambda on, action: [book_row(on.operations.quarantine_symbol(on.symbol, on.said.end, action))],
        takes=Takes.SYMBOL_AND_END,
    ),
    "release_symbol": Verb(
        description="End the quarantine of a symbol.",
        act=lambda on, action: [book_row(on.operations.release_symbol(on.symbol, action))],
        takes=Takes.SYMBOL,
    ),
    "block_symbol": Verb(
        description="Keep a symbol from trading; only flatten_positions still clears for it.",
        act=lambda on, action: [book_row(on.operations.block_symbol(on.symbol, action))],
        takes=Takes.SYMBOL,
    ),
    "unblock_symbol": Verb(
        description="Let a blocked symbol trade again.",
        act=lambda on, action: [book_row(on.operations.unblock_symbol(on.symbol, action))],
        takes=Takes.SYMBOL,
    ),
    "accept_bars": Verb(
        description="Accept quarantined bars of a symbol as true, from a session through another. "
        "They are released when their sessions are judged again; broken rows never are.",
        act=lambda on, action: _decide(on, action, accept_bars),
        takes=Takes.BARS,
    ),
    "revoke_acceptance": Verb(
        description="Take back the acceptance of a symbol's bars: the gate judges them again.",
        act=lambda on, action: _decide(on, action, revoke_acceptance),
        takes=Takes.BARS,
    ),
    "redrive_inbox": Verb(
        description="Let the dead letters of the broker's stream be applied again, once what ailed them is repaired.",
        act=lambda on, action: [redrive_inbox(on.account, action)],
    ),
    "cancel_all_orders": Verb(
        description="Cancel every live order at the broker, and every order that was never sent.",
        act=lambda on, action: cancellation_rows(on.operations.cancel_all_orders(action)),
    ),
    "cancel_order": Verb(
        description="Cancel one order at the broker, or withdraw it if it was never sent.",
        act=lambda on, action: cancellation_rows(cancel_order(on.account, on.said.order.strip(), action)),
        takes=Takes.ORDER,
    ),
    "replace_order": Verb(
        description="Replace a working order by one of another quantity (the total), limit or stop, through the guard.",
        act=_replace_order,
        takes=Takes.CHANGE,
    ),
    "close_position": Verb(
        description="Cancel what else is under way in a symbol, then close its position, reduce-only; "
        "works under the kill switch.",
        act=lambda on, action: flattening_rows(close_position(on.account, on.symbol, action, on.quotes)),
        takes=Takes.POSITION,
    ),
    "start_twap": Verb(
        description="Work a large order of one symbol over time: `trading-pipeline slices` sends what is due.",
        act=_start_twap,
        takes=Takes.TWAP,
    ),
    "cancel_twap": Verb(
        description="Make no more orders of a large order's slices, and cancel those that work at the broker.",
        act=lambda on, action: cancellation_rows(on.operations.cancel_parent(on.said.parent.strip(), action)),
        takes=Takes.PARENT,
    ),
    "flatten_positions": Verb(
        description="Cancel all orders, then close every position, reduce-only; works under the kill switch.",
        act=lambda on, action: flattening_rows(on.operations.flatten_positions(action, on.quotes)),
    ),
}

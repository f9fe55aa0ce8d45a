"""An Alpaca account behind the `Broker` protocol."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final

import structlog

from trading_pipeline.adapters.alpaca.transport import AlpacaReader
from trading_pipeline.adapters.broker.alpaca.account import CHECK_SECONDS, AccountFacts, AccountGate
from trading_pipeline.adapters.broker.alpaca.cash import AlpacaCash
from trading_pipeline.adapters.broker.alpaca.documents import broker_order, order_body, signed_shares
from trading_pipeline.adapters.broker.alpaca.reading import AlpacaOrders
from trading_pipeline.adapters.broker.alpaca.refusals import reading_after_sending
from trading_pipeline.adapters.broker.alpaca.replacing import AlpacaReplacing
from trading_pipeline.adapters.broker.alpaca.writer import AlpacaWriter
from trading_pipeline.adapters.broker.protocol import BrokerOrder, Execution, require_cover
from trading_pipeline.core.cash import CashActivity, CashBalance
from trading_pipeline.core.clock import Clock
from trading_pipeline.core.orders.model import OrderIntent
from trading_pipeline.core.orders.rules import AssetFacts, BrokenRule, OrderFacts, broken_rules
from trading_pipeline.core.restating import Restatement
from trading_pipeline.core.risk.clearance import Clearance
from trading_pipeline.core.sessions import SessionCalendar
from trading_pipeline.errors import (
    DataQualityError,
    DuplicateOrderId,
    NotYet,
    OrderRejected,
    OrderStateUnknown,
    SessionNotTradable,
    TransientError,
)

ASSETS_SECONDS: Final = 3_600.0
"""How long the list of assets is good for."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """An order whose turn has come: looks are good for it `seconds` longer, so nothing is read before it leaves."""

    client_order_id: str
    looked_anew: bool
    seconds: float = 5.0


_NO_TURN: Final = _Turn(client_order_id="", looked_anew=False, seconds=0.0)


class AlpacaBroker:
    """Implements `Broker` on one pinned Alpaca account, whose time is the time of day.

    Args:
        name: what kind of account this is, for people.
        reader: reads of the trading API.
        writer: orders and cancellations, each sent once.
        account_id: the pinned account.
        calendar: our sessions.
        clock: our time.
        monotonic: seconds that only grow, for the age of what was read.
    """

    real_time = True
    crosses_zero = False

    def __init__(
        self,
        name: str,
        *,
        reader: AlpacaReader,
        writer: AlpacaWriter,
        account_id: str,
        calendar: SessionCalendar,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._reader, self._writer = name, reader, writer
        self._calendar, self._clock, self._monotonic = calendar, clock, monotonic
        self._gate = AccountGate(reader, account_id=account_id, calendar=calendar, clock=clock, monotonic=monotonic)
        self._orders = AlpacaOrders(reader, calendar=calendar, clock=clock, monotonic=monotonic)
        self._replacing = AlpacaReplacing(self._orders, writer)
        self._cash = AlpacaCash(reader, calendar=calendar)
        self._assets: dict[str, AssetFacts] = {}
        self._held: dict[str, Decimal] = {}
        self._assets_at = self._held_at = float("-inf")
        self._turn: _Turn | None = None

    @property
    def name(self) -> str:
        """Paper or live, in words nobody overlooks."""
        return self._name

    @property
    def current_session(self) -> date:
        """The newest session that has closed: what is decided from it works in the next one."""
        return self._calendar.latest_closed(self._clock.now())

    def advance(self, session: date) -> None:
        """Do nothing: the broker's time is the time of day."""

    def require_tradable(self, session: date) -> None:
        """Check that orders decided from this session may be sent now.

        Raises:
            SessionNotTradable: it is not the newest closed session.
            WrongAccount, AccountBlocked, ClockUnreliable, TransientError: see `AccountGate.require_ready`.
        """
        current = self.current_session
        if session != current:
            relation = "was traded already" if session < current else "has not closed yet"
            raise SessionNotTradable(
                f"session {session} {relation}: the {self._name} account takes orders decided from {current} only",
                session=session.isoformat(),
                exchange_session=current.isoformat(),
            )
        self._gate.require_ready()

    def require_ready(self) -> None:
        """Check that the account is the pinned one and may trade now: see `AccountGate.require_ready`."""
        self._gate.require_ready()

    def await_turn(self, intent: OrderIntent, *, replaced_id: str | None = None, at_once: bool = False) -> None:
        """Take a place in the budget, then look at whatever the order depends on that was not looked at lately.

        Raises:
            NotYet: no place soon; `at_once`: no place now, or something has to be looked at first.
            TransientError: Alpaca did not answer.
            ConfigError, ClockUnreliable: see `AccountGate.require_ready`.
        """
        if at_once and (replaced_id is not None or not self._looked_lately):
            raise NotYet("Alpaca is asked first about what the order depends on")
        self._writer.take_place(at_once=at_once)
        account = self._gate.require_ready()
        if replaced_id is not None:
            self._replacing.look(replaced_id)
        broken = bool(self._broken(intent, account))
        if broken and at_once:
            raise NotYet("only a fresh look may end an order")
        if broken:
            self._look_anew(intent, account)
        self._turn = _Turn(client_order_id=intent.client_order_id, looked_anew=broken)

    def submit(self, intent: OrderIntent, clearance: Clearance) -> BrokerOrder:
        """Send one order, once. An id Alpaca has seen before is answered with the order it belongs to.

        Raises:
            PermissionError: the clearance is for another order.
            OrderRejected: it breaks a rule, its session is over, or Alpaca refused it for good.
            OrderStateUnknown: the answer was lost; the order may exist.
            TransientError: certainly not accepted; try later.
            ConfigError: credentials, another account than the pinned one, or one that may not trade.
        """
        require_cover(intent, clearance)
        turn = self._turn_of(intent)
        account = self._gate.require_ready(since_turn=turn.seconds)
        self._require_current(intent)
        self._require_rules(intent, account, turn)
        self._orders.forget()
        try:
            document = self._writer.post("/orders", order_body(intent))
        except DuplicateOrderId as taken:
            return self._existing(intent, taken)
        return self._accepted(intent, document)

    def require_replaceable(self, client_order_id: str) -> None:
        """Check that Alpaca would replace the order in the status it has now: see `Broker.require_replaceable`."""
        self._gate.require_ours()
        self._replacing.require_replaceable(client_order_id)

    def replace(self, replaced_id: str, intent: OrderIntent, clearance: Clearance) -> BrokerOrder:
        """Ask once that an order takes the place of a working one: see `Broker.replace`."""
        require_cover(intent, clearance)
        turn = self._turn_of(intent)
        account = self._gate.require_ready(since_turn=turn.seconds)
        self._require_current(intent)
        old, rest = self._replacing.rest(replaced_id, intent)
        self._require_rules(rest, account, turn)
        return self._replacing.send(old, intent)

    def find_replacement(self, replaced_id: str, client_order_id: str) -> BrokerOrder | None:
        """Return the order that was to replace another one: see `Broker.find_replacement`."""
        self._gate.require_ours()
        return self._replacing.find(replaced_id, client_order_id)

    def find(self, client_order_id: str) -> BrokerOrder | None:
        """Return Alpaca's view of an order, None when Alpaca says that it has none of this id."""
        self._gate.require_ours()
        return self._orders.find(client_order_id)

    def find_many(self, client_order_ids: Collection[str]) -> dict[str, BrokerOrder]:
        """Return Alpaca's view of these orders now, those it has none of left out: see `AlpacaOrders.find_many`."""
        self._gate.require_ours()
        return self._orders.find_many(client_order_ids)

    def open_orders(self) -> list[BrokerOrder]:
        """Return every working order of the account, those that are not ours included."""
        self._gate.require_ours()
        return self._orders.open()

    def cancel(self, client_order_id: str) -> BrokerOrder | None:
        """Ask for the rest of an order to be cancelled and return what Alpaca then reports.

        Raises:
            TransientError: not asked, or whether it was is unknown; asking again does no harm.
        """
        self._gate.require_ours()
        self._orders.forget()
        found = self._orders.look_up(client_order_id)
        if found is None or found.state.terminal:
            return found
        try:
            self._writer.delete(f"/orders/{found.broker_order_id}")
        except OrderRejected as refused:
            log.info("Alpaca cancels an order no more", client_order_id=client_order_id, reason=str(refused))
        except OrderStateUnknown as lost:
            raise TransientError(f"whether the cancellation arrived is unknown, ask again: {lost}") from lost
        return self._orders.look_up(client_order_id) or found

    def executions(self, client_order_ids: Sequence[str]) -> list[Execution]:
        """Return every execution of these orders in the order they happened."""
        self._gate.require_ours()
        return self._orders.executions(client_order_ids)

    def positions(self) -> dict[str, Decimal]:
        """Return signed shares by symbol, fractions kept, flat ones left out."""
        self._gate.require_ours()
        asked = self._monotonic()
        held = dict(signed_shares(one) for one in self._reader.get_list("/positions", {}))
        self._held, self._held_at = {symbol: qty for symbol, qty in sorted(held.items()) if qty}, asked
        return dict(self._held)

    def cash(self) -> CashBalance:
        """Return the cash of the account now, settled or not, and the fees that Alpaca has not charged yet."""
        self._gate.require_ours()
        return self._cash.balance()

    def restate(self, action: Restatement) -> None:
        """Do nothing: Alpaca books corporate actions itself."""

    def cash_activities(self, since: date) -> list[CashActivity]:
        """Return what moved cash beside fills from a day on: see `AlpacaCash.activities`."""
        self._gate.require_ours()
        return self._cash.activities(since)

    def _accepted(self, intent: OrderIntent, document: dict[str, Any]) -> BrokerOrder:
        try:
            answer = broker_order(document)
        except DataQualityError as unreadable:
            raise OrderStateUnknown(
                f"order {intent.client_order_id}: {unreadable}", client_order_id=intent.client_order_id
            ) from unreadable
        if not _same(intent, answer):
            raise OrderStateUnknown(
                f"order {intent.client_order_id} was answered with {answer.side} {answer.qty} {answer.symbol}, "
                f"id {answer.client_order_id}: another order",
                client_order_id=intent.client_order_id,
            )
        return answer

    def _existing(self, intent: OrderIntent, taken: DuplicateOrderId) -> BrokerOrder:
        with reading_after_sending(intent.client_order_id):
            found = self._orders.look_up(intent.client_order_id)
        if found is None:
            raise OrderStateUnknown(
                f"{taken}, but Alpaca does not show it yet", client_order_id=intent.client_order_id
            ) from taken
        if not _same(intent, found):
            raise OrderRejected(
                f"the id {intent.client_order_id} belongs to another order at Alpaca: {found.side} {found.qty} "
                f"{found.symbol}",
                client_order_id=intent.client_order_id,
            ) from taken
        return found

    def _require_current(self, intent: OrderIntent) -> None:
        if self._calendar.next(self.current_session) != intent.trade_session:
            raise OrderRejected(
                f"session {intent.trade_session} is not the one orders are sent for now: {self.current_session} is the "
                f"newest that has closed",
                client_order_id=intent.client_order_id,
            )

    def _turn_of(self, intent: OrderIntent) -> _Turn:
        """Return the turn that was awaited for an order, which is good for one request."""
        turn, self._turn = self._turn, None
        return turn if turn is not None and turn.client_order_id == intent.client_order_id else _NO_TURN

    def _require_rules(self, intent: OrderIntent, account: AccountFacts, turn: _Turn) -> None:
        broken = self._broken(intent, account, since_turn=turn.seconds)
        if broken and not turn.looked_anew:
            self._look_anew(intent, account)
            broken = self._broken(intent, account)
        if broken:
            raise OrderRejected(
                "; ".join(one.message for one in broken),
                client_order_id=intent.client_order_id,
                rules=[one.rule.value for one in broken],
            )

    @property
    def _looked_lately(self) -> bool:
        now = self._monotonic()
        held_lately = now - self._held_at <= CHECK_SECONDS and now - self._assets_at <= ASSETS_SECONDS
        return held_lately and self._gate.looked_lately

    def _look_anew(self, intent: OrderIntent, account: AccountFacts) -> None:
        """Look at all of it now: what an earlier order read may have changed. Only a fresh look may end an order."""
        self._held_at = self._assets_at = float("-inf")
        self._facts(intent.symbol, account)

    def _broken(self, intent: OrderIntent, account: AccountFacts, *, since_turn: float = 0.0) -> tuple[BrokenRule, ...]:
        return broken_rules(intent, self._facts(intent.symbol, account, since_turn=since_turn), self._calendar)

    def _facts(self, symbol: str, account: AccountFacts, *, since_turn: float = 0.0) -> OrderFacts:
        if self._monotonic() - self._assets_at > ASSETS_SECONDS + since_turn:
            self._assets, self._assets_at = self._read_assets(), self._monotonic()
        if self._monotonic() - self._held_at > CHECK_SECONDS + since_turn:
            self.positions()
        return OrderFacts(
            now=self._clock.now(),
            position=self._held.get(symbol, Decimal(0)),
            asset=self._assets.get(symbol),
            shorting_enabled=account.shorting_enabled,
        )

    def _read_assets(self) -> dict[str, AssetFacts]:
        rows = self._reader.get_list("/assets", {"status": "active", "asset_class": "us_equity"})
        return {
            str(row.get("symbol")): AssetFacts(
                tradable=row.get("tradable") is True,
                shortable=row.get("shortable") is True,
                easy_to_borrow=row.get("easy_to_borrow") is True or row.get("borrow_status") == "easy_to_borrow",
            )
            for row in rows
        }


def _same(intent: OrderIntent, found: BrokerOrder) -> bool:
    ours = (intent.client_order_id, intent.symbol, intent.side, Decimal(intent.qty))
    return ours == (found.client_order_id, found.symbol, found.side, found.qty)

"""A broker whose silence is counted: the row of unanswered calls is what one of the monitor's rules goes by."""

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from typing import Protocol

import structlog

from trading_pipeline.adapters.broker.protocol import Broker, BrokerOrder, Execution
from trading_pipeline.core.cash import CashActivity, CashBalance
from trading_pipeline.core.orders.model import OrderIntent
from trading_pipeline.core.restating import Restatement
from trading_pipeline.core.risk.clearance import Clearance
from trading_pipeline.errors import NotYet, OrderStateUnknown, PipelineError, TransientError

ANSWER_SECONDS = 1.0
"""How often, at most, an answer is noted while all is well: a success in one process ends the row of another."""

log = structlog.get_logger(__name__)


class CallRecord(Protocol):
    """Where calls are counted, across processes."""

    def broker_failed(self, account: str, error: str) -> None:
        """Count a call that was not answered."""
        ...

    def broker_answered(self, account: str) -> None:
        """End the row of unanswered calls."""
        ...


class WatchedBroker:
    """Implements `Broker` by another one. A refusal is an answer; silence, a lost answer or "not now" are not.

    Nor is what nobody was asked for. A broker whose time is ours knows its newest session by itself, and whether an
    account may trade by a look that may be a while old; a question about no orders at all needs no answer.
    """

    def __init__(self, broker: Broker, record: CallRecord, account: str) -> None:
        self._broker = broker
        self._record = record
        self._account = account
        self._noted_at = float("-inf")

    @property
    def name(self) -> str:
        """What kind of broker this is."""
        return self._broker.name

    @property
    def real_time(self) -> bool:
        """True when the broker's time is ours."""
        return self._broker.real_time

    @property
    def crosses_zero(self) -> bool:
        """True when one order may take a position across zero."""
        return self._broker.crosses_zero

    @property
    def current_session(self) -> date | None:
        """The session orders may be decided from now."""
        with self._call("current_session", asks=not self.real_time):
            return self._broker.current_session

    def advance(self, session: date) -> None:
        """Pass on."""
        with self._call("advance", asks=not self.real_time):
            self._broker.advance(session)

    def require_tradable(self, session: date) -> None:
        """Pass on."""
        with self._call("require_tradable", asks=not self.real_time):
            self._broker.require_tradable(session)

    def await_turn(self, intent: OrderIntent, *, replaced_id: str | None = None, at_once: bool = False) -> None:
        """Pass on."""
        with self._call("await_turn", asks=False):
            self._broker.await_turn(intent, replaced_id=replaced_id, at_once=at_once)

    def submit(self, intent: OrderIntent, clearance: Clearance) -> BrokerOrder:
        """Pass on."""
        with self._call("submit"):
            return self._broker.submit(intent, clearance)

    def require_replaceable(self, client_order_id: str) -> None:
        """Pass on."""
        with self._call("require_replaceable"):
            self._broker.require_replaceable(client_order_id)

    def replace(self, replaced_id: str, intent: OrderIntent, clearance: Clearance) -> BrokerOrder:
        """Pass on."""
        with self._call("replace"):
            return self._broker.replace(replaced_id, intent, clearance)

    def find_replacement(self, replaced_id: str, client_order_id: str) -> BrokerOrder | None:
        """Pass on."""
        with self._call("find_replacement"):
            return self._broker.find_replacement(replaced_id, client_order_id)

    def find(self, client_order_id: str) -> BrokerOrder | None:
        """Pass on."""
        with self._call("find"):
            return self._broker.find(client_order_id)

    def find_many(self, client_order_ids: Collection[str]) -> dict[str, BrokerOrder]:
        """Pass on."""
        with self._call("find_many", asks=bool(client_order_ids)):
            return self._broker.find_many(client_order_ids)

    def cancel(self, client_order_id: str) -> BrokerOrder | None:
        """Pass on."""
        with self._call("cancel"):
            return self._broker.cancel(client_order_id)

    def executions(self, client_order_ids: Sequence[str]) -> list[Execution]:
        """Pass on."""
        with self._call("executions", asks=bool(client_order_ids)):
            return self._broker.executions(client_order_ids)

    def open_orders(self) -> list[BrokerOrder]:
        """Pass on."""
        with self._call("open_orders"):
            return self._broker.open_orders()

    def positions(self) -> dict[str, Decimal]:
        """Pass on."""
        with self._call("positions"):
            return self._broker.positions()

    def cash(self) -> CashBalance:
        """Pass on."""
        with self._call("cash"):
            return self._broker.cash()

    def restate(self, action: Restatement) -> None:
        """Pass on."""
        with self._call("restate"):
            self._broker.restate(action)

    def cash_activities(self, since: date) -> list[CashActivity]:
        """Pass on."""
        with self._call("cash_activities"):
            return self._broker.cash_activities(since)

    @contextmanager
    def _call(self, verb: str, *, asks: bool = True) -> Iterator[None]:
        """Count a call. One that need not ask the broker proves nothing when it goes well."""
        try:
            yield
        except NotYet:  # nothing was asked
            raise
        except (TransientError, OrderStateUnknown) as failure:
            self._failed(verb, failure)
            raise
        except PipelineError:
            if asks:
                self._answered()
            raise
        if asks:
            self._answered()

    def _failed(self, verb: str, failure: Exception) -> None:
        self._noted_at = float("-inf")
        try:
            self._record.broker_failed(self._account, f"{verb}: {failure}")
        except TransientError as lost:  # what the broker said matters more than that it could not be counted
            log.warning("a broker error could not be counted", verb=verb, reason=str(lost))

    def _answered(self) -> None:
        if time.monotonic() - self._noted_at < ANSWER_SECONDS:
            return
        try:
            self._record.broker_answered(self._account)
            self._noted_at = time.monotonic()
        except TransientError as lost:
            log.warning("a broker's answer could not be noted", reason=str(lost))

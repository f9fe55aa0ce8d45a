"""Every error this system raises, sorted by what the reader must do about it.

PipelineError
├── ConfigError              fix the configuration; nothing was done
│   ├── NotASession          a key or date that is no session of the exchange
│   ├── UnknownFreshnessMode a mode that freshness is not judged by
│   ├── WrongAccount         the broker's account is not the pinned one; nothing was read from it and nothing sent
│   └── AccountBlocked       the broker lets the account send no orders
├── TransientError           try again later; nothing was lost
│   ├── ServerUnavailable    PostgreSQL or Redis did not answer
│   │   └── CommitUnknown    the answer to a COMMIT was lost and could not be looked up; read before you repeat
│   ├── OrdersUnsent         the broker had no time for some orders; the next run of the same job sends them
│   ├── NotYet               our own share of a server's request limit is used up; nothing was asked
│   ├── ClockUnreliable      broker, calendar and our clock do not tell the same time; no order is sent
│   └── PoolExhausted        every pooled connection stayed in use; nothing was done
├── DataQualityError         the data of this session is not fit for use; stop the session
│   ├── BarFileInvalid       a file offered for import breaks the bar format
│   ├── BarsUnavailable      the source has no bars where some were expected
│   ├── InsufficientFreshness  too few symbols are fresh to trade the session
│   ├── MissingColumns       a frame lacks columns that it is read by
│   ├── NaiveTimestamp       an instant without a time zone
│   ├── FutureTimestamp      a bar that ends after the instant it is judged at
│   ├── PriceUnavailable     a symbol without a price fit for an order; it is left out, the others trade
│   ├── GateNotPassed        a session that a gate did not pass, or that no gate has judged: no order from it
│   └── FeatureError         an expression cannot be parsed or computed
├── ModelError               the model cannot serve this session
│   ├── ModelUnavailable     nothing is registered under the wanted name and alias
│   └── ModelLooksAhead      the model was trained on data the session could not know
├── RiskRefused              the guard said no: an expected verdict, not a failure
│   └── TradingHalted        kill switch or breaker; an operator must act
├── NotReconciled            ledger, book and broker differ in what nothing explains; an operator must look
│   ├── TieOutFailed         they did at the end of a session: no order is sent until they agree
│   └── TieOutMissing        nobody looked at the end of a session in which the account did something
├── OrderError
│   ├── OrderConflict        one client order id, two payloads
│   ├── ExecutionConflict    one execution id, two contents
│   ├── OrderRejected        the broker refused the order for good
│   ├── DuplicateOrderId     the broker has an order of this client order id already
│   ├── OrderStateUnknown    the answer was lost; reconcile, never resend
│   ├── IllegalTransition    an event that the order's state cannot follow
│   └── SessionNotTradable   orders for this session may not be sent now
│       └── OutsideSubmissionWindow  too early before the open it trades at, or too late
├── SqlRefused               a question to the lake that is not read-only, is wrong, or takes too long
└── OperatorError            an operator action that the present state does not allow
"""

from enum import StrEnum
from typing import Any


class PipelineError(Exception):
    """Base of all errors raised on purpose. Fields go to the log and to the UI as they are."""

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields

    def __str__(self) -> str:
        return self.message


class ConfigError(PipelineError):
    """A setting is missing or wrong."""


class NotASession(ConfigError):
    """A date that is not a trading session of the exchange."""


class UnknownFreshnessMode(ConfigError):
    """A name that is no mode of the freshness judgement."""


class WrongAccount(ConfigError):
    """The keys belong to another account than the pinned one."""


class AccountBlocked(ConfigError):
    """The broker takes no orders of the account until somebody has seen to it there."""


class TransientError(PipelineError):
    """A failure that usually resolves itself; a retry is safe."""


class ServerUnavailable(TransientError):
    """A server this system depends on did not answer."""


class CommitUnknown(ServerUnavailable):
    """Whether a transaction was committed could not be found out."""


class OrdersUnsent(TransientError):
    """A run ended before the broker took all its orders: they stay cleared, their exposure held."""


class NotYet(TransientError):
    """It is not our turn to ask a server: nothing was sent, and the server has failed in nothing."""


class ClockUnreliable(TransientError):
    """Broker, exchange calendar and our clock disagree about what time it is, or when the exchange is open."""


class PoolExhausted(TransientError):
    """Every pooled connection stayed in use for the time one may wait."""


class DataQualityError(PipelineError):
    """Data that must not reach an order."""


class BarFileInvalid(DataQualityError):
    """A file offered for import that breaks the bar format."""


class BarsUnavailable(DataQualityError):
    """No bars where some were expected."""


class InsufficientFreshness(DataQualityError):
    """Too few symbols are fresh for the session to be used."""


class MissingColumns(DataQualityError):
    """A frame without the columns it is read by."""


class NaiveTimestamp(DataQualityError):
    """An instant without a time zone, which could be any of two dozen."""


class FutureTimestamp(DataQualityError):
    """A bar that ends after the instant at which it is judged: nobody could have known it then."""


class NoPrice(StrEnum):
    """Why a symbol has no price. The value is what people read."""

    ABSENT = "the answer does not name the symbol"
    EMPTY = "there is neither a quote nor a trade"
    MALFORMED = "what was told of it is no quote and no trade"
    NAIVE = "its time has no zone"
    FUTURE = "its time has not come yet"
    STALE = "it is older than a price may be"
    OTHER_SESSION = "it is not of the session under way"
    NO_SIDE = "both sides of the quote are empty"
    ONE_SIDED = "one side of the quote is empty"
    CROSSED = "the bid is above the ask"
    WIDE = "the spread is too wide"
    NOT_FIRM = "the quote is not firm"
    OUT_OF_BOUNDS = "the last trade lies outside the quote"
    HALTED = "trading is halted"
    NO_CLOSE = "the exchange is closed, and its last session has no close of the symbol"
    UNREACHABLE = "no source of prices answered"


class PriceUnavailable(DataQualityError):
    """One symbol has no price that an order may be made at. There is no other price to take instead."""

    def __init__(self, symbol: str, reason: NoPrice, detail: str = "") -> None:
        message = f"{symbol} has no price: {reason}" + (f" ({detail})" if detail else "")
        super().__init__(message, symbol=symbol, reason=reason.name.lower(), detail=detail)
        self.symbol = symbol
        self.reason = reason


class GateNotPassed(DataQualityError):
    """A session that did not pass a gate, or that none has judged. No prediction, target or order comes from it."""


class FeatureError(DataQualityError):
    """A feature expression that cannot be parsed or computed."""


class ModelError(PipelineError):
    """The model cannot serve this session."""


class ModelUnavailable(ModelError):
    """No model is registered under the wanted name and alias."""


class ModelLooksAhead(ModelError):
    """The model has seen labels that were not known at the session."""


class RiskRefused(PipelineError):
    """The guard refused; the fields carry code, observed value and limit."""


class TradingHalted(RiskRefused):
    """Kill switch, breaker or a missing book: an operator must act."""


class NotReconciled(PipelineError):
    """Ledger, book and broker differ in something that neither our orders nor those of others explain."""


class TieOutFailed(NotReconciled):
    """The newest tie-out found differences: no order is sent until one finds none."""


class TieOutMissing(NotReconciled):
    """The last session in which the account did anything was not tied out: no order is sent until it is."""


class OrderError(PipelineError):
    """Something about one order."""


class OrderConflict(OrderError):
    """One client order id with two payloads."""


class ExecutionConflict(OrderError):
    """One execution reported with two contents."""


class OrderRejected(OrderError):
    """The broker refused the order for good."""


class DuplicateOrderId(OrderError):
    """The broker has an order of this client order id already; which one is to be looked up."""


class OrderStateUnknown(OrderError):
    """The broker's answer was lost; the order may or may not exist there."""


class IllegalTransition(OrderError):
    """An event that does not follow from the order's present state."""


class SessionNotTradable(OrderError):
    """Orders decided from this session may not be sent now."""


class OutsideSubmissionWindow(SessionNotTradable):
    """The orders of this session may be sent in a window before its open only, and this is not in it."""


class SqlRefused(PipelineError):
    """A question to the lake that writes, is wrong, or takes too long; the message says which."""


class OperatorError(PipelineError):
    """An operator action that the present state does not allow."""

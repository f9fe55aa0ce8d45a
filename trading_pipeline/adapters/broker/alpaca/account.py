"""Whether this is the pinned account, whether it may trade, and whether everybody agrees what time it is."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from trading_pipeline.adapters.alpaca.transport import AlpacaReader
from trading_pipeline.adapters.broker.alpaca.documents import instant_of
from trading_pipeline.core.clock import Clock
from trading_pipeline.core.sessions import SessionCalendar
from trading_pipeline.errors import AccountBlocked, ClockUnreliable, DataQualityError, WrongAccount

CHECK_SECONDS: Final = 30.0
"""How long a look at account and clock is good for: 200 orders in a minute cost two looks."""
SKEW_WARNS: Final = timedelta(seconds=2)
SKEW_HALTS: Final = timedelta(seconds=30)
_BLOCKS: Final = ("trading_blocked", "account_blocked", "trade_suspended_by_user")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFacts:
    """What the account itself says that orders depend on."""

    shorting_enabled: bool


class AccountGate:
    """Looks at the account before anything is read from it or sent to it.

    Args:
        reader: reads of the trading API.
        account_id: the pinned account, by its id or its number.
        calendar: our sessions, which the broker's clock is compared with.
        clock: our time.
        monotonic: seconds that only grow, for the age of a look.
    """

    def __init__(
        self,
        reader: AlpacaReader,
        *,
        account_id: str,
        calendar: SessionCalendar,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader, self._account_id = reader, account_id
        self._calendar, self._clock, self._monotonic = calendar, clock, monotonic
        self._account: dict[str, Any] | None = None
        self._account_at = self._clock_at = float("-inf")

    def require_ours(self) -> None:
        """Check once that the keys belong to the pinned account: nothing is read from any other.

        Raises:
            WrongAccount: they do not.
            TransientError: Alpaca did not answer.
        """
        if self._account is None:
            self._look()

    @property
    def looked_lately(self) -> bool:
        """Whether the looks at account and clock are good still."""
        return self._monotonic() - min(self._account_at, self._clock_at) <= CHECK_SECONDS

    def require_ready(self, *, since_turn: float = 0.0) -> AccountFacts:
        """Check that an order may be sent now, by looks at most `CHECK_SECONDS` old at its turn; return what they saw.

        Raises:
            WrongAccount: the account is another than the pinned one.
            AccountBlocked: it may not trade.
            ClockUnreliable: the broker's clock is too far from ours, or its hours are not those of our calendar.
            TransientError: Alpaca did not answer: what is unknown is no.
        """
        account = self._account
        if account is None or self._monotonic() - self._account_at > CHECK_SECONDS + since_turn:
            account = self._look()
        shut = [name for name in _BLOCKS if account.get(name) is not False]
        status = account.get("status")
        if status != "ACTIVE" or shut:
            raise AccountBlocked(
                f"account {self._account_id} takes no orders: status {status}"
                + "".join(f", {name} is {account.get(name)}" for name in shut)
                + "; see to it at Alpaca",
                status=status,
                blocked_by=shut,
            )
        if self._monotonic() - self._clock_at > CHECK_SECONDS + since_turn:
            self._check_clock()
        return AccountFacts(shorting_enabled=account.get("shorting_enabled") is True)

    def _look(self) -> dict[str, Any]:
        account = self._reader.get("/account", {})
        found = {account.get("id"), account.get("account_number")}
        if self._account_id not in found:
            raise WrongAccount(
                f"the keys belong to account {account.get('id')} ({account.get('account_number')}), pinned is "
                f"{self._account_id}: check ALPACA_ACCOUNT_ID and the keys; nothing was sent",
                found=account.get("id"),
                pinned=self._account_id,
            )
        self._account, self._account_at = account, self._monotonic()
        return account

    def _check_clock(self) -> None:
        asked = self._clock.now()
        answer = self._reader.get("/clock", {})
        answered = self._clock.now()
        try:
            theirs = instant_of(answer["timestamp"])
            hours = (answer["is_open"], instant_of(answer["next_open"]), instant_of(answer["next_close"]))
        except (KeyError, ValueError) as error:
            raise DataQualityError(f"Alpaca's clock cannot be read: {type(error).__name__}: {error}") from error
        self._judge_skew(theirs, asked, answered)
        self._judge_hours(theirs, hours)
        self._clock_at = self._monotonic()

    def _judge_skew(self, theirs: datetime, asked: datetime, answered: datetime) -> None:
        """Compare with the nearest end of the time the request took: the way there and back is nobody's error."""
        skew = max(theirs - answered, asked - theirs, timedelta(0))
        if skew > SKEW_HALTS:
            raise ClockUnreliable(
                f"Alpaca's clock says {theirs.isoformat()}, ours {answered.isoformat()}: {skew.total_seconds():.1f} s "
                f"apart, at most {SKEW_HALTS.total_seconds():.0f} s are tolerated; synchronise this machine's clock",
                skew_seconds=skew.total_seconds(),
            )
        if skew > SKEW_WARNS:
            log.warning("Alpaca's clock and ours differ", skew_seconds=skew.total_seconds())

    def _judge_hours(self, now: datetime, theirs: tuple[object, datetime, datetime]) -> None:
        ours = _hours(now, self._calendar)
        if ours != theirs:
            raise ClockUnreliable(
                f"Alpaca's hours are not those of the exchange calendar: open, next open and next close are "
                f"{_shown(theirs)} there and {_shown(ours)} here; extend or correct the calendar",
                theirs=_shown(theirs),
                ours=_shown(ours),
            )


def _hours(now: datetime, calendar: SessionCalendar) -> tuple[object, datetime, datetime]:
    day = now.astimezone(calendar.zone).date()
    days = calendar.between(day, min(day + timedelta(days=10), calendar.last_day))
    next_open = next(at for one in days if (at := calendar.open_at(one)) > now)
    next_close = next(at for one in days if (at := calendar.close_at(one)) > now)
    return next_close < next_open, next_open, next_close


def _shown(hours: tuple[object, datetime, datetime]) -> str:
    is_open, next_open, next_close = hours
    return f"{is_open}, {next_open.isoformat()}, {next_close.isoformat()}"

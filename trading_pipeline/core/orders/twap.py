"""A large order cut into slices over time: how many, how large and when. Asks no clock and sends nothing.

The slices are as even as whole shares allow. Which of them carry the shares that do not divide is drawn from the
parent's id by a keyed hash: the same on every retry, and not to be foreseen by who sees the first slices.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final

from trading_pipeline.core.orders.ids import client_order_id
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.orders.rules import CLOSING_CUT
from trading_pipeline.core.sessions import SessionCalendar
from trading_pipeline.errors import OperatorError, SessionNotTradable

BPS: Final = 10_000
SHORTEST_INTERVAL: Final = timedelta(seconds=10)
"""The least time between two slices."""
MOST_SLICES: Final = 1_000
_TWAP: Final = "twap"
_MICROSECOND: Final = timedelta(microseconds=1)


class WhenLate(StrEnum):
    """What becomes of a slice whose time has passed: it runs while its grace lasts, or it expires."""

    RUN = "run"
    EXPIRE = "expire"


class WarningCode(StrEnum):
    """In what a plan differs from what was asked."""

    PAST_START = "past_start"
    HORIZON_CLIPPED = "horizon_clipped"
    FEWER_SLICES = "fewer_slices"
    CAP_HIT = "cap_hit"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanWarning:
    """One difference of a plan from what was asked, in words."""

    code: WarningCode
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TwapRequest:
    """What somebody wants done over time.

    Attributes:
        qty: whole shares.
        minutes: how long it may take.
        slices: how many slices are wanted; None: one a minute.
        start: when it begins, aware; None: at once, or at the open.
        max_adv_bps: largest slice as a share of the 20-day average daily volume, 1/100 percent.
        max_volume_bps: largest slice as a share of what is traded since the slice before, 1/100 percent; None: no cap.
        min_slice_shares: least shares of a slice; an order of fewer is one slice.
        when_late: what becomes of a slice that could not be sent in time.
        grace_seconds: for how long after its due time a late slice still runs.
        repeat: number of a wanted repeat of the same order on one day, 0 for the first.

    Raises:
        OperatorError: a number that makes no sense; the message names it.
    """

    account: str
    strategy_id: str
    symbol: str
    side: Side
    qty: int
    minutes: int
    slices: int | None = None
    start: datetime | None = None
    max_adv_bps: int = 100
    max_volume_bps: int | None = None
    min_slice_shares: int = 1
    when_late: WhenLate = WhenLate.RUN
    grace_seconds: int = 300
    repeat: int = 0

    def __post_init__(self) -> None:
        if self.start is not None and self.start.utcoffset() is None:
            raise OperatorError(f"the start {self.start.isoformat()} has no time zone: give it with its offset")
        bounds = (
            ("shares", self.qty, 1, None),
            ("minutes", self.minutes, 1, 24 * 60),
            ("slices", 1 if self.slices is None else self.slices, 1, MOST_SLICES),
            ("max_adv_bps", self.max_adv_bps, 1, BPS),
            ("max_volume_bps", 1 if self.max_volume_bps is None else self.max_volume_bps, 1, BPS),
            ("min_slice_shares", self.min_slice_shares, 1, None),
            ("grace_seconds", self.grace_seconds, 0, 24 * 3600),
            ("repeat", self.repeat, 0, None),
        )
        for name, value, least, most in bounds:
            if type(value) is not int or value < least or (most is not None and value > most):
                span = f"{least:,} to {most:,}" if most is not None else f"{least:,} or more"
                raise OperatorError(f"{self.symbol}: {name} must be a whole number, {span}, not {value!r}")

    def parent_id(self, trade_session: date) -> str:
        """Return the id of the parent: by the rule of order ids, so that who repeats the request gets the same."""
        return client_order_id(
            symbol=self.symbol,
            side=self.side,
            qty=self.qty,
            limit_price=None,
            stop_price=None,
            order_type=_TWAP,
            time_in_force="day",
            strategy_id=self.strategy_id,
            trade_date=trade_session,
            repeat=self.repeat,
        )

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over all that was asked: tells a retry from another request of the same id."""
        start = "now" if self.start is None else self.start.isoformat()
        parts = (
            self.account,
            self.strategy_id,
            self.symbol,
            self.side,
            self.qty,
            self.minutes,
            self.slices,
            start,
            self.max_adv_bps,
            self.max_volume_bps,
            self.min_slice_shares,
            self.when_late,
            self.grace_seconds,
            self.repeat,
        )
        return hashlib.sha256("|".join(str(part) for part in parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSlice:
    """One slice: its number from 1, whole shares, and when it is due (UTC)."""

    number: int
    qty: int
    due_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TwapPlan:
    """What becomes of a request.

    Attributes:
        parent_id: names the whole; its slices are numbered.
        request: what was asked.
        trade_session: the session all slices lie in.
        interval: the time between two slices.
        max_slice_shares: what no slice may exceed.
        slices: in order of time.
        unplanned: shares for which the caps leave no room.
        warnings: in what this differs from what was asked.
    """

    parent_id: str
    request: TwapRequest
    trade_session: date
    interval: timedelta
    max_slice_shares: int
    slices: tuple[PlannedSlice, ...]
    unplanned: int
    warnings: tuple[PlanWarning, ...]


def plan_twap(
    request: TwapRequest, *, trade_session: date, now: datetime, adv_shares: int, calendar: SessionCalendar
) -> TwapPlan:
    """Cut a request into slices of one session.

    Every slice is due within the regular session and before orders of its closing auction are no longer taken. Slices
    differ by one share at most. Each is at most the given share of the average daily volume and, where the traded
    volume is capped, that share of what is traded in an interval of an average day.

    Raises:
        SessionNotTradable: no time is left in the session.
        OperatorError: the caps leave no room for a slice of the least size.
    """
    parent_id = request.parent_id(trade_session)
    start, end, warnings = _horizon(request, trade_session, now, calendar)
    count = _count(request, end - start)
    if count < (request.slices or request.minutes):
        warnings.append(_fewer(request, count, end - start))
    interval = (end - start) // count
    length = calendar.close_at(trade_session) - calendar.open_at(trade_session)
    cap = _cap(request, adv_shares, interval, length)
    planned = min(request.qty, count * cap)
    if planned < request.qty:
        left = request.qty - planned
        message = f"a slice may have {cap:,} shares at most: {left:,} of {request.qty:,} shares remain unplanned"
        warnings.append(PlanWarning(code=WarningCode.CAP_HIT, message=message))
    slices = (
        PlannedSlice(number=number, qty=qty, due_at=start + (number - 1) * interval)
        for number, qty in enumerate(spread(planned, count, parent_id), 1)
    )
    return TwapPlan(
        parent_id=parent_id,
        request=request,
        trade_session=trade_session,
        interval=interval,
        max_slice_shares=cap,
        slices=tuple(slices),
        unplanned=request.qty - planned,
        warnings=tuple(warnings),
    )


def spread(shares: int, count: int, parent_id: str) -> list[int]:
    """Spread shares over `count` slices as evenly as whole shares allow.

    The slices that get one share more are those whose keyed hash is lowest.
    """
    each, over = divmod(shares, count)
    drawn = sorted(range(count), key=lambda at: hmac.digest(parent_id.encode(), str(at).encode(), "sha256"))
    larger = frozenset(drawn[:over])
    return [each + (at in larger) for at in range(count)]


def last_due(trade_session: date, calendar: SessionCalendar) -> datetime:
    """Return from when on no slice is sent any more: orders of the closing auction are taken until then."""
    return calendar.close_at(trade_session) - CLOSING_CUT


def _horizon(
    request: TwapRequest, session: date, now: datetime, calendar: SessionCalendar
) -> tuple[datetime, datetime, list[PlanWarning]]:
    opened, cut = calendar.open_at(session), last_due(session, calendar)
    asked = max(now, opened) if request.start is None else request.start
    asked_end = asked + timedelta(minutes=request.minutes)
    start, end = max(asked, opened, now).astimezone(opened.tzinfo), min(asked_end, cut).astimezone(opened.tzinfo)
    if end - start < _MICROSECOND:
        raise SessionNotTradable(
            f"no time is left for {request.symbol}: from {_local(asked, calendar)} on {request.minutes} minute(s) were "
            f"asked, it is {_local(now, calendar)}, and slices of session {session} are sent from "
            f"{_local(opened, calendar)} until {_local(cut, calendar)} New York time",
            session=session.isoformat(),
        )
    warnings = []
    if asked < now:
        message = f"the start {_local(asked, calendar)} has passed: the first slice is due at once"
        warnings.append(PlanWarning(code=WarningCode.PAST_START, message=message))
    if asked < opened or asked_end > cut:
        message = (
            f"clipped to {_local(start, calendar)} until {_local(end, calendar)} New York time: session {session} "
            f"opens at {_local(opened, calendar)}, and slices end at {_local(cut, calendar)}"
        )
        warnings.append(PlanWarning(code=WarningCode.HORIZON_CLIPPED, message=message))
    return start, end, warnings


def _count(request: TwapRequest, horizon: timedelta) -> int:
    wanted = min(request.slices or request.minutes, MOST_SLICES)
    return max(1, min(wanted, request.qty // request.min_slice_shares, horizon // SHORTEST_INTERVAL))


def _fewer(request: TwapRequest, count: int, horizon: timedelta) -> PlanWarning:
    seconds = SHORTEST_INTERVAL.total_seconds()
    message = (
        f"{count:,} slice(s) instead of {request.slices or request.minutes:,}: {request.qty:,} shares in slices of "
        f"{request.min_slice_shares:,} at least, and {horizon.total_seconds():,.0f} s at {seconds:.0f} s a slice, "
        "allow no more"
    )
    return PlanWarning(code=WarningCode.FEWER_SLICES, message=message)


def _cap(request: TwapRequest, adv_shares: int, interval: timedelta, length: timedelta) -> int:
    cap = adv_shares * request.max_adv_bps // BPS
    if request.max_volume_bps is not None:
        cap = min(cap, volume_share(adv_shares * interval // length, request.max_volume_bps))
    if cap < min(request.min_slice_shares, request.qty):
        raise OperatorError(
            f"{request.symbol} trades {adv_shares:,} shares a day on average: a slice may have {cap:,} shares at most, "
            f"fewer than the {request.min_slice_shares:,} it must have. Raise the caps, or take fewer slices",
            symbol=request.symbol,
            adv_shares=adv_shares,
            max_slice_shares=cap,
        )
    return cap


def volume_share(volume: int, bps: int) -> int:
    """Return a share of a volume, 1/100 percent, in whole shares rounded down."""
    return volume * bps // BPS


def _local(instant: datetime, calendar: SessionCalendar) -> str:
    return instant.astimezone(calendar.zone).strftime("%H:%M:%S")

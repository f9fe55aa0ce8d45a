"""When the orders of a session may be sent: before its open, and not later than the auction takes orders."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from trading_pipeline.core.sessions import SessionCalendar
from trading_pipeline.errors import OutsideSubmissionWindow

AUCTION_CUTOFF = timedelta(minutes=2)
"""Orders for the opening auction are taken until 09:28 New York, two minutes before every open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionWindow:
    """How long before the open of the session in which they work orders may be sent, and until when.

    Both count back from the open by the exchange calendar: half days and changes of the clocks move nothing.
    """

    opens_before: timedelta
    ends_before: timedelta

    def __post_init__(self) -> None:
        if self.ends_before < AUCTION_CUTOFF:
            msg = f"the window must end {AUCTION_CUTOFF} before the open or earlier, not {self.ends_before}"
            raise ValueError(msg)
        if self.opens_before <= self.ends_before:
            msg = f"the window opens {self.opens_before} and ends {self.ends_before} before the open: it is empty"
            raise ValueError(msg)

    def bounds(self, session: date, calendar: SessionCalendar) -> tuple[datetime, datetime]:
        """Return from when (UTC, included) until when (excluded) orders decided from a session may be sent.

        Raises:
            NotASession: the exchange had none that day, or the calendar ends with it.
        """
        opens = calendar.open_at(calendar.next(session))
        return opens - self.opens_before, opens - self.ends_before

    def require_open(self, session: date, now: datetime, calendar: SessionCalendar) -> None:
        """Check that orders decided from a session may be sent at an instant.

        Raises:
            OutsideSubmissionWindow: it is too early, or too late; the message says what to do.
            NotASession: as `bounds`.
        """
        begins, ends = self.bounds(session, calendar)
        if begins <= now < ends:
            return
        first, last = (at.astimezone(calendar.zone).strftime("%Y-%m-%d %H:%M:%S") for at in (begins, ends))
        what = (
            "it is not open yet: run `submit_orders` in it"
            if now < begins
            else "it is over: the session is not traded late; the next one starts from the positions as they are"
        )
        raise OutsideSubmissionWindow(
            f"orders decided from {session} are sent from {first} until {last} New York, and it is "
            f"{now.astimezone(calendar.zone):%Y-%m-%d %H:%M:%S}: {what}",
            session=session.isoformat(),
            opens=begins.isoformat(),
            ends=ends.isoformat(),
        )

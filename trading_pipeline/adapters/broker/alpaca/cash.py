"""Alpaca's cash: the balance that moves on the trade date, and the activities beside fills, by raw call.

alpaca-py has no call for account activities.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time
from typing import Any, Final

from trading_pipeline.adapters.alpaca.transport import AlpacaReader
from trading_pipeline.adapters.broker.alpaca.documents import decimal_of, instant_of, readable, session_of
from trading_pipeline.core.accounting import ZERO
from trading_pipeline.core.cash import CashActivity, CashBalance
from trading_pipeline.core.sessions import SessionCalendar
from trading_pipeline.errors import DataQualityError

PAGE: Final = 100
_ACTIVITIES: Final = "/account/activities"
_FILL: Final = "FILL"
_CANCELED: Final = "canceled"


class AlpacaCash:
    """Reads cash and what moved it.

    Args:
        reader: reads of the trading API.
        calendar: for the sessions of activities.
    """

    def __init__(self, reader: AlpacaReader, *, calendar: SessionCalendar) -> None:
        self._reader, self._calendar = reader, calendar

    def balance(self) -> CashBalance:
        """Return `cash`, which moves with the trade and not with its settlement, and the fees that accrued.

        Raises:
            DataQualityError: it cannot be read.
        """
        account = self._reader.get("/account", {})
        with readable("the cash"):
            return CashBalance(
                cash=decimal_of(account["cash"]), accrued_fees=abs(decimal_of(account.get("accrued_fees") or "0"))
            )

    def activities(self, since: date) -> list[CashActivity]:
        """Return the activities beside fills from a day on, each id once, whatever types they have.

        Raises:
            DataQualityError: one cannot be read, or one id says two things.
        """
        found: dict[str, CashActivity] = {}
        for document in self._pages(since):
            if document.get("activity_type") == _FILL:
                continue
            one = cash_activity(document, self._calendar)
            if found.setdefault(one.activity_id, one).document != one.document:
                raise DataQualityError(
                    f"activity {one.activity_id} of Alpaca says two things in one answer: run again, and see to it at "
                    "Alpaca if it stays so",
                    activity_id=one.activity_id,
                )
        return list(found.values())

    def _pages(self, since: date) -> Iterator[dict[str, Any]]:
        """Read from page to page; a page may repeat rows of the one before, which ends only where nothing is new."""
        asked: dict[str, str | int] = {
            "category": "non_trade_activity",
            "after": datetime.combine(since, time(), UTC).isoformat(),
            "direction": "asc",
            "page_size": PAGE,
        }
        token, seen = "", set[str]()
        while True:
            page = self._reader.get_list(_ACTIVITIES, asked | ({"page_token": token} if token else {}))
            yield from page
            ids = {str(one.get("id")) for one in page}
            if ids <= seen:
                return
            seen |= ids
            token = str(page[-1].get("id"))


def cash_activity(document: Mapping[str, Any], calendar: SessionCalendar) -> CashActivity:
    """Read an activity; one that was cancelled, or that tells of no money, moved nothing.

    Raises:
        DataQualityError: a field is missing or is not what it should be.
    """
    with readable("an activity"):
        moved = document.get("net_amount") if document.get("status") != _CANCELED else None
        return CashActivity(
            activity_id=str(document["id"]),
            type=str(document["activity_type"]),
            symbol=str(document.get("symbol") or ""),
            amount=decimal_of(moved) if moved else ZERO,
            session=_session(document, calendar),
            document=dict(document),
        )


def _session(document: Mapping[str, Any], calendar: SessionCalendar) -> date:
    if document.get("date"):
        day = date.fromisoformat(str(document["date"]))
        return session_of(datetime.combine(day, time(12), calendar.zone), calendar)
    return session_of(instant_of(document["transaction_time"]), calendar)

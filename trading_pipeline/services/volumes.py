"""What is traded while the session runs: from minute bars, where somebody gives them without delay."""

from datetime import datetime, timedelta
from typing import Protocol

import polars as pl
import structlog

from trading_pipeline.adapters.store.ledger.slices import UNKNOWN_VOLUME, Traded
from trading_pipeline.core.sessions import SessionCalendar
from trading_pipeline.errors import DataQualityError, TransientError
from trading_pipeline.services.intraday import MinuteSource

log = structlog.get_logger(__name__)


class VolumeSource(Protocol):
    """Somewhere that traded volume is known."""

    def traded(self, symbol: str, since: datetime, now: datetime) -> Traded:
        """Return the shares traded since an instant, and until when they are counted; unknown is no number."""
        ...


class MinuteVolumes:
    """Volumes of the complete minutes of a source of minute bars.

    Args:
        source: minute bars labelled by their start.
        delay: how far behind the market it is: with any delay the newest volume is not known.
        calendar: the exchange's sessions.
    """

    def __init__(self, source: MinuteSource, *, delay: timedelta, calendar: SessionCalendar) -> None:
        self._source, self._delay, self._calendar = source, delay, calendar

    def traded(self, symbol: str, since: datetime, now: datetime) -> Traded:
        """Return the shares of the whole minutes that began at `since` or later and have ended."""
        until = now.replace(second=0, microsecond=0)
        if self._delay:
            return UNKNOWN_VOLUME
        if until <= since:
            return Traded(shares=0, until=since)
        try:
            minutes = self._source.minutes(now.astimezone(self._calendar.zone).date(), [symbol])
        except (DataQualityError, TransientError) as unknown:
            log.warning("the traded volume is not known", symbol=symbol, reason=unknown.message)
            return UNKNOWN_VOLUME
        wanted = (pl.col("symbol") == symbol) & (pl.col("timestamp") >= since) & (pl.col("timestamp") < until)
        return Traded(shares=int(minutes.filter(wanted)["volume"].sum()), until=until)

"""Daily and minute bars from Alpaca, always raw; judging them is the quality gate's work."""

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import copy
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import partial
from typing import Any, Final, Self
from zoneinfo import ZoneInfo

import polars as pl
import structlog

from trading_pipeline.adapters.alpaca.transport import AlpacaReader
from trading_pipeline.adapters.market_data.alpaca.pages import Page, StagedPages
from trading_pipeline.core.bars import BAR_SCHEMA, EXCHANGE_ZONE, empty_bars, filed_by_day, require_bar_schema
from trading_pipeline.core.clock import Clock
from trading_pipeline.core.minute_bars import MINUTE_SCHEMA
from trading_pipeline.core.sessions import SessionCalendar
from trading_pipeline.errors import DataQualityError

HISTORY_START: Final = date(2016, 1, 4)
"""The first session Alpaca has bars of."""
PAGE_ROWS: Final = 10_000
SYMBOLS_A_REQUEST: Final = 400
"""Their names fit into a URL; the rows of more would not fit on fewer pages."""
SIP_DELAY: Final = timedelta(minutes=15)
"""Consolidated data newer than this needs a subscription; asking for it is refused."""
_ZONE: Final = ZoneInfo(EXCHANGE_ZONE)
_FIELDS: Final = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v", "vwap": "vw"}
_PAGE_SCHEMA: Final = MINUTE_SCHEMA
_SHOWN: Final = 5

log = structlog.get_logger(__name__)


class Feed(StrEnum):
    """Which trades the bars are made of: those of all exchanges, or of IEX alone."""

    SIP = "sip"
    IEX = "iex"


class AlpacaBars:
    """Bars of any US stock, unadjusted, as Alpaca tells them at the time of asking.

    Each request names the session it means the symbols as of, so that a symbol is the company that had it then.

    Args:
        reader: an `AlpacaReader` over alpaca-py's historical client.
        pages: where the pages of a retrieval under way are kept.
        calendar: the exchange's sessions.
        clock: the present instant.
        feed: which trades count.
    """

    def __init__(
        self, reader: AlpacaReader, *, pages: StagedPages, calendar: SessionCalendar, clock: Clock, feed: Feed
    ) -> None:
        self._reader, self._pages, self._calendar, self._clock, self._feed = reader, pages, calendar, clock, feed
        self._cuts: frozenset[date] = frozenset()

    def cut_at(self, days: Collection[date]) -> Self:
        """Return the source with no request that spans one of these days: those on which symbols change.

        Alpaca labels all bars of an answer with the symbols of its `asof` day. Across a change of symbol that would be
        a name that nobody traded under then.
        """
        other = copy(self)
        other._cuts = frozenset(days)  # noqa: SLF001 - of our own class
        return other

    @property
    def name(self) -> str:
        """The name of the source, which every row carries: vendor, feed and adjustment."""
        return f"alpaca/{self._feed}/raw"

    def coverage(self) -> tuple[date, date] | None:
        """Return the first session Alpaca has and the latest that has closed."""
        return HISTORY_START, self._calendar.latest_closed(self._clock.now())

    @property
    def delay(self) -> timedelta:
        """How far behind the market its minutes are."""
        return SIP_DELAY if self._feed is Feed.SIP else timedelta()

    def symbols(self) -> frozenset[str] | None:
        """Return None: Alpaca can be asked for any symbol."""
        return None

    def bars(self, sessions: Sequence[date], symbols: Collection[str]) -> pl.DataFrame:
        """Return daily bars, in bar format, sorted by session and symbol; a symbol that Alpaca does not know has none.

        A bar of a day without trading is filed under the session after it, for the gate to find.
        A retrieval that was interrupted goes on after the last page it got.

        Raises:
            DataQualityError: a bar that is not stamped midnight New York, or an answer of another form.
            ConfigError: credentials or subscription.
            TransientError: Alpaca did not answer; what was fetched is kept for the next try.
        """
        pages: list[Page] = []
        for run in _runs(sessions, self._calendar, self._cuts):
            pages += self._retrieve(self._daily(run), symbols)
        if not any(page.rows.height for page in pages):
            log.warning("Alpaca has no bars", sessions=len(sessions), symbols=len(symbols))
            return empty_bars()
        rows = filed_by_day(_dated(pl.concat([page.rows for page in pages]), source=self.name))
        wanted = rows.filter(pl.col("session").is_in(sorted(set(sessions))))
        self._tell_apart(rows, wanted, symbols)
        bars = require_bar_schema(wanted.select(BAR_SCHEMA.names()), where=self.name)
        return bars.sort("session", "symbol", maintain_order=True)

    def minutes(self, session: date, symbols: Collection[str]) -> pl.DataFrame:
        """Return the minutes of one New York day, extended hours included, as `MINUTE_SCHEMA`, labelled by their start.

        A call that failed is gone on with by the next for the same minutes; what a call returned is asked anew.
        Of a session under way they end 15 minutes ago on the consolidated feed, now on the other.

        Raises:
            DataQualityError: an answer of another form.
            ConfigError: credentials or subscription.
            TransientError: Alpaca did not answer; what was fetched is kept for the next try.
        """
        start = _midnight(session)
        newest = self._clock.now() - self.delay
        end = min(
            _midnight(session + timedelta(days=1)) - timedelta(minutes=1), newest.replace(second=0, microsecond=0)
        )
        if end < start:
            return MINUTE_SCHEMA.to_frame()
        parameters = self._parameters("1Min", start, end, as_of=session)
        pages = self._retrieve(parameters, symbols)
        self._forget(parameters, symbols)
        return pl.concat([page.rows for page in pages]).sort("symbol", "timestamp", maintain_order=True)

    def delivered(self, sessions: Sequence[date], symbols: Collection[str]) -> None:
        """Forget the kept pages of daily bars whose rows are now stored: the next call asks Alpaca anew."""
        for run in _runs(sessions, self._calendar, self._cuts):
            self._forget(self._daily(run), symbols)

    def _daily(self, run: Sequence[date]) -> dict[str, str | int]:
        return self._parameters("1Day", _midnight(run[0]), _midnight(run[-1]), as_of=run[-1])

    def _parameters(self, timeframe: str, start: datetime, end: datetime, *, as_of: date) -> dict[str, str | int]:
        return {
            "timeframe": timeframe,
            "start": start.isoformat(),
            "end": end.isoformat(),
            "asof": as_of.isoformat(),
            "adjustment": "raw",
            "feed": self._feed.value,
            "sort": "asc",
            "limit": PAGE_ROWS,
        }

    def _retrieve(self, parameters: Mapping[str, str | int], symbols: Collection[str]) -> list[Page]:
        pages: list[Page] = []
        for request, of_request in _requests(parameters, symbols):
            pages += self._pages.retrieve(request, partial(self._ask, of_request))
        return pages

    def _forget(self, parameters: Mapping[str, str | int], symbols: Collection[str]) -> None:
        for request, _ in _requests(parameters, symbols):
            self._pages.forget(request)

    def _ask(self, parameters: Mapping[str, str | int], token: str | None) -> Page:
        paged = dict(parameters) if token is None else {**parameters, "page_token": token}
        answer = self._reader.get("/stocks/bars", paged)
        return Page(rows=_rows(answer), next_token=answer.get("next_page_token") or None, fetched_at=self._clock.now())

    def _tell_apart(self, rows: pl.DataFrame, wanted: pl.DataFrame, symbols: Collection[str]) -> None:
        absent = sorted(set(symbols) - set(wanted["symbol"].unique()))
        if absent:
            log.warning("Alpaca has no bars of some symbols", count=len(absent), symbols=absent[:_SHOWN])
        if outside := rows.height - wanted.height:
            days = sorted({day.isoformat() for day in rows["session"].unique()} - {str(d) for d in wanted["session"]})
            log.warning("Alpaca gave bars of days nobody asked for", count=outside, days=days[:_SHOWN])


def _requests(
    parameters: Mapping[str, str | int], symbols: Collection[str]
) -> Iterator[tuple[str, dict[str, str | int]]]:
    ordered = sorted(set(symbols))
    for at in range(0, len(ordered), SYMBOLS_A_REQUEST):
        of_request = {**parameters, "symbols": ",".join(ordered[at : at + SYMBOLS_A_REQUEST])}
        yield "&".join(f"{name}={value}" for name, value in sorted(of_request.items())), of_request


def _runs(sessions: Collection[date], calendar: SessionCalendar, cuts: Collection[date]) -> list[list[date]]:
    """Group sessions that follow each other, so that nothing between two distant ones is asked for."""
    breaks = sorted(cuts)
    runs: list[list[date]] = []
    for session in sorted(set(sessions)):
        if (
            runs
            and calendar.next(runs[-1][-1]) == session
            and bisect_right(breaks, runs[-1][-1]) == bisect_right(breaks, session)
        ):
            runs[-1].append(session)
        else:
            runs.append([session])
    return runs


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), _ZONE).astimezone(UTC)


def _rows(answer: Mapping[str, Any]) -> pl.DataFrame:
    by_symbol = answer.get("bars")
    if by_symbol is not None and not isinstance(by_symbol, dict):
        raise DataQualityError(f"Alpaca's bars are {type(by_symbol).__name__}, not an object by symbol")
    columns: dict[str, list[Any]] = {name: [] for name in ("symbol", "t", *_FIELDS)}
    for symbol, bars in (by_symbol or {}).items():
        for bar in bars or []:
            columns["symbol"].append(symbol)
            columns["t"].append(bar.get("t"))
            for name, key in _FIELDS.items():
                columns[name].append(bar.get(key))
    schema = {"symbol": pl.String, "t": pl.String, **dict.fromkeys(_FIELDS, pl.Float64)}
    try:
        frame = pl.DataFrame(columns, schema=schema, strict=True)
        stamped = frame.with_columns(timestamp=pl.col("t").str.to_datetime(time_unit="us", time_zone="UTC"))
    except (TypeError, pl.exceptions.PolarsError) as error:
        raise DataQualityError(f"Alpaca's bars are not of the documented form: {error}") from error
    if stamped["timestamp"].null_count():
        raise DataQualityError("Alpaca gave bars without a time")
    return stamped.select(_PAGE_SCHEMA.names())


def _dated(rows: pl.DataFrame, *, source: str) -> pl.DataFrame:
    local = pl.col("timestamp").dt.convert_time_zone(EXCHANGE_ZONE)
    dated = rows.with_columns(local.dt.date().alias("session"), midnight=local.dt.time() == time())
    odd = dated.filter(~pl.col("midnight"))
    if odd.height:
        symbol, stamp = odd.select("symbol", "timestamp").row(0)
        raise DataQualityError(
            f"{odd.height} daily bar(s) are not stamped midnight New York, the first of {symbol} at "
            f"{stamp.isoformat()}: their sessions are not known",
            bars=odd.height,
            symbol=symbol,
        )
    return dated.with_columns(pl.lit(source).alias("source"))

"""Rows of the bar format as arrays in order of symbol and session, with the shifts and means the rules are made of."""

from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import pairwise
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trading_pipeline.core.sessions import SessionCalendar

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_SYMBOL_STRIDE = 1_000_000
"""More than any calendar has sessions."""
_SHORT = np.iinfo(np.uint16).max


@dataclass(frozen=True, eq=False)
class Panel:
    """Arrays of one length, a row each; `row` is the index of the row in the frame, `day` the index of its session.

    Prices are dollars, volume shares. A series is the rows of a symbol. A new one begins after more than `reach`
    sessions without a row, as the old price says nothing any more, and on the day another company takes the symbol.
    `code` is the number of the series, `symbols` their names. Values before the first row of a series and after its
    last are NaN.
    """

    row: Ints
    code: Ints
    day: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    symbols: list[str]
    reach: int

    @classmethod
    def of(
        cls, rows: pl.DataFrame, calendar: SessionCalendar, reach: int, *, taken_over: pl.DataFrame | None = None
    ) -> Self:
        """Build the panel of rows with `row` (index) and sound values, one a symbol and session.

        `taken_over` has `symbol` and `first_day` of companies under the symbol of another one. None: there are none.
        """
        columns = ("row", "session", "symbol", "open", "high", "low", "close", "volume")
        name, ordered = by_symbol(rows.select(columns))
        day = days_of(ordered["session"], calendar)
        resumes = (np.diff(name, prepend=-1) != 0) | (np.diff(day, prepend=0) > reach)
        if taken_over is not None and taken_over.height:
            resumes[_first_rows(ordered, name, day, taken_over, calendar)] = True
        return cls(
            row=ordered["row"].cast(pl.Int64).to_numpy(),
            code=np.cumsum(resumes) - 1,
            day=day,
            open=ordered["open"].to_numpy(),
            high=ordered["high"].to_numpy(),
            low=ordered["low"].to_numpy(),
            close=ordered["close"].to_numpy(),
            volume=ordered["volume"].to_numpy(),
            symbols=ordered["symbol"].filter(pl.Series(resumes, dtype=pl.Boolean)).to_list(),
            reach=reach,
        )

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.row)

    def select(self, keep: Flags) -> "Panel":
        """Return the panel without the other rows; series keep their codes."""
        arrays = ("row", "code", "day", "open", "high", "low", "close", "volume")
        return replace(self, **{name: getattr(self, name)[keep] for name in arrays})

    def symbol(self, at: int) -> str:
        """Return the symbol of a row."""
        return self.symbols[int(self.code[at])]

    @cached_property
    def resumed(self) -> Flags:
        """Whether a series, by its code, is a later one of its symbol."""
        return np.array([one == other for one, other in pairwise(["", *self.symbols])], dtype=bool)

    def first_on_or_after(self, symbols: pl.Series, days: Ints) -> Ints:
        """Return the index of the first row of each symbol on a day or after it; the number of rows where none is."""
        places = {symbol: place for place, symbol in enumerate(dict.fromkeys(self.symbols))}
        place_of_series = np.array([places[symbol] for symbol in self.symbols], dtype=np.int64)
        rows = place_of_series[self.code] * _SYMBOL_STRIDE + self.day
        wanted = np.array([places.get(symbol, -1) for symbol in symbols], dtype=np.int64)
        at = np.searchsorted(rows, wanted * _SYMBOL_STRIDE + days)
        ends = np.searchsorted(rows, (wanted + 1) * _SYMBOL_STRIDE)
        return np.where((wanted >= 0) & (at < ends), at, len(self))

    @cached_property
    def first(self) -> Flags:
        """Whether a row is the first of its series."""
        return np.not_equal(np.diff(self.code, prepend=-1), 0)

    @cached_property
    def last(self) -> Flags:
        """Whether a row is the last of its series."""
        return np.not_equal(np.diff(self.code, append=-1), 0)

    @cached_property
    def _firsts(self) -> Ints:
        return np.flatnonzero(self.first)

    @cached_property
    def _lasts(self) -> Ints:
        return np.flatnonzero(self.last)

    @cached_property
    def start(self) -> Ints:
        """Index of the first row of the same series."""
        rows = np.diff(self._firsts, append=len(self))
        return np.repeat(self._firsts, rows)

    @cached_property
    def step(self) -> Ints:
        """Sessions since the row before; 0 at the first row of a series."""
        return np.where(self.first, 0, np.diff(self.day, prepend=0))

    @cached_property
    def next_day(self) -> Ints:
        """Session of the next row of the series, -1 at its last."""
        return np.where(self.last, -1, np.append(self.day[1:], -1))

    @cached_property
    def order(self) -> Ints:
        """A number that grows with series and session."""
        return self.code * _SYMBOL_STRIDE + self.day

    def previous(self, values: Floats) -> Floats:
        """Return the values of the row before."""
        moved = np.empty(len(self))
        moved[1:] = values[:-1]
        moved[self._firsts] = np.nan
        return moved

    def following(self, values: Floats) -> Floats:
        """Return the values of the next row."""
        moved = np.empty(len(self))
        moved[:-1] = values[1:]
        moved[self._lasts] = np.nan
        return moved

    def mean_before(self, values: Floats, count: int, least: int) -> Floats:
        """Return the mean of up to `count` rows before each, within reach; NaN where fewer than `least` are known."""
        known = np.isfinite(values)
        total, number = np.zeros(len(self) + 1), np.arange(len(self) + 1)
        if known.all():
            np.cumsum(values, out=total[1:])
        else:
            np.cumsum(np.where(known, values, 0.0), out=total[1:])
            np.cumsum(known, out=number[1:])
        begin = self._begins(count)
        counted = number[:-1] - number[begin]
        mean = total[:-1] - total[begin]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean /= counted
        mean[counted < least] = np.nan
        return mean

    def largest_before(self, values: Floats, count: int) -> Floats:
        """Return the largest of up to `count` rows before each; 0 where none is positive. Fast where few are."""
        largest = np.zeros(len(self))
        at = np.flatnonzero(values > 0)
        for after in range(1, count + 1):
            at = at[at + after < len(self)]
            at = at[self.code[at] == self.code[at + after]]
            largest[at + after] = np.maximum(largest[at + after], values[at])
        return largest

    def run_of(self, same: Flags) -> Ints:
        """Return how many rows in a row, this one included, are each the same as the one before it."""
        breaks = ~same | self.first
        at = np.arange(len(self))
        return at - np.maximum.accumulate(np.where(breaks, at, 0)) + 1

    def medians_of_session(self, *columns: Floats, least: int) -> list[Floats]:
        """Return the medians over the symbols of the row's session, 0 where fewer than `least` are known."""
        names = [str(place) for place in range(len(columns))]
        values = pl.DataFrame(dict(zip(names, columns, strict=True))).with_columns(pl.all().fill_nan(None))
        medians = (
            values.with_columns(day=self.day)
            .group_by("day")
            .agg(pl.when(pl.col(name).count() >= least).then(pl.col(name).median()).otherwise(0.0) for name in names)
        )
        days = medians["day"].to_numpy()
        table = np.zeros((len(names), int(self.day.max(initial=0)) + 1))
        for place, name in enumerate(names):
            table[place, days] = medians[name].fill_null(0.0).to_numpy()
        return [row[self.day] for row in table]

    def _begins(self, count: int) -> Ints:
        """Return the index of the first of up to `count` rows before each, within reach."""
        if count not in self._known_begins:
            begin = np.maximum(np.arange(len(self)) - count, self.start)
            far = np.flatnonzero(self.day - self.day[begin] > self.reach)
            begin[far] = np.searchsorted(self.order, self.order[far] - self.reach)
            self._known_begins[count] = begin
        return self._known_begins[count]

    @cached_property
    def _known_begins(self) -> dict[int, Ints]:
        return {}


def by_symbol(rows: pl.DataFrame) -> tuple[Ints, pl.DataFrame]:
    """Return rows in order of symbol and session, and with them the place of each one's symbol among all, from 0.

    Numbers are sorted in place of names, and rows that come in order of session are not sorted by it again.
    """
    names = pl.Enum(rows["symbol"].unique().sort())
    places = rows["symbol"].cast(names).to_physical().to_numpy()
    if len(names.categories) <= _SHORT:
        places = places.astype(np.uint16)  # numpy sorts short numbers in one pass
    if not rows["session"].is_sorted():
        days = rows["session"].to_physical().to_numpy()
        order = np.lexsort((days, places))
    else:
        order = np.argsort(places, kind="stable")
    return places[order].astype(np.int64), rows[order]


def _first_rows(
    ordered: pl.DataFrame, name: Ints, day: Ints, taken_over: pl.DataFrame, calendar: SessionCalendar
) -> Ints:
    """Return the indices of the first rows at or after some days of symbols."""
    places = pl.DataFrame({"symbol": ordered["symbol"], "name": name}).unique("symbol")
    wanted = taken_over.join(places, on="symbol", how="inner")
    codes = wanted["name"].to_numpy()
    at = np.searchsorted(name * _SYMBOL_STRIDE + day, codes * _SYMBOL_STRIDE + days_of(wanted["first_day"], calendar))
    inside = at < len(name)
    found: Ints = at[inside]
    same: Flags = name[found] == codes[inside]
    return found[same]


def days_of(sessions: pl.Series, calendar: SessionCalendar) -> Ints:
    """Return the index of each session in the calendar; of a day that is none, the index of the session after it."""
    days = sessions.to_physical().to_numpy()
    if not len(days):
        return np.empty(0, dtype=np.int64)
    # Many rows have few days: each is looked for once.
    first = days.min()
    every = np.arange(first, days.max() + 1).astype("datetime64[D]")
    indices: Ints = np.searchsorted(session_days(calendar), every)[days - first]
    return indices


@cache
def session_days(calendar: SessionCalendar) -> NDArray[np.datetime64]:
    """Return the sessions of a calendar by their index."""
    return np.array(calendar.sessions, dtype="datetime64[D]")


@cache
def session_closes(calendar: SessionCalendar) -> pl.Series:
    """Return the closes (UTC) of a calendar's sessions by their index."""
    seconds = pl.Series([int(close.timestamp()) for close in calendar.closes])
    return pl.from_epoch(seconds, "s").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")

"""Digests of the bars that each feature value is made of: equal digests mean that computing it again is of no use."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable

import numpy as np
import polars as pl

from trading_pipeline.core.features.compiler import CompiledFeatures

Words = np.ndarray[tuple[int, ...], np.dtype[np.uint64]]

INPUTS_SCHEMA = pl.Schema({"session": pl.Date(), "symbol": pl.String(), "digest": pl.UInt64()})

_FIRST, _LAST, _START, _ABSENT = (np.uint64(number) for number in (0xF1, 0x1A, 0x5A, 0xAB))
_PRIMES = tuple(np.uint64(number) for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_SHIFTS = tuple(np.uint64(number) for number in (30, 27, 31))


def input_digests(
    bars: pl.DataFrame,
    *,
    compiled: CompiledFeatures,
    calendar: Sequence[date],
    sessions: Sequence[date],
    first_sessions: Mapping[str, date] | None = None,
) -> pl.DataFrame:
    """Digest, for every bar of some sessions, all that its features depend on.

    That is: the bars within reach (session and every field that is read), from where and up to where the symbol is
    listed as far as that is within reach, the feature set, and the code that computes. The digest of a window is the
    sum of the digests of its rows, so it costs the same whatever the look-back.

    Args:
        bars: `session`, `symbol` and the fields: those that the sessions need, one row per session and symbol.
        compiled: the features.
        calendar: all sessions that the bars span, in order.
        sessions: those wanted.
        first_sessions: the first bar ever of symbols where it lies before the bars given.

    Returns:
        `session`, `symbol`, `digest` (UInt64), sorted.
    """
    days = {session: place for place, session in enumerate(calendar)}
    rows = bars.select("session", "symbol", *sorted(compiled.fields)).sort("session", "symbol")
    symbols = rows["symbol"].unique().sort()
    place = rows["session"].replace_strict(days, return_dtype=pl.Int64).to_numpy()
    column = symbols.search_sorted(rows["symbol"]).to_numpy().astype(np.int64)
    present = np.zeros((len(calendar) + 1, len(symbols)), np.uint64)
    present[place + 1, column] = _row_digests(rows, compiled)
    running = np.cumsum(present, axis=0)

    wanted = rows["session"].is_in(list(set(sessions))).to_numpy()
    at, of = place[wanted], column[wanted]
    lowest = np.zeros_like(at) if compiled.lookback is None else np.maximum(at - compiled.lookback, 0)
    highest = np.minimum(at + compiled.lookahead, len(calendar) - 1)
    ordinals = np.array([day.toordinal() for day in calendar], np.uint64)
    digests = running[highest + 1, of] - running[lowest, of]
    digests += _mixed(_START ^ _mixed(ordinals[lowest]))
    first, last = _ends(place, column, len(symbols), _earlier(symbols, first_sessions or {}, calendar))
    digests += _mixed(_FIRST ^ _mixed(ordinals[np.maximum(first[of], lowest)]))
    digests += _mixed(_LAST ^ _mixed(ordinals[np.minimum(last[of], highest)]))
    if compiled.cross_section:
        digests = _across(digests, at, _text_digests(symbols)[of], len(calendar))
    found = rows.filter(pl.Series(wanted)).select("session", "symbol")
    return found.with_columns(pl.Series("digest", digests, pl.UInt64)).match_to_schema(INPUTS_SCHEMA)


@cache
def computing_code() -> str:
    """Return a digest of the code that computes features, and of the libraries it computes with."""
    libraries = " ".join(f"{name} {version(name)}" for name in ("polars", "numpy", "numba", "llvmlite"))
    return hashlib.sha256(f"{libraries} {source_digest('trading_pipeline.core.features')}".encode()).hexdigest()


@cache
def source_digest(package: str) -> str:
    """Return a digest of the Python code of a package, its packages included."""
    digest = hashlib.sha256()
    for entry in _sources(files(package)):
        digest.update(entry.read_bytes())
    return digest.hexdigest()


def _sources(folder: Traversable) -> Iterator[Traversable]:
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        if entry.is_dir():
            yield from _sources(entry)
        elif entry.name.endswith(".py"):
            yield entry


def _row_digests(rows: pl.DataFrame, compiled: CompiledFeatures) -> Words:
    salt = hashlib.sha256(f"{compiled.feature_set.hash} {computing_code()}".encode()).digest()[:8]
    digests = _mixed(rows["session"].to_physical().cast(pl.Int64).to_numpy().astype(np.uint64))
    digests = _mixed(digests ^ np.frombuffer(salt, np.uint64))
    for name in sorted(compiled.fields):
        values = rows[name]
        if values.dtype.is_numeric():
            values = values.cast(pl.Float64).fill_nan(None)
            words = values.fill_null(0.0).to_numpy().view(np.uint64)
        else:
            words = _text_digests(values.cast(pl.String).fill_null(""))
        digests = _mixed(digests ^ np.where(values.is_null().to_numpy(), _ABSENT, _mixed(words)))
    return digests


def _mixed(words: Words) -> Words:
    """The finaliser of SplitMix64: every bit of the answer depends on every bit given."""
    mixed = words + _PRIMES[0]
    mixed = (mixed ^ (mixed >> _SHIFTS[0])) * _PRIMES[1]
    mixed = (mixed ^ (mixed >> _SHIFTS[1])) * _PRIMES[2]
    return np.asarray(mixed ^ (mixed >> _SHIFTS[2]), np.uint64)


def _earlier(symbols: pl.Series, first_sessions: Mapping[str, date], calendar: Sequence[date]) -> np.ndarray:
    return np.array([first_sessions.get(symbol, date.max) < calendar[0] for symbol in symbols], bool)


def _ends(place: np.ndarray, column: np.ndarray, count: int, earlier: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last place of each symbol; what lies before the calendar is its first place."""
    first, last = np.full(count, np.iinfo(np.int64).max), np.zeros(count, np.int64)
    np.minimum.at(first, column, place)
    np.maximum.at(last, column, place)
    return np.where(earlier, 0, first), last


def _text_digests(texts: pl.Series) -> Words:
    distinct = texts.unique().sort()
    digests = np.frombuffer(b"".join(hashlib.sha256(text.encode()).digest()[:8] for text in distinct), np.uint64)
    return np.asarray(digests[distinct.search_sorted(texts).to_numpy()])


def _across(digests: Words, place: np.ndarray, symbols: Words, count: int) -> Words:
    """Every symbol of a session depends on all of them."""
    totals = np.zeros(count, np.uint64)
    np.add.at(totals, place, _mixed(digests ^ symbols))
    return _mixed(totals[place] ^ symbols)

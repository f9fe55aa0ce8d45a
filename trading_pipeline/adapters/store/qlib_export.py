"""The good bars in qlib's binary layout, for research with pyqlib; the lake is only read."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final
from uuid import uuid4

import numpy as np
import polars as pl

from trading_pipeline.adapters.store.adjusted import read_adjusted_bars
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.adjustment import Anchor, Convention
from trading_pipeline.errors import ConfigError, DataQualityError

_FIELDS: Final = ("open", "high", "low", "close", "volume", "vwap", "factor")
_RESERVED: Final = {"CON", "PRN", "AUX", "NUL", *(f"{name}{at}" for name in ("COM", "LPT") for at in range(10))}
"""Symbols that qlib stores under another name, as Windows has no such files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What an export did: sessions and symbols there are, files written anew and taken over as they were."""

    sessions: int
    symbols: int
    written: int
    unchanged: int


def export_qlib(lake: Lake, folder: Path, *, convention: Convention = Convention.PREVIOUS_CLOSE) -> Export:
    """Write all good bars as `calendars/day.txt`, `instruments/all.txt` and `features/<symbol>/<field>.day.bin`.

    Prices are adjusted and anchored at a symbol's first bar; `factor` is the adjusted price over the traded one, so
    that `$close/$factor` is what was traded, as in qlib's own data. Volumes are adjusted for splits. A bin file is
    float32, little endian: the index of its first session in the calendar, then a value a session, NaN where there is
    none.

    `folder` is a link to a complete export beside it and is moved to the new one at the end: readers find the old or
    the new, and a crash leaves the old. Files whose content is the same are taken over, not written again.

    Raises:
        ConfigError: `folder` is there and was not made by an export.
        DataQualityError: there are no bars, or an action does not fit them.
    """
    target = folder.absolute()
    if target.exists() and not target.is_symlink():
        raise ConfigError(f"{folder} is there and is no export: name another folder, or remove it", folder=str(folder))
    sessions = lake.sessions(Dataset.BARS)
    if not sessions:
        raise DataQualityError("the lake has no bars at all: materialise them first", dataset=Dataset.BARS.value)
    rows = _with_factor(lake, sessions, convention)
    previous = target.resolve() if target.is_symlink() else None
    prefix = f".{target.name}-"
    target.parent.mkdir(parents=True, exist_ok=True)
    made = target.parent / f"{prefix}{uuid4().hex}"
    counts = {True: 0, False: 0}
    try:
        for name, content in _files(rows, sessions):
            counts[_place(made / name, content, previous / name if previous else None)] += 1
        os.sync()  # once for thousands of small files: they are on disk before anybody is led to them
        link = target.parent / f"{prefix}{uuid4().hex}"
        link.symlink_to(made.name, target_is_directory=True)
        link.replace(target)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    for left in target.parent.glob(f"{prefix}*"):
        if left != made and left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
    return Export(
        sessions=len(sessions), symbols=rows["symbol"].n_unique(), written=counts[True], unchanged=counts[False]
    )


def _with_factor(lake: Lake, sessions: list[date], convention: Convention) -> pl.DataFrame:
    first, last = sessions[0], sessions[-1]
    closes = lake.read(Dataset.BARS, start=first, end=last, columns=["session", "symbol", "close"])
    traded = closes.rename({"close": "traded"})
    adjusted = read_adjusted_bars(lake, start=first, end=last, convention=convention, anchor=Anchor.FIRST)
    index = pl.Series(range(len(sessions)), dtype=pl.Int64)
    at = pl.col("session").replace_strict(pl.Series(sessions), index, return_dtype=pl.Int64)
    return adjusted.join(traded, on=["session", "symbol"]).with_columns(
        (pl.col("close") / pl.col("traded")).alias("factor"), at.alias("at")
    )


def _files(rows: pl.DataFrame, sessions: list[date]) -> Iterator[tuple[str, bytes]]:
    yield "calendars/day.txt", "".join(f"{day}\n" for day in sessions).encode()
    spans = rows.group_by("symbol").agg(pl.col("session").min().alias("a"), pl.col("session").max().alias("b"))
    yield "instruments/all.txt", "".join(f"{name}\t{a}\t{b}\n" for name, a, b in spans.sort("symbol").rows()).encode()
    ordered = rows.sort("symbol", "session")
    fields = {name: ordered[name].fill_null(float("nan")).to_numpy().astype("<f4") for name in _FIELDS}
    at, begin = ordered["at"].to_numpy(), 0
    for count, symbol in ordered["symbol"].rle().struct.unnest().iter_rows():
        here = slice(begin, begin := begin + count)
        place = at[here] - at[here][0] + 1
        for name, values in fields.items():
            content = np.full(place[-1] + 1, np.nan, dtype="<f4")
            content[0] = at[here][0]
            content[place] = values[here]
            yield f"features/{_folder(symbol)}/{name}.day.bin", content.tobytes()


def _folder(symbol: str) -> str:
    return f"_qlib_{symbol.lower()}" if symbol.upper() in _RESERVED else symbol.lower()


def _place(path: Path, content: bytes, previous: Path | None) -> bool:
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
    if previous is not None and previous.is_file() and previous.read_bytes() == content:
        os.link(previous, path)
        return False
    path.write_bytes(content)
    return True

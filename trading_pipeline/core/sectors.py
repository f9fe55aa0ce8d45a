"""Versions of a constituents file become membership spells; a version whose sectors mean something else is refused.

Vendors change what a column holds without saying so: sub-industries appear where sectors were. Real changes (a company
that is moved, a sector that is renamed or split) touch few symbols and keep the number of sectors about as it was.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import polars as pl

from trading_pipeline.core.universe import Universe
from trading_pipeline.errors import DataQualityError

VERSIONS: Final = pl.Schema({"as_of": pl.Date(), "symbol": pl.String(), "sector": pl.String()})
"""One row a member of each version of the file; a version holds from its day to the day before the next one."""
LARGEST_CHANGE: Final = 0.25
"""Share of common symbols with another sector. The re-ordering of 2018, the largest of GICS so far, moved 6 %."""
LARGEST_GROWTH: Final = 1.5
"""Times as many sectors as before. GICS went from 10 to 11 in its history."""
SMALLEST_OVERLAP: Final = 0.5
"""Share of the members before that must still be there: an index replaces a few percent a year."""

_IS_SYMBOL: Final = (pl.col("symbol") == pl.col("symbol").str.to_uppercase()) & ~pl.col("symbol").str.contains(r"\s|^$")


@dataclass(frozen=True, slots=True, kw_only=True)
class SectorDrift:
    """A version of the file beside the last one that was sound.

    Attributes:
        as_of: the version.
        against: the version it is compared with.
        members: rows of the version.
        kept: share of the members before that are there.
        changed: share of common symbols whose sector is another one.
        sectors: how many sectors it names.
        sectors_before: how many the other one names.
        unreadable: entries that are no symbols, upper case without spaces; they are left out.
        renamed: sectors whose members all are in one other sector now, old name to new.
        problem: why the version is not used; empty when it is.
    """

    as_of: date
    against: date
    members: int
    kept: float
    changed: float
    sectors: int
    sectors_before: int
    unreadable: tuple[str, ...]
    renamed: dict[str, str]
    problem: str


def sector_drift(versions: pl.DataFrame) -> list[SectorDrift]:
    """Compare every version with the last sound one before it, in order of day.

    Args:
        versions: as `VERSIONS`.

    Raises:
        DataQualityError: a row without day or symbol, or a symbol twice in a version.
    """
    rows = _require_versions(versions)
    first, *later = rows.partition_by("as_of", maintain_order=True)
    found: list[SectorDrift] = []
    sound = first.filter(_IS_SYMBOL)
    for version in later:
        part = version.filter(_IS_SYMBOL)
        drift = _compare(sound, part, version.filter(~_IS_SYMBOL)["symbol"].to_list())
        found.append(drift)
        if not drift.problem:
            sound = part
    return found


def universe_of_versions(versions: pl.DataFrame, *, where: str = "universe") -> tuple[Universe, list[SectorDrift]]:
    """Return the spells that dated versions of a constituents file state, and the comparison of each version.

    A version with a problem says nothing: the one before it holds on. The last version holds until today.

    Raises:
        DataQualityError: no rows, a row without day or symbol, or a symbol twice in a version.
    """
    drifts = sector_drift(versions)
    unusable = [drift.as_of for drift in drifts if drift.problem]
    rows = _require_versions(versions).filter(~pl.col("as_of").is_in(unusable), _IS_SYMBOL)
    days = rows["as_of"].unique().sort()
    ends = [*(day - timedelta(days=1) for day in days[1:]), None]
    order = pl.DataFrame({"as_of": days, "place": range(len(days)), "until": pl.Series(ends, dtype=pl.Date)})
    # A spell goes on while the symbol is in the next version as well, in the same sector.
    begins = (pl.col("place").diff() != 1) | pl.col("sector").ne_missing(pl.col("sector").shift())
    spells = (
        rows.join(order, on="as_of")
        .sort("symbol", "place")
        .with_columns(begins.fill_null(value=True).over("symbol").alias("begins"))
        .with_columns(pl.col("begins").cum_sum().over("symbol").alias("spell"))
        .group_by("symbol", "spell")
        .agg(pl.col("as_of").first().alias("first_day"), pl.col("until").last().alias("last_day"), pl.first("sector"))
    )
    return Universe.of_spells(spells, where=where), drifts


def _require_versions(versions: pl.DataFrame) -> pl.DataFrame:
    rows = versions.select(VERSIONS.names()).cast(VERSIONS).sort("as_of", "symbol")
    holes = rows.filter(pl.col("as_of").is_null() | pl.col("symbol").is_null())
    if holes.height or rows.is_empty():
        raise DataQualityError(f"versions of the universe: {holes.height or 'no'} row(s) without day or symbol")
    twice = rows.filter(pl.struct("as_of", "symbol").is_duplicated())
    if twice.height:
        raise DataQualityError(
            f"versions of the universe: {twice['symbol'][0]} is in that of {twice['as_of'][0]} more than once",
            symbol=twice["symbol"][0],
        )
    return rows


def _compare(before: pl.DataFrame, after: pl.DataFrame, unreadable: list[str]) -> SectorDrift:
    common = before.join(after, on="symbol", suffix="_after").drop_nulls(["sector", "sector_after"])
    renamed = _renamed(common)
    now = pl.col("sector").replace(renamed)
    kept = before.join(after, on="symbol", how="semi").height / before.height
    changed = common.filter(now != pl.col("sector_after")).height / max(common.height, 1)
    counts = [part["sector"].drop_nulls().n_unique() for part in (after, before)]
    return SectorDrift(
        as_of=after["as_of"][0],
        against=before["as_of"][0],
        members=after.height,
        kept=kept,
        changed=changed,
        sectors=counts[0],
        sectors_before=counts[1],
        unreadable=tuple(unreadable),
        renamed=renamed,
        problem=_problem(kept, changed, counts[0], counts[1]),
    )


def _renamed(common: pl.DataFrame) -> dict[str, str]:
    pairs = common.select("sector", "sector_after").unique()
    alone = ~pl.col("sector").is_duplicated() & ~pl.col("sector_after").is_duplicated()
    return dict(pairs.filter(alone, pl.col("sector") != pl.col("sector_after")).sort("sector").iter_rows())


def _problem(kept: float, changed: float, sectors: int, before: int) -> str:
    if kept < SMALLEST_OVERLAP:
        return f"only {kept:.0%} of the members before are there: the file is another one, or not whole"
    if changed > LARGEST_CHANGE:
        return f"{changed:.0%} of the symbols have another sector: the column holds something else"
    if before and sectors > LARGEST_GROWTH * before:
        return f"{sectors} sectors where there were {before}: the column holds something else"
    return ""

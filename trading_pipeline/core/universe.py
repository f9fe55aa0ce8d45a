"""Which symbols were to be traded on which day, and in which sector: dated spells, so that the dead are not forgotten.

A list of today's members knows no company that failed: what is made from it looks better than it was. Membership is
therefore a set of spells, and every session is asked for the members of that session.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, Self

import polars as pl

from trading_pipeline.errors import DataQualityError

MEMBERSHIP: Final = pl.Schema(
    {"symbol": pl.String(), "first_day": pl.Date(), "last_day": pl.Date(), "sector": pl.String()}
)
"""One row a stretch of days, both included, on which a symbol was a member; `last_day` null: it still is.

A member that changes its sector has one spell each. `sector` may be null.
"""
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Universe:
    """Membership spells in order of symbol and day, none overlapping another of the same symbol."""

    spells: pl.DataFrame

    @classmethod
    def of_spells(cls, spells: pl.DataFrame, *, where: str = "universe") -> Self:
        """Check spells and put them in order.

        Args:
            spells: as `MEMBERSHIP`.
            where: what the rows are, for the message.

        Raises:
            DataQualityError: no rows, a row without symbol or first day, a spell that ends before it begins, two that
                overlap, or a symbol that is not written in upper case without spaces. The first ones are named.
        """
        rows = spells.select(MEMBERSHIP.names()).cast(MEMBERSHIP).sort("symbol", "first_day")
        if rows.is_empty():
            raise DataQualityError(f"{where}: nothing is a member: list at least one symbol", where=where)
        plain = pl.col("symbol").str.strip_chars().str.to_uppercase()
        until = pl.col("last_day").fill_null(date.max)
        faults = [
            ("has no symbol", pl.col("symbol").is_null() | (plain == "")),
            ("has a symbol that is not in upper case without spaces", pl.col("symbol") != plain),
            ("has no first day", pl.col("first_day").is_null()),
            ("ends before it begins", until < pl.col("first_day")),
            ("overlaps the spell before it", pl.col("first_day") <= until.shift().over("symbol")),
        ]
        for what, broken in faults:
            found = rows.filter(broken.fill_null(value=False))
            if found.height:
                shown = "; ".join(_describe(row) for row in found.head(_SHOWN).iter_rows(named=True))
                raise DataQualityError(
                    f"{where}: {found.height} spell(s) where one {what}: {shown}", where=where, count=found.height
                )
        return cls(rows)

    @classmethod
    def always(cls, symbols: Collection[str]) -> Self:
        """Return the universe in which some symbols always were and are members, of no known sector."""
        ordered = sorted(set(symbols))
        columns = {"symbol": ordered, "first_day": [date.min] * len(ordered)}
        absent = [pl.lit(None, dtype=MEMBERSHIP[name]).alias(name) for name in ("last_day", "sector")]
        return cls.of_spells(pl.DataFrame(columns).with_columns(absent))

    @property
    def symbols(self) -> list[str]:
        """Every symbol that ever was a member, sorted: what to keep bars of."""
        return self.spells["symbol"].unique().sort().to_list()

    def on(self, day: date) -> pl.DataFrame:
        """Return `symbol` and `sector` of the members of a day, in order of symbol."""
        until = pl.col("last_day").fill_null(date.max)
        return self.spells.filter(pl.col("first_day") <= day, until >= day).select("symbol", "sector")

    def members(self, sessions: Iterable[date]) -> dict[date, list[str]]:
        """Return the members of each session, in order of symbol.

        Raises:
            DataQualityError: a session without any.
        """
        found = {session: self.on(session)["symbol"].to_list() for session in sessions}
        empty = [day for day, symbols in found.items() if not symbols]
        if empty:
            raise DataQualityError(
                f"the universe has no member on {len(empty)} session(s), the first {empty[0]}: choose later sessions, "
                "or name the members of then",
                sessions=[day.isoformat() for day in empty[:_SHOWN]],
            )
        return found

    def sectors(self, sessions: Sequence[date]) -> pl.DataFrame:
        """Return `session`, `symbol`, `sector` of every member of some sessions."""
        parts = [self.on(day).select(pl.lit(day).alias("session"), "symbol", "sector") for day in sessions]
        schema = {"session": pl.Date, "symbol": pl.String, "sector": pl.String}
        return pl.concat(parts) if parts else pl.DataFrame(schema=schema)


def _describe(row: dict[str, object]) -> str:
    return f"{row['symbol'] or '(none)'} from {row['first_day']} to {row['last_day'] or 'today'}"

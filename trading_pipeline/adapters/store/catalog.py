"""Which part of a dataset holds which session: the manifest that makes a set of immutable files one dataset."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from operator import le
from typing import Final, Self

_FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One immutable Parquet file: the rows of some sessions, in order."""

    name: str
    size: int
    """Bytes."""
    schema: str
    """A digest of names and types of the columns: parts with different ones cannot become one."""
    sessions: tuple[tuple[date, int], ...]
    """Session and number of its rows, in the order of the file."""

    @property
    def rows(self) -> int:
        """Rows of the file."""
        return sum(count for _, count in self.sessions)


@dataclass(frozen=True, slots=True)
class Slice:
    """Neighbouring rows of a part: those of one session, or of several that follow each other."""

    part: Part
    offset: int
    rows: int
    sessions: tuple[date, ...]

    @property
    def is_whole(self) -> bool:
        """Tell whether the part has nothing else."""
        return len(self.sessions) == len(self.part.sessions)

    def widened(self) -> "Slice":
        """Return all of its part."""
        return Slice(self.part, 0, self.part.rows, tuple(session for session, _ in self.part.sessions))

    def followed_by(self, other: "Slice") -> bool:
        """Tell whether the rows of the other come next in the same file."""
        return self.part is other.part and self.offset + self.rows == other.offset


@dataclass(frozen=True, slots=True)
class Catalog:
    """The parts of a dataset, oldest first: a session is what the newest part that names it says."""

    parts: tuple[Part, ...] = ()
    retired: tuple[str, ...] = ()
    """Files the last commit stopped using; the next one removes them, so that slow readers find them until then."""
    live: dict[date, Slice] = field(default_factory=dict, compare=False, repr=False)
    """Where each session is, in order: what `of` derives from the parts."""

    @classmethod
    def of(cls, parts: tuple[Part, ...], retired: tuple[str, ...] = ()) -> Self:
        """Return the catalog of parts, oldest first."""
        return cls(parts, retired, _over({}, parts))

    def slices(self, sessions: Iterable[date]) -> list[Slice]:
        """Return where the rows of some written sessions lie, in order of session, neighbours joined."""
        joined: list[Slice] = []
        pending: list[date] = []
        start = last = None
        for session in sorted(sessions):
            found = self.live[session]
            if start is not None and last is not None and last.followed_by(found):
                pending.append(session)
            else:
                if start is not None and last is not None:
                    joined.append(_joined(start, last, pending))
                start, pending = found, [session]
            last = found
        if start is not None and last is not None:
            joined.append(_joined(start, last, pending))
        return joined

    def replaced_by(self, parts: Sequence[Part]) -> Self:
        """Return the catalog after a commit: new parts on top, and those that nothing needs any more retired."""
        live = _over(self.live, parts)
        used = {id(found.part) for found in live.values()}
        kept = tuple(part for part in (*self.parts, *parts) if id(part) in used)
        names = {part.name for part in kept}
        return type(self)(kept, tuple(sorted({part.name for part in self.parts} - names)), live)

    def to_bytes(self) -> bytes:
        """Return the manifest as JSON."""
        parts = [
            {
                "name": part.name,
                "size": part.size,
                "schema": part.schema,
                "sessions": [[day.isoformat(), rows] for day, rows in part.sessions],
            }
            for part in self.parts
        ]
        return json.dumps({"format": _FORMAT, "parts": parts, "retired": self.retired}).encode()


@lru_cache(maxsize=32)
def read_catalog(content: bytes) -> Catalog:
    """Return the catalog that a manifest describes.

    Raises:
        ValueError: this is no manifest, or one of another format.
    """
    try:
        data = json.loads(content)
        if data["format"] != _FORMAT:
            raise ValueError(f"format {data['format']} is not {_FORMAT}")
        parts = tuple(
            Part(
                name=part["name"],
                size=part["size"],
                schema=part["schema"],
                sessions=tuple((date.fromisoformat(day), rows) for day, rows in part["sessions"]),
            )
            for part in data["parts"]
        )
        return Catalog.of(parts, tuple(data["retired"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a manifest: {error!r}") from error


def _over(live: dict[date, Slice], parts: Iterable[Part]) -> dict[date, Slice]:
    """Return where each session is once parts lie on top of others."""
    newest = dict(live)
    for part in parts:
        offset = 0
        for session, count in part.sessions:
            newest[session] = Slice(part, offset, count, (session,))
            offset += count
    days = list(newest)
    return newest if all(map(le, days, days[1:])) else dict(sorted(newest.items()))


def _joined(first: Slice, last: Slice, sessions: Sequence[date]) -> Slice:
    return Slice(first.part, first.offset, last.offset + last.rows - first.offset, tuple(sessions))

"""The Parquet lake: one file per dataset and session, replaced whole and atomically; it judges no content."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from io import BytesIO
from itertools import accumulate
from pathlib import Path

import polars as pl

from trading_pipeline.adapters.store.atomic import FileBatch, exclusive, in_threads
from trading_pipeline.errors import DataQualityError

_PREFIX = "session="
_FILE = "part.parquet"
_FILES_AT_ONCE = 512
"""Bounds the memory that the bytes of large partitions take while they are read."""


class Dataset(StrEnum):
    """What the lake holds; the value is the name of the folder."""

    RAW_BARS = "raw_bars"
    BARS = "bars"
    QUARANTINED_BARS = "quarantined_bars"
    IMPORTED_BARS = "imported_bars"
    FRESHNESS = "freshness"
    FEATURES = "features"
    FEATURE_INPUTS = "feature_inputs"
    PREDICTIONS = "predictions"
    TARGET_PORTFOLIO = "target_portfolio"
    FILLS = "fills"
    POSITIONS = "positions"
    PNL = "pnl"


@dataclass(frozen=True, slots=True)
class Lake:
    """Datasets under one root folder, laid out as `<dataset>/session=YYYY-MM-DD/part.parquet`.

    Every frame has a `session` column (Date). A session that was written without rows has a file without rows, so that
    "nothing happened" differs from "never written".
    """

    root: Path

    def partition_path(self, dataset: Dataset, session: date) -> Path:
        """Return where the file of a session is, or would be."""
        return self.root / dataset / f"{_PREFIX}{session.isoformat()}" / _FILE

    def has(self, dataset: Dataset, session: date) -> bool:
        """Tell whether the session was written, with or without rows."""
        return self.partition_path(dataset, session).is_file()

    def sessions(self, dataset: Dataset, *, start: date = date.min, end: date = date.max) -> list[date]:
        """Return the sessions of a range, both ends included, that were written, in order."""
        return self._written(dataset, start, end)

    def read_session(self, dataset: Dataset, session: date, *, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return the rows of one session.

        Raises:
            DataQualityError: the session was never written, or the file or its columns cannot be read.
        """
        if not self.has(dataset, session):
            raise DataQualityError(
                f"the lake has no {dataset} of {session}: materialise that partition first",
                dataset=dataset.value,
                session=session,
            )
        return self._scan(dataset, [session], columns)

    def read(self, dataset: Dataset, *, start: date, end: date, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return the rows of all written sessions from `start` to `end`, both included, in order of session and symbol.

        Sessions never written add nothing: compare with `sessions` where that matters. A range without any has no rows
        but the columns of the dataset.

        Raises:
            DataQualityError: the dataset was never written at all, or the files or their columns cannot be read.
        """
        wanted = self._written(dataset, start, end)
        if wanted:
            return self._scan(dataset, wanted, columns)
        written = self.sessions(dataset)
        if not written:
            raise DataQualityError(
                f"the lake has no {dataset} at all: materialise it first", dataset=dataset.value, root=str(self.root)
            )
        return self._scan(dataset, written[-1:], columns).clear()

    def write(self, dataset: Dataset, frame: pl.DataFrame, *, sessions: Sequence[date]) -> list[date]:
        """Replace the partitions of `sessions` by the rows of the frame and return the sessions whose content changed.

        A partition with equal content is left untouched, byte for byte. An error leaves every partition as it was; a
        crash may leave some replaced and others not, each of them whole.

        Args:
            dataset: where to.
            frame: all rows of the sessions; sessions of the list without rows become empty partitions.
            sessions: the partitions to replace.

        Raises:
            DataQualityError: no `session` column of type Date, or rows of a session that is not in `sessions`.
        """
        with exclusive(self.root / dataset):
            return self._replace(dataset, frame, sessions)

    def update(
        self,
        dataset: Dataset,
        merge: Callable[[pl.DataFrame | None], pl.DataFrame],
        *,
        sessions: Sequence[date],
    ) -> list[date]:
        """Replace partitions by what `merge` makes of their present rows (None: none was written), as `write` does.

        No other writer of this machine comes between the reading and the writing.
        """
        with exclusive(self.root / dataset):
            written = [session for session in sorted(set(sessions)) if self.has(dataset, session)]
            present = self._scan(dataset, written, None) if written else None
            return self._replace(dataset, merge(present), sessions)

    def _written(self, dataset: Dataset, start: date, end: date) -> list[date]:
        """Find the written sessions of a range; only folders of the range are looked into."""
        try:
            names = os.listdir(self.root / dataset)  # noqa: PTH208 - names are all it takes, and there are thousands
        except FileNotFoundError:
            return []
        first, last = f"{_PREFIX}{start.isoformat()}", f"{_PREFIX}{end.isoformat()}"
        found = [date.fromisoformat(name.removeprefix(_PREFIX)) for name in names if first <= name <= last]
        return sorted(session for session in found if self.has(dataset, session))

    def _scan(self, dataset: Dataset, sessions: Sequence[date], columns: Sequence[str] | None) -> pl.DataFrame:
        files = [self.partition_path(dataset, session) for session in sessions]
        batches = [files[at : at + _FILES_AT_ONCE] for at in range(0, len(files), _FILES_AT_ONCE)]
        try:
            return pl.concat(_read_files(batch, columns) for batch in batches)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataQualityError(
                f"{dataset} of {sessions[0]} to {sessions[-1]} cannot be read: {error}. "
                "Materialise the range again if the format has changed since",
                dataset=dataset.value,
                start=sessions[0],
                end=sessions[-1],
            ) from error

    def _replace(self, dataset: Dataset, frame: pl.DataFrame, sessions: Sequence[date]) -> list[date]:
        wanted = set(sessions)
        _require_sessions(dataset, frame, wanted)
        changed: list[date] = []
        with FileBatch(self.root / dataset) as batch:

            def stage(partition: tuple[date, pl.DataFrame]) -> None:
                session, rows = partition
                path, content = self.partition_path(dataset, session), _encode(rows)
                if not (path.is_file() and path.read_bytes() == content):
                    batch.stage(path, content)
                    changed.append(session)

            in_threads(stage, _by_session(frame, wanted))
            batch.commit()
        return sorted(changed)


def _read_files(files: Sequence[Path], columns: Sequence[str] | None) -> pl.DataFrame:
    # Polars opens a path more than once, so a file replaced in between would be read half old, half new. Its bytes are
    # taken in one go instead, which also is the fastest for many small files.
    rows = pl.scan_parquet([path.read_bytes() for path in files], hive_partitioning=False, glob=False)
    return (rows if columns is None else rows.select(columns)).collect()


def _require_sessions(dataset: Dataset, frame: pl.DataFrame, wanted: set[date]) -> None:
    if frame.schema.get("session") != pl.Date():
        raise DataQualityError(f"{dataset}: the frame needs a column session of type Date", dataset=dataset.value)
    strangers = set(frame["session"].unique()) - wanted
    if strangers:
        shown = sorted(map(str, strangers))[:5]
        raise DataQualityError(
            f"{dataset}: {len(strangers)} session(s) of the frame are not among those to write: {', '.join(shown)}",
            dataset=dataset.value,
            sessions=shown,
        )


def _by_session(frame: pl.DataFrame, wanted: set[date]) -> Iterator[tuple[date, pl.DataFrame]]:
    ordered = _canonical(frame)
    counts = dict(ordered.group_by("session", maintain_order=True).len().iter_rows())
    for session in wanted - counts.keys():
        yield session, ordered.clear()
    starts = accumulate(counts.values(), initial=0)
    for (session, count), start in zip(counts.items(), starts, strict=False):
        yield session, ordered.slice(start, count)


def _canonical(frame: pl.DataFrame) -> pl.DataFrame:
    key = [name for name in ("session", "symbol") if name in frame.columns]
    # Rows that share a key (raw bars may) are told apart by all columns: the order they came in leaves no trace.
    order = frame.columns if frame.select(key).is_duplicated().any() else key
    return frame.sort([*key, *(name for name in order if name not in key)], nulls_last=True).rechunk()


def _encode(rows: pl.DataFrame) -> bytes:
    buffer = BytesIO()
    rows.write_parquet(buffer, compression="zstd", statistics=False)
    return buffer.getvalue()

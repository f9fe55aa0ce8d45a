"""The Parquet lake: datasets partitioned by session, replaced whole and atomically; it judges no content."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from enum import StrEnum
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import polars as pl

from trading_pipeline.adapters.store.catalog import Catalog, Part, Slice, read_catalog
from trading_pipeline.adapters.store.compaction import stretches
from trading_pipeline.adapters.store.objects import open_store
from trading_pipeline.core.bars import BAR_KEY, in_order
from trading_pipeline.errors import DataQualityError, ServerUnavailable

_MANIFEST: Final = "manifest.json"
_PART_BYTES: Final = 256 << 20
"""Size of the largest part in memory."""
_ROW_GROUP: Final = 1 << 16
_TURNS: Final = 50
"""How often a commit, or a read, that lost a race with a writer is made again."""


class Dataset(StrEnum):
    """What the lake holds; the value is the name of the folder."""

    RAW_BARS = "raw_bars"
    BARS = "bars"
    QUARANTINED_BARS = "quarantined_bars"
    IMPORTED_BARS = "imported_bars"
    CORPORATE_ACTIONS = "corporate_actions"
    REFERENCE_BARS = "reference_bars"
    ACCEPTANCES = "acceptances"
    VERDICTS = "verdicts"
    SESSION_VERDICTS = "session_verdicts"
    FRESHNESS = "freshness"
    FEATURES = "features"
    FEATURE_INPUTS = "feature_inputs"
    FEATURE_VERSIONS = "feature_versions"
    PREDICTIONS = "predictions"
    TARGET_PORTFOLIO = "target_portfolio"
    FILLS = "fills"
    POSITIONS = "positions"
    PNL = "pnl"
    RESTATEMENT_REPORT = "restatement_report"


class Lake:
    """Datasets under one root: a folder, or a bucket by its URL.

    A dataset is a set of immutable Parquet files and `manifest.json`, which names the file and rows of every session.
    A commit adds files and then swaps the manifest, so that readers see all of it or nothing. Small files are merged
    on the way: a full scan costs about what one compact file would.

    Every frame has a `session` column (Date). A session that was written without rows is in the manifest without rows,
    so that "nothing happened" differs from "never written".
    """

    __slots__ = ("_store", "root")

    def __init__(self, root: Path | str) -> None:
        """Name the lake; nothing is opened before it is used.

        Raises:
            ConfigError: the URL is of no kind that is known.
        """
        self.root = root
        self._store = open_store(root)

    def has(self, dataset: Dataset, session: date) -> bool:
        """Tell whether the session was written, with or without rows."""
        return session in self.catalog(dataset).live

    def sessions(self, dataset: Dataset, *, start: date = date.min, end: date = date.max) -> list[date]:
        """Return the sessions of a range, both ends included, that were written, in order."""
        return [session for session in self.catalog(dataset).live if start <= session <= end]

    def read_session(self, dataset: Dataset, session: date, *, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return the rows of one session.

        Raises:
            DataQualityError: the session was never written, or the file or its columns cannot be read.
        """
        rows = self._scan(dataset, lambda live: [session] if session in live else [], columns)
        if rows is None:
            raise DataQualityError(
                f"the lake has no {dataset} of {session}: materialise that partition first",
                dataset=dataset.value,
                session=session,
            )
        return rows

    def read(self, dataset: Dataset, *, start: date, end: date, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return the rows of all written sessions from `start` to `end`, both included, in order of session and symbol.

        Sessions never written add nothing: compare with `sessions` where that matters. A range without any has no rows
        but the columns of the dataset. All rows are of one commit, whoever writes meanwhile.

        Raises:
            DataQualityError: the dataset was never written at all, or the files or their columns cannot be read.
        """
        rows = self._scan(dataset, lambda live: [session for session in live if start <= session <= end], columns)
        if rows is not None:
            return rows
        rows = self._scan(dataset, lambda live: list(live)[-1:], columns)
        if rows is None:
            raise DataQualityError(
                f"the lake has no {dataset} at all: materialise it first", dataset=dataset.value, root=str(self.root)
            )
        return rows.clear()

    def write(self, dataset: Dataset, frame: pl.DataFrame, *, sessions: Sequence[date]) -> list[date]:
        """Replace the partitions of `sessions` by the rows of the frame and return the sessions whose content changed.

        All of them change together or none does, whatever happens; those with equal content are left untouched.

        Args:
            dataset: where to.
            frame: all rows of the sessions; sessions of the list without rows become empty partitions.
            sessions: the partitions to replace.

        Raises:
            DataQualityError: no `session` column of type Date, or rows of a session that is not in `sessions`.
            OSError: the disk does not take it; nothing has changed.
            ServerUnavailable: the bucket does not answer, or other writers keep coming first. Repeat it.
        """
        return self.update(dataset, lambda _: frame, sessions=sessions, reads=False)

    def update(
        self,
        dataset: Dataset,
        merge: Callable[[pl.DataFrame | None], pl.DataFrame],
        *,
        sessions: Sequence[date],
        reads: bool = True,
    ) -> list[date]:
        """Replace partitions by what `merge` makes of their present rows (None: none was written), as `write` does.

        No other writer comes between the reading and the writing; where the store has no locks `merge` may be called
        again. With `reads` off, `merge` is given None.
        """
        wanted = sorted(set(sessions))
        tried: set[date] = set()
        with self._store.exclusive(dataset):
            for _ in range(_TURNS):
                catalog, version = self._load(dataset)
                written = [session for session in wanted if session in catalog.live]
                present = self._gather(dataset, catalog, written, None) if written and reads else None
                frame = merge(present)
                _require_sessions(dataset, frame, set(wanted))
                rows = _canonical(frame)
                changed = self._changed(dataset, catalog, rows, wanted)
                tried.update(changed)  # a commit that seemed lost may have been made, and be what is found now
                if not changed or self._commit(dataset, catalog, version, rows, changed):
                    return sorted(tried)
        raise ServerUnavailable(f"other writers kept changing {dataset}: run it again", dataset=dataset.value)

    def catalog(self, dataset: Dataset) -> Catalog:
        """Return which files hold which sessions, as of now.

        Raises:
            DataQualityError: the manifest is damaged.
        """
        return self._load(dataset)[0]

    def location(self, dataset: Dataset, part: Part) -> str:
        """Return the absolute path or the URL of a file of a dataset, for other readers."""
        return self._store.location(f"{dataset}/{part.name}")

    def filesystem(self) -> Any | None:
        """Return an fsspec file system that reads locations, for readers that know no buckets; None: plain files."""
        return self._store.filesystem()

    def _load(self, dataset: Dataset) -> tuple[Catalog, str | None]:
        found = self._store.read(f"{dataset}/{_MANIFEST}")
        if found is None:
            return Catalog(), None
        try:
            return read_catalog(found[0]), found[1]
        except ValueError as error:
            raise DataQualityError(
                f"the manifest of {dataset} is damaged: {error}. Restore {dataset}/{_MANIFEST} from a backup, or move "
                "the folder away and materialise it again",
                dataset=dataset.value,
                root=str(self.root),
            ) from error

    def _scan(
        self,
        dataset: Dataset,
        choose: Callable[[Iterable[date]], list[date]],
        columns: Sequence[str] | None,
    ) -> pl.DataFrame | None:
        catalog = self.catalog(dataset)
        for _ in range(_TURNS):
            wanted = choose(catalog.live)
            if not wanted:
                return None
            try:
                return self._gather(dataset, catalog, wanted, columns)
            except DataQualityError:
                # Two commits have passed since the manifest was read, and what it named is gone: read the new one.
                newer = self.catalog(dataset)
                if newer.parts == catalog.parts:
                    raise
                catalog = newer
        raise ServerUnavailable(f"writers kept changing {dataset}: read it again", dataset=dataset.value)

    def _gather(
        self, dataset: Dataset, catalog: Catalog, sessions: Sequence[date], columns: Sequence[str] | None
    ) -> pl.DataFrame:
        slices = catalog.slices(sessions)
        # Slices without rows add nothing but the columns, which any one of them can give.
        filled = [one for one in slices if one.rows] or slices[:1]
        try:
            frames = self._collect(dataset, filled, columns)
            return pl.concat(frames) if len(frames) > 1 else frames[0]
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataQualityError(
                f"{dataset} of {sessions[0]} to {sessions[-1]} cannot be read: {error}. "
                "Materialise the range again if the format has changed since",
                dataset=dataset.value,
                start=sessions[0],
                end=sessions[-1],
            ) from error

    def _collect(self, dataset: Dataset, slices: Sequence[Slice], columns: Sequence[str] | None) -> list[pl.DataFrame]:
        """Return the rows of each slice; a part that restated sessions have cut to pieces is decoded once."""
        cut = _cut_to_pieces(slices)
        whole = {one.part.name: one.widened() for one in slices if one.part.name in cut}
        single = [one for one in slices if one.part.name not in whole]
        frames = pl.collect_all([self._lazy(dataset, one, columns) for one in (*whole.values(), *single)])
        decoded = dict(zip(whole, frames, strict=False))
        others = iter(frames[len(whole) :])
        return [
            decoded[one.part.name].slice(one.offset, one.rows) if one.part.name in decoded else next(others)
            for one in slices
        ]

    def _lazy(self, dataset: Dataset, one: Slice, columns: Sequence[str] | None) -> pl.LazyFrame:
        rows = pl.scan_parquet(
            self._store.location(f"{dataset}/{one.part.name}"),
            hive_partitioning=False,
            glob=False,
            storage_options=self._store.options,
        )
        cut = rows if one.is_whole else rows.slice(one.offset, one.rows)
        return cut if columns is None else cut.select(columns)

    def _changed(self, dataset: Dataset, catalog: Catalog, rows: pl.DataFrame, sessions: Sequence[date]) -> list[date]:
        counts = _counts(rows)
        schema = _digest(rows.schema)
        alike = [
            session
            for session in sessions
            if (known := catalog.live.get(session)) is not None
            and known.part.schema == schema
            and known.rows == counts.get(session, 0)
        ]
        filled = [session for session in alike if session in counts]
        differing = set(sessions) - set(alike)
        if filled:
            try:
                present = self._gather(dataset, catalog, filled, None)
            except DataQualityError:  # damaged: written anew
                return list(sessions)
            offered = rows if len(filled) == len(counts) else rows.filter(pl.col("session").is_in(filled))
            differing |= _differing(present, offered)
        return sorted(differing)

    def _commit(
        self, dataset: Dataset, catalog: Catalog, version: str | None, rows: pl.DataFrame, sessions: Sequence[date]
    ) -> bool:
        counts = _counts(rows)
        if counts.keys() != set(sessions):
            rows = rows.filter(pl.col("session").is_in(sessions))
        parts = list(self._put(dataset, rows, [(session, counts.get(session, 0)) for session in sessions]))
        after, made = catalog.replaced_by(parts), [part.name for part in parts]
        for run in stretches(after):
            days = [session for one in run for session in one.sessions]
            try:
                together = self._gather(dataset, after, days, None)
            except DataQualityError:  # a damaged part stays as it is until its sessions are written anew
                continue
            merged = list(self._put(dataset, together, [(day, after.live[day].rows) for day in days]))
            after = after.replaced_by(merged)
            made += [part.name for part in merged]
        gone = {part.name for part in catalog.parts} - {part.name for part in after.parts}
        final = replace(after, retired=tuple(sorted(gone)))
        if not self._store.swap(f"{dataset}/{_MANIFEST}", final.to_bytes(), version):
            return False
        names = {part.name for part in final.parts}
        # What was merged at once never had a name; what this commit retires, readers may still be reading.
        self._store.delete([f"{dataset}/{name}" for name in (*catalog.retired, *made) if name not in names])
        self._store.sweep(dataset, {_MANIFEST, *names, *final.retired}, newest=made[-1])
        return True

    def _put(self, dataset: Dataset, rows: pl.DataFrame, counts: Sequence[tuple[date, int]]) -> Iterator[Part]:
        schema = _digest(rows.schema)
        limit = max(1, _PART_BYTES * rows.height // max(int(rows.estimated_size()), 1))
        offset = 0
        for cut in _cuts(counts, limit):
            height = sum(count for _, count in cut)
            content = _encode(rows.slice(offset, height))
            offset += height
            digest = blake2b(content, digest_size=12).hexdigest()
            key = self._store.unused(f"{dataset}/{_span(cut)}_{digest}.parquet")
            self._store.put(key, content)
            yield Part(name=key.removeprefix(f"{dataset}/"), size=len(content), schema=schema, sessions=tuple(cut))


def _cuts(counts: Sequence[tuple[date, int]], limit: int) -> Iterator[list[tuple[date, int]]]:
    cut: list[tuple[date, int]] = []
    height = 0
    for session, count in counts:
        if cut and height + count > limit:
            yield cut
            cut, height = [], 0
        cut.append((session, count))
        height += count
    if cut:
        yield cut


def _span(cut: Sequence[tuple[date, int]]) -> str:
    first, last = cut[0][0].isoformat(), cut[-1][0].isoformat()
    return first if first == last else f"{first}_{last}"


def _cut_to_pieces(slices: Sequence[Slice]) -> set[str]:
    """Name the parts of which several slices are wanted that are most of their rows together."""
    pieces = Counter(one.part.name for one in slices)
    rows: Counter[str] = Counter()
    for one in slices:
        rows[one.part.name] += one.rows
    parts = {one.part.name: one.part for one in slices if pieces[one.part.name] > 1}
    return {name for name, part in parts.items() if 2 * rows[name] >= part.rows}


def _counts(rows: pl.DataFrame) -> dict[date, int]:
    return dict(rows.group_by("session", maintain_order=True).len().iter_rows())


def _differing(present: pl.DataFrame, offered: pl.DataFrame) -> set[date]:
    unequal = [present[name].ne_missing(offered[name]) for name in offered.columns]
    rows = offered["session"].to_frame().filter(pl.DataFrame(unequal).fold(lambda one, other: one | other))
    return set(rows["session"].unique())


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


def _canonical(frame: pl.DataFrame) -> pl.DataFrame:
    key = [name for name in BAR_KEY if name in frame.columns]
    if len(key) == len(BAR_KEY) and in_order(frame):
        return frame.rechunk()
    # Rows that share a key (raw bars may) are told apart by all columns: the order they came in leaves no trace.
    order = frame.columns if frame.select(key).is_duplicated().any() else key
    return frame.sort([*key, *(name for name in order if name not in key)], nulls_last=True).rechunk()


def _digest(schema: pl.Schema) -> str:
    return blake2b(repr(list(schema.items())).encode(), digest_size=8).hexdigest()


def _encode(rows: pl.DataFrame) -> bytes:
    buffer = BytesIO()
    rows.write_parquet(buffer, compression="zstd", row_group_size=_ROW_GROUP)
    return buffer.getvalue()

"""Features of a range of sessions in the lake: computes what its bars have changed and leaves the rest alone."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from trading_pipeline.adapters.store.adjusted import read_instrument_bars
from trading_pipeline.adapters.store.instruments import read_spells
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.features import CompiledFeatures, FeatureSet
from trading_pipeline.core.features.incremental import KEY, bars_needed, compute_cells
from trading_pipeline.core.features.inputs import input_digests
from trading_pipeline.core.freshness import FRESH
from trading_pipeline.core.instruments import identify
from trading_pipeline.core.sessions import SessionCalendar, xnys
from trading_pipeline.errors import DataQualityError
from trading_pipeline.services.feature_versions import FeatureVersions

ROWS_AT_ONCE = 1_000_000
"""Bounds the memory of a run: so many rows of features are held at a time, about 0.6 GB of Alpha158."""

CELL = [*KEY, "digest"]
"""A symbol of a session with the digest of its inputs."""

_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureWork:
    """What some sessions need, with the bars to make it of.

    Attributes:
        sessions: all of them, in order.
        inputs: `session`, `symbol`, `digest`: every cell that shall be there.
        outdated: `session`, `symbol`: those of them to compute.
        bars: those that the cells need; their `symbol` is the instrument, which may have had several symbols.
        names: `session`, `symbol`, `instrument`: who was meant in the sessions.
        calendar: all sessions that the bars span.
        first_sessions: of symbols that were listed before the bars begin.
    """

    sessions: tuple[date, ...]
    inputs: pl.DataFrame
    outdated: pl.DataFrame
    bars: pl.DataFrame
    names: pl.DataFrame
    calendar: tuple[date, ...]
    first_sessions: Mapping[str, date]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureResult:
    """The cells of some sessions with their digests, and the features of those that were computed."""

    sessions: tuple[date, ...]
    inputs: pl.DataFrame
    values: pl.DataFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureUpdate:
    """What an update of a range did: rows there are, rows computed, sessions whose file was written."""

    rows: int
    computed: int
    sessions_changed: int

    @property
    def reused(self) -> int:
        """Rows that were left as they were."""
        return self.rows - self.computed


@dataclass(frozen=True, slots=True)
class FeatureStore:
    """The features of one feature set in one lake.

    Beside the features of a session, `feature_inputs` keeps for each symbol the digest of all that they were made of.
    It is emptied before features are replaced and filled afterwards: after a crash in between, they count as unknown.
    """

    lake: Lake
    compiled: CompiledFeatures
    calendar: SessionCalendar

    def update(self, sessions: Sequence[date], manifest: pl.DataFrame) -> "FeatureUpdate":
        """Bring the features of a range up to date with its bars, chunk by chunk.

        Sessions whose bars lie in the files that their features were made of are not looked at.

        Args:
            sessions: in order.
            manifest: the freshness of every symbol, as `freshness_manifest` returns it; only fresh ones get features.
        """
        versions = FeatureVersions(self.lake, self.compiled, self.calendar)
        wanted = versions.wanted(sessions, manifest)
        unchanged = versions.unchanged(wanted)
        rows, computed, changed = sum(unchanged.values()), 0, 0
        others = [session for session in sessions if session not in unchanged]
        for chunk in self.chunks(others, manifest["symbol"].n_unique()):
            result = self.compute(self.plan(chunk, manifest))
            changed += len(self.store(result))
            rows += result.inputs.height
            computed += result.values.height
            versions.record({session: wanted[session] for session in chunk}, self._named(result.inputs))
        return FeatureUpdate(rows=rows, computed=computed, sessions_changed=changed)

    def plan(
        self, sessions: Sequence[date], manifest: pl.DataFrame, symbols: Collection[str] | None = None
    ) -> FeatureWork:
        """Compare the bars of fresh symbols with those that the stored features were made of.

        Args:
            sessions: in order.
            manifest: the freshness of every symbol, as `freshness_manifest` returns it.
            symbols: only these; None for all.
        """
        bars, names, calendar, first_sessions = self._bars(sessions)
        if symbols is not None and not self.compiled.cross_section:
            meant = names.filter(pl.col("symbol").is_in(list(symbols))).select("instrument").unique()
            bars = bars.join(meant, left_on="symbol", right_on="instrument", how="semi", maintain_order="left")
        digests = input_digests(
            bars, compiled=self.compiled, calendar=calendar, sessions=sessions, first_sessions=first_sessions
        )
        fresh = manifest.filter(pl.col("state") == FRESH).select(*KEY)
        if symbols is not None:
            fresh = fresh.filter(pl.col("symbol").is_in(list(symbols)))
        inputs = _traded(digests, names).join(fresh, on=KEY, how="semi", maintain_order="left")
        outdated = inputs.join(self._stored_inputs(sessions), on=CELL, how="anti", maintain_order="left")
        return FeatureWork(
            sessions=tuple(sessions),
            inputs=inputs,
            outdated=outdated.select(*KEY),
            bars=bars,
            names=names,
            calendar=tuple(calendar),
            first_sessions=first_sessions,
        )

    def compute(self, work: FeatureWork) -> FeatureResult:
        """Compute the outdated cells from the bars they were judged by; nothing is written."""
        values = self._no_rows()
        if work.outdated.height:
            meant = work.outdated.join(work.names, on=KEY, how="inner", maintain_order="left")
            computed = compute_cells(
                self.compiled,
                work.bars,
                meant.select("session", pl.col("instrument").alias("symbol")),
                calendar=work.calendar,
                first_sessions=work.first_sessions,
            )
            values = _traded(computed, work.names)
        return FeatureResult(sessions=work.sessions, inputs=work.inputs, values=values)

    def store(self, result: FeatureResult) -> list[date]:
        """Write the sessions that differ from what is stored, and return them: the computed rows beside those kept.

        Raises:
            DataQualityError: rows that were to be kept are no longer stored as they were.
        """
        stored = self._stored_inputs(result.sessions)
        kept = result.inputs.join(result.values, on=KEY, how="anti")
        lost = kept.join(stored, on=CELL, how="anti")
        if lost.height:
            raise DataQualityError(
                f"{lost.height} features that were there are another run's by now, the first of {lost['symbol'][0]} at "
                f"{lost['session'][0]}: run again",
                lost=lost.height,
            )
        surplus = stored.join(result.inputs, on=CELL, how="anti")
        unknown = [session for session in result.sessions if not self._known(session)]
        changed = sorted({*result.values["session"], *surplus["session"], *unknown})
        if changed:
            days = pl.Series(changed, dtype=pl.Date).implode()
            inputs = self._named(result.inputs.filter(pl.col("session").is_in(days)))
            frame = pl.concat([self._kept(kept.filter(pl.col("session").is_in(days))), result.values])
            self.lake.write(Dataset.FEATURE_INPUTS, inputs.clear(), sessions=changed)
            self.lake.write(Dataset.FEATURES, frame, sessions=changed)
            self.lake.write(Dataset.FEATURE_INPUTS, inputs, sessions=changed)
        return changed

    def chunks(self, sessions: Sequence[date], symbols: int) -> Iterator[list[date]]:
        """Cut a range into parts that fit into memory."""
        length = max(ROWS_AT_ONCE // max(symbols, 1), 1)
        for start in range(0, len(sessions), length):
            yield list(sessions[start : start + length])

    def _bars(self, sessions: Sequence[date]) -> tuple[pl.DataFrame, pl.DataFrame, list[date], dict[str, date]]:
        held = self.lake.sessions(Dataset.BARS)
        origin = min(held[0], sessions[0]) if held else sessions[0]
        end = min(self.calendar.shift(sessions[-1], self.compiled.lookahead), self.calendar.sessions[-1])
        span = bars_needed(self.compiled, sessions, self.calendar.between(origin, end))
        columns = [*KEY, *sorted(self.compiled.fields)]
        # A row is adjusted for the actions up to its session and no later one: nothing looks ahead.
        rows = read_instrument_bars(self.lake, start=span.start, end=span.end, columns=columns)
        asked = pl.Series(sessions, dtype=pl.Date).implode()
        names = rows.filter(pl.col("session").is_in(asked)).select(*KEY, "instrument")
        bars = rows.drop("symbol").rename({"instrument": "symbol"}).select(columns)
        calendar = self.calendar.between(span.start, span.end)
        return bars, names, calendar, self._listed_before(bars, span.start, held)

    def _listed_before(self, bars: pl.DataFrame, start: date, held: Sequence[date]) -> dict[str, date]:
        """Find out which symbols without a bar at the start had one before: their suspended sessions count."""
        unknown = set(bars["symbol"].unique()) - set(bars.filter(pl.col("session") == start)["symbol"])
        found: dict[str, date] = {}
        earlier = [session for session in held if session < start]
        spells = read_spells(self.lake)
        while unknown and earlier:
            batch, earlier = earlier[-_BATCH:], earlier[:-_BATCH]
            rows = self.lake.read(Dataset.BARS, start=batch[0], end=batch[-1], columns=list(KEY))
            meant = identify(rows, spells).filter(pl.col("instrument").is_in(list(unknown)))
            seen = meant.group_by("instrument").agg(pl.col("session").min())
            found |= dict(seen.iter_rows())
            unknown -= found.keys()
        return found

    def _known(self, session: date) -> bool:
        return self.lake.has(Dataset.FEATURES, session) and self.lake.has(Dataset.FEATURE_INPUTS, session)

    def _stored_inputs(self, sessions: Sequence[date]) -> pl.DataFrame:
        known = pl.Series([session for session in sessions if self._known(session)], dtype=pl.Date)
        if known.is_empty():
            return pl.DataFrame(schema={"session": pl.Date, "symbol": pl.String, "digest": pl.UInt64})
        stored = self.lake.read(Dataset.FEATURE_INPUTS, start=sessions[0], end=sessions[-1])
        return stored.filter(pl.col("session").is_in(known.implode())).select(*CELL)

    def _kept(self, cells: pl.DataFrame) -> pl.DataFrame:
        if cells.is_empty():
            return self._no_rows()
        sessions = cells["session"].unique().sort()
        stored = self.lake.read(Dataset.FEATURES, start=sessions[0], end=sessions[-1])
        return stored.join(cells, on=KEY, how="semi")

    def _no_rows(self) -> pl.DataFrame:
        columns = dict.fromkeys(self.compiled.feature_set.names, pl.Float32)
        return pl.DataFrame(schema={"session": pl.Date, "symbol": pl.String, **columns})

    def _named(self, inputs: pl.DataFrame) -> pl.DataFrame:
        return inputs.with_columns(pl.lit(self.compiled.feature_set.hash).alias("feature_set"))


def _traded(cells: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    """Put the symbol of the session where the instrument is; cells without a bar of their session have none."""
    if names["symbol"].equals(names["instrument"]):
        return cells
    named = cells.rename({"symbol": "instrument"}).join(
        names, on=["session", "instrument"], how="inner", maintain_order="left"
    )
    return named.select(cells.columns)


def require_features_of(lake: Lake, feature_set: FeatureSet, sessions: Sequence[date]) -> None:
    """Check that the stored features of all sessions were computed as this feature set says.

    Raises:
        DataQualityError: some were computed as another set, or it is not known as which; the first ones are named.
    """
    held = set(lake.sessions(Dataset.FEATURE_INPUTS, start=min(sessions), end=max(sessions)))
    unknown = sorted(set(sessions) - held)
    rows = (
        lake.read(Dataset.FEATURE_INPUTS, start=min(sessions), end=max(sessions), columns=["session", "feature_set"])
        if held
        else pl.DataFrame(schema={"session": pl.Date, "feature_set": pl.String})
    )
    other = rows.filter(pl.col("session").is_in(list(sessions)) & (pl.col("feature_set") != feature_set.hash))
    wrong = sorted({*unknown, *other["session"]})
    if wrong:
        was = ", ".join(sorted({one[:12] for one in other["feature_set"]})) or "an unknown set"
        raise DataQualityError(
            f"the features of {len(wrong)} session(s), {wrong[0]} to {wrong[-1]}, were computed as {was} and not as "
            f"{feature_set.name} ({feature_set.hash[:12]}): materialise `features` of them again",
            sessions=[day.isoformat() for day in wrong[:20]],
            feature_set=feature_set.hash,
        )


def feature_store(lake: Lake, compiled: CompiledFeatures) -> FeatureStore:
    """Return the store of features on the exchange's calendar."""
    return FeatureStore(lake, compiled, xnys())

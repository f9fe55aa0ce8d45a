"""Which versions of the lake's files the stored features were made of: while these stand, nothing is read again."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from trading_pipeline.adapters.store.catalog import Slice
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.core.features import CompiledFeatures
from trading_pipeline.core.features.inputs import computing_code, source_digest
from trading_pipeline.core.freshness import FRESH
from trading_pipeline.core.sessions import SessionCalendar

_SCHEMA = pl.Schema({"session": pl.Date(), "made_of": pl.String(), "stored_as": pl.String()})


@dataclass(frozen=True, slots=True)
class FeatureVersions:
    """What is known of the features of sessions without reading bars or features.

    Files of the lake never change and are named by their content, so the rows of a session are the same as long as they
    lie in the same place of the same file. Files that were merged since count as changed: the bars are compared then.
    """

    lake: Lake
    compiled: CompiledFeatures
    calendar: SessionCalendar

    def wanted(self, sessions: Sequence[date], manifest: pl.DataFrame) -> dict[date, str]:
        """Return, for each session, a digest of all that its features depend on, as of now.

        That is: the place of the bars of every session up to it, and up to as far ahead as the features look, all
        corporate actions, which symbols are fresh, the feature set, the code, and the libraries it computes with.
        """
        common = [self.compiled.feature_set.hash, source_digest("trading_pipeline"), computing_code()]
        common += _places(self.lake.catalog(Dataset.CORPORATE_ACTIONS).live)
        bars = hashlib.sha256("\n".join(common).encode())
        held = iter(self.lake.catalog(Dataset.BARS).live.items())
        pending = next(held, None)
        fresh = _fresh(manifest)
        digests = {}
        for session in sorted(sessions):
            end = min(self.calendar.shift(session, self.compiled.lookahead), self.calendar.sessions[-1])
            while pending is not None and pending[0] <= end:
                bars.update(f"{_place(*pending)}\n".encode())
                pending = next(held, None)
            mine = bars.copy()
            mine.update(f"{session} {fresh.get(session, '')}".encode())
            digests[session] = mine.hexdigest()
        return digests

    def unchanged(self, wanted: Mapping[date, str]) -> dict[date, int]:
        """Return the sessions whose stored features are made of what is wanted, with their numbers of rows."""
        known = self.lake.sessions(Dataset.FEATURE_VERSIONS, start=min(wanted), end=max(wanted))
        if not known:
            return {}
        rows = self.lake.read(Dataset.FEATURE_VERSIONS, start=known[0], end=known[-1])
        inputs, features = (self.lake.catalog(one).live for one in (Dataset.FEATURE_INPUTS, Dataset.FEATURES))
        return {
            session: features[session].rows
            for session, made_of, stored_as in rows.select(_SCHEMA.names()).iter_rows()
            if wanted.get(session) == made_of
            and session in features
            and session in inputs
            and stored_as == _place(session, inputs[session])
        }

    def record(self, wanted: Mapping[date, str], inputs: pl.DataFrame) -> None:
        """Remember what the features of sessions were made of.

        Args:
            wanted: as it was before their bars were read.
            inputs: the rows of `feature_inputs` that belong to it. Sessions of which the lake holds others by now, as
                another run has written them, are left out.
        """
        sessions = sorted(wanted)
        before = self.lake.catalog(Dataset.FEATURE_INPUTS).live
        stored = self.lake.read(Dataset.FEATURE_INPUTS, start=sessions[0], end=sessions[-1])
        after = self.lake.catalog(Dataset.FEATURE_INPUTS).live
        ours = stored.filter(pl.col("session").is_in(pl.Series(sessions, dtype=pl.Date).implode()))
        if not ours.equals(inputs.select(ours.columns).sort("session", "symbol")):
            return
        steady = [session for session in sessions if session in after and before.get(session) == after[session]]
        rows = [(session, wanted[session], _place(session, after[session])) for session in steady]
        self.lake.write(Dataset.FEATURE_VERSIONS, pl.DataFrame(rows, schema=_SCHEMA, orient="row"), sessions=steady)


def _places(live: Mapping[date, Slice]) -> list[str]:
    return [_place(session, found) for session, found in live.items()]


def _place(session: date, found: Slice) -> str:
    return f"{session} {found.part.name} {found.offset} {found.rows}"


def _fresh(manifest: pl.DataFrame) -> dict[date, str]:
    rows = manifest.filter(pl.col("state") == FRESH).sort("session", "symbol")
    return dict(rows.group_by("session", maintain_order=True).agg(pl.col("symbol").str.join(" ")).iter_rows())

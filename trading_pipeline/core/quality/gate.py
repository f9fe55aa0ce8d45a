"""Sort raw bars into bars fit for use and quarantined rows with a reason; nothing is changed, nothing is dropped."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby
from typing import Final

import numpy as np
import polars as pl

from trading_pipeline.core.bars import BAR_KEY, BAR_SCHEMA, EXCHANGE_ZONE, PRICE_COLUMNS, in_order, require_bar_schema
from trading_pipeline.core.quality.actions import Explained, taken_over
from trading_pipeline.core.quality.config import GateConfig
from trading_pipeline.core.quality.coverage import session_verdicts, symbol_verdicts
from trading_pipeline.core.quality.findings import FINDING_SCHEMA
from trading_pipeline.core.quality.jumps import JumpRule
from trading_pipeline.core.quality.panel import Flags, Ints, Panel, days_of, session_closes
from trading_pipeline.core.quality.reasons import BROKEN
from trading_pipeline.core.quality.repeats import find_repeats, find_shared
from trading_pipeline.core.quality.rules import Rule, duplicate_rules, row_rules, with_copies
from trading_pipeline.core.quality.scores import Scores
from trading_pipeline.core.quality.spikes import find_spikes
from trading_pipeline.core.quality.staleness import find_stale
from trading_pipeline.core.quality.vendors import find_conflicts
from trading_pipeline.core.quality.volumes import find_other_units, find_when_issued
from trading_pipeline.core.sessions import SessionCalendar, xnys
from trading_pipeline.errors import DataQualityError

QUARANTINE_SCHEMA: Final = pl.Schema(
    {**BAR_SCHEMA, "reason": pl.String(), "detail": pl.String(), "known_at": pl.Datetime("us", "UTC")}
)
SEPARATOR: Final = ";"
"""Between the reasons of a row that breaks several rules."""
ACCEPTANCE_SCHEMA: Final = pl.Schema({name: BAR_SCHEMA[name] for name in (*BAR_KEY, *PRICE_COLUMNS, "volume")})
"""An accepted bar, by the values that were seen."""
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """What the gate decided; together the two frames hold every raw row once, sorted by session and symbol.

    Attributes:
        bars: rows in bar format that broke no rule.
        quarantined: the other rows with `reason` (joined by `;`), `detail`, and `known_at` (UTC), the close at which
            one could first know it.
        findings: row by row what the rules said: `session`, `symbol`, `reason`, `detail`, `known_at`, and `released_at`
            where later bars took it back.
        config: the thresholds.
        calendar: the exchange.
    """

    bars: pl.DataFrame
    quarantined: pl.DataFrame
    findings: pl.DataFrame
    config: GateConfig = field(default_factory=GateConfig)
    calendar: SessionCalendar = field(default_factory=xnys)

    def reasons(self) -> dict[str, int]:
        """Return the number of quarantined rows by reason; a row with two reasons counts twice."""
        return reason_counts(self.quarantined)

    def verdicts(self, last: date | None = None, *, sessions: Sequence[date] | None = None) -> pl.DataFrame:
        """Return one verdict a symbol-session (`VERDICT_SCHEMA`), absent ones up to `last` included.

        Those of `sessions`; None: of all.
        """
        return symbol_verdicts(self.bars, self.quarantined, self.calendar, self.config, last, sessions=sessions)

    def sessions(self, last: date | None = None) -> pl.DataFrame:
        """Return one verdict a session (`SESSION_SCHEMA`)."""
        return session_verdicts(self.verdicts(last), self.config)


def judge_bars(
    raw: pl.DataFrame,
    *,
    last_good: Mapping[str, float],
    config: GateConfig | None = None,
    actions: pl.DataFrame | None = None,
    accepted: pl.DataFrame | None = None,
    second_vendor: pl.DataFrame | None = None,
    as_of: date | None = None,
    data_start: date | None = None,
) -> GateResult:
    """Judge raw bars of whole sessions in one pass, in time order whatever the order of the rows.

    Most defects show at the close of their own session. Some only show in later bars: a jump that comes back, a bar
    that turns up again. `as_of` judges as one could at the close of that session, with all later rows left out; judging
    a history and judging its beginning alone give the same answer as of that day.

    Args:
        raw: rows in bar format; a symbol may have any number of rows a session. `session` is never null.
        last_good: last good close (dollars) before the rows by symbol; a symbol without one starts with its first row.
        config: thresholds.
        actions: corporate actions (`corporate_actions.ACTION_SCHEMA`) that explain jumps and, with `other_symbol`, say
            when a symbol became another company's, whose bars are no jump from those before; prices must be raw.
            None: there are none.
        accepted: bars that an operator has confirmed (`ACCEPTANCE_SCHEMA`); a bar restated since is
            not meant. Broken rows stay out.
        second_vendor: `session`, `symbol`, `close` of a second vendor. None: there is none.
        as_of: the session at whose close to judge. None: the newest.
        data_start: first session of the whole history, when the rows are a part of it: a symbol that begins later may
            have when-issued bars. None: the first of the rows.

    Raises:
        DataQualityError: `raw` is not in bar format, a row has no session, or a last good close is no positive number.
    """
    settings, calendar = config or GateConfig(), xnys()
    _require_usable(last_good)
    rows = require_bar_schema(raw, where="raw bars")
    if rows["session"].has_nulls():
        raise DataQualityError("raw bars: rows without a session cannot be filed; fix the source", column="session")
    if as_of is not None:
        rows = rows.filter(pl.col("session") <= as_of)
    ordered = in_order(rows)
    rows = (rows if ordered else rows.sort(*BAR_KEY, "source", maintain_order=True)).with_row_index("row")
    closes = {day: calendar.close_at(day) for day in rows["session"].unique() if calendar.is_session(day)}
    unsound = _broken_rows(rows, row_rules(_non_sessions(rows, calendar), closes))
    copies = unsound.clear() if ordered else _duplicates(rows, unsound)
    broken = _dated(pl.concat([unsound, copies]), rows, calendar)
    sound = rows if broken.is_empty() else rows.filter(~_is_named(rows, broken))
    judgement = _Judgement(
        panel=Panel.of(sound, calendar, settings.reach, taken_over=taken_over(actions)),
        rows=rows,
        accepted=_accepted(sound, accepted),
        config=settings,
        calendar=calendar,
    )
    start = data_start or rows["session"].min()
    found = judgement.find(last_good, actions, second_vendor, start if isinstance(start, date) else None)
    return _result(rows, pl.concat([broken, found]), settings, calendar)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judgement:
    panel: Panel
    rows: pl.DataFrame
    accepted: pl.Series
    config: GateConfig
    calendar: SessionCalendar

    def find(
        self,
        last_good: Mapping[str, float],
        actions: pl.DataFrame | None,
        second_vendor: pl.DataFrame | None,
        data_start: date | None,
    ) -> pl.DataFrame:
        """Apply the rules that need other rows, each to what those before it have left."""
        found = [find_stale(self.panel), find_shared(self.panel)]
        if second_vendor is not None and not second_vendor.is_empty():
            found.append(find_conflicts(self.panel, self.rows, second_vendor, self.config))
        traded = self._without(self.panel, found)
        if data_start is not None:
            first = int(days_of(pl.Series([data_start]), self.calendar)[0])
            found.append(find_when_issued(traded, first))
        explained = Explained.by(actions, traded, self.calendar)
        scores = Scores.of(traded, self.config, explained.factor)
        repeats = find_repeats(traded, scores, self.config)
        jumps = JumpRule(
            panel=traded,
            scores=scores,
            config=self.config,
            waived=self._flags(traded, self.accepted) | explained.anything,
            void=self._void(traded, repeats.found),
            last_good=last_good,
        ).find()
        at_once = jumps.filter(pl.col("known") == pl.Series(self._day_of_row(traded)).gather(pl.Series(jumps["row"])))
        spikes = find_spikes(traded, scores, self.config, repeats.misdated, self._flags(traded, at_once["row"]))
        found += [repeats.found, spikes, jumps, find_other_units(traded, scores, self.config)]
        return pl.concat(found).join(self._accepted_rows(), on="row", how="anti", maintain_order="left")

    def _without(self, panel: Panel, found: Sequence[pl.DataFrame]) -> Panel:
        """Leave out what is known to be defective at once: it says nothing about other rows."""
        rows = pl.concat(found).join(self._accepted_rows(), on="row", how="anti")
        at_once = np.zeros(self.rows.height, dtype=bool)
        at_once[rows["row"].to_numpy()] = True
        return panel.select(~at_once[panel.row])

    def _void(self, panel: Panel, found: pl.DataFrame) -> Ints:
        """Return by row of the panel the session from which it counts as defective for good."""
        since = np.full(self.rows.height, _NEVER)
        lasting = found.filter(pl.col("released").is_null()).join(self._accepted_rows(), on="row", how="anti")
        np.minimum.at(since, lasting["row"].to_numpy(), lasting["known"].to_numpy())
        return since[panel.row]

    def _day_of_row(self, panel: Panel) -> Ints:
        days = np.full(self.rows.height, -1)
        days[panel.row] = panel.day
        return days

    def _flags(self, panel: Panel, rows: pl.Series) -> Flags:
        flags = np.zeros(self.rows.height, dtype=bool)
        flags[rows.to_numpy()] = True
        return flags[panel.row]

    def _accepted_rows(self) -> pl.DataFrame:
        return pl.DataFrame({"row": self.accepted.cast(pl.Int64)})


def _require_usable(last_good: Mapping[str, float]) -> None:
    for symbol, close in last_good.items():
        if not (math.isfinite(close) and close > 0):
            raise DataQualityError(
                f"{symbol}: last good close must be a positive number, not {close}; leave the symbol out instead",
                symbol=symbol,
                close=close,
            )


def _non_sessions(rows: pl.DataFrame, calendar: SessionCalendar) -> list[date]:
    ended_on = rows["ended_at"].unique().dt.convert_time_zone(EXCHANGE_ZONE).dt.date().drop_nulls().rename("session")
    days = pl.concat([rows["session"].unique(), ended_on]).unique()
    return [day for day in days if not calendar.is_session(day)]


def _duplicates(rows: pl.DataFrame, unsound: pl.DataFrame) -> pl.DataFrame:
    # A copy that is broken by itself says nothing against the others of its key.
    readable = rows.join(unsound.select("row"), on="row", how="anti", maintain_order="left")
    repeated = readable.filter(readable.select(BAR_KEY).is_duplicated())
    return _broken_rows(with_copies(repeated), duplicate_rules())


def _broken_rows(rows: pl.DataFrame, rules: Collection[Rule]) -> pl.DataFrame:
    flags = _flags(rows, rules)
    anything = flags.select(pl.any_horizontal(pl.all())).to_series()
    rows, flags = rows.filter(anything), flags.filter(anything)
    return pl.concat(
        rows.filter(flags[rule.reason]).select(
            "row", pl.lit(rule.reason.value).alias("reason"), rule.detail.cast(pl.String).alias("detail")
        )
        for rule in rules
    )


def _flags(rows: pl.DataFrame, rules: Collection[Rule]) -> pl.DataFrame:
    """Tell by reason which rows are broken; what few values decide is asked of each value, not of each row."""
    flags = rows.select(rule.flag for rule in rules if not rule.decided_by)
    for columns, group in groupby((rule for rule in rules if rule.decided_by), key=lambda rule: rule.decided_by):
        judged = rows.select(columns).unique().with_columns(names := [rule.flag for rule in group])
        if judged.select(pl.any_horizontal(pl.exclude(columns)).any()).item():
            beside = rows.select(columns).join(judged, on=columns, how="left", nulls_equal=True, maintain_order="left")
            flags = flags.hstack(beside.drop(columns))
        else:
            flags = flags.with_columns(pl.lit(value=False).alias(name.meta.output_name()) for name in names)
    return flags


def _is_named(rows: pl.DataFrame, named: pl.DataFrame) -> pl.Series:
    """Tell which of all rows, whose `row` is their place, are among those of another frame."""
    flags = np.zeros(rows.height, dtype=bool)
    flags[named["row"].to_numpy()] = True
    return pl.Series(flags)


def _dated(broken: pl.DataFrame, rows: pl.DataFrame, calendar: SessionCalendar) -> pl.DataFrame:
    """A broken row is known at the close of its session; on a day that is none, at the next close."""
    sessions = rows["session"].gather(broken["row"])
    known = pl.Series("known", days_of(sessions, calendar), dtype=pl.Int64)
    dated = broken.with_columns(known, pl.lit(None, dtype=pl.Int64).alias("released"))
    return dated.select(FINDING_SCHEMA.names()).cast(FINDING_SCHEMA)


def _accepted(sound: pl.DataFrame, accepted: pl.DataFrame | None) -> pl.Series:
    if accepted is None or accepted.is_empty():
        return pl.Series("row", [], dtype=sound.schema["row"])
    wanted = accepted.select(ACCEPTANCE_SCHEMA.names()).cast(ACCEPTANCE_SCHEMA).unique()
    return sound.join(wanted, on=ACCEPTANCE_SCHEMA.names(), how="inner")["row"].unique()


def _result(
    rows: pl.DataFrame,
    found: pl.DataFrame,
    config: GateConfig,
    calendar: SessionCalendar,
) -> GateResult:
    every = _at_closes(found, calendar)
    joined = (
        every.filter(pl.col("released_at").is_null())
        .unique(["row", "reason"], keep="first", maintain_order=True)
        .with_columns(pl.format("{}: {}", "reason", "detail").alias("detail"))
        .group_by("row", maintain_order=True)
        .agg(pl.col("reason").str.join(SEPARATOR), pl.col("detail").str.join("; "), pl.col("known_at").min())
    )
    named = _is_named(rows, joined)
    bars = rows.filter(~named).drop("row")
    out = rows.filter(named)
    quarantined = out.join(joined, on="row", how="inner", maintain_order="left").select(QUARANTINE_SCHEMA.names())
    if bars.height + quarantined.height != rows.height:
        raise DataQualityError(
            f"the gate got {rows.height} rows and returned {bars.height} + {quarantined.height}: do not use the result",
            rows=rows.height,
        )
    return GateResult(
        bars=bars,
        quarantined=quarantined,
        findings=rows.select("row", "session", "symbol")
        .join(every, on="row", how="inner", maintain_order="left")
        .drop("row"),
        config=config,
        calendar=calendar,
    )


def _at_closes(found: pl.DataFrame, calendar: SessionCalendar) -> pl.DataFrame:
    closes = session_closes(calendar)
    last = len(closes) - 1
    return found.select(
        pl.col("row").cast(pl.UInt32),
        "reason",
        "detail",
        closes.gather(found["known"].clip(0, last)).alias("known_at"),
        closes.gather(found["released"].clip(0, last)).alias("released_at"),
    )


def reason_counts(quarantined: pl.DataFrame) -> dict[str, int]:
    """Return the number of quarantined rows by reason; a row with two reasons counts twice."""
    each = quarantined.select(pl.col("reason").str.split(SEPARATOR).list.explode())
    return dict(each.group_by("reason").len().sort("reason").iter_rows())


def releasable(reason: str) -> bool:
    """Tell whether an acceptance can release a row with these reasons (joined by `;`)."""
    return not any(one in BROKEN for one in reason.split(SEPARATOR))

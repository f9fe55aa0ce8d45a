"""What a session would have traded had its data been what they are known to be now; nothing of the lake is changed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import polars as pl

from trading_pipeline.adapters.clock import SystemClock
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.prices import session_closes
from trading_pipeline.adapters.store.raw_bars import read_raw_bars, record_raw_bars
from trading_pipeline.core.features import CompiledFeatures
from trading_pipeline.core.features.incremental import bars_needed
from trading_pipeline.core.manifest import freshness_manifest
from trading_pipeline.core.portfolio import PortfolioConfig, build_target
from trading_pipeline.core.quality import GateConfig
from trading_pipeline.core.sessions import xnys
from trading_pipeline.core.training import predict
from trading_pipeline.services.features import feature_store
from trading_pipeline.services.gate import judge_sessions

REPORT_SCHEMA: Final = pl.Schema(
    {
        "session": pl.Date(),
        "symbol": pl.String(),
        "close": pl.Decimal(18, 4),
        "close_now": pl.Decimal(18, 4),
        "score": pl.Float64(),
        "score_now": pl.Float64(),
        "rank": pl.Int32(),
        "rank_now": pl.Int32(),
        "shares": pl.Int64(),
        "shares_now": pl.Int64(),
        "shares_difference": pl.Int64(),
        "order_shares": pl.Int64(),
        "order_shares_now": pl.Int64(),
        "order_notional": pl.Decimal(20, 4),
        "order_notional_now": pl.Decimal(20, 4),
        "filled_shares": pl.Decimal(20, 6),
        "filled_notional": pl.Decimal(20, 4),
        "why": pl.String(),
    }
)
"""One row a symbol that was, or would have been, a candidate, or was ordered. Without suffix: as it was traded.

`close` is dollars, `shares` the target, `order_shares` what was ordered to get there (signed, sales negative) with its
notional in dollars; orders are null where the session was never traded. `why` is `same`, `data` (its own close is
another one), `scores` (only scores or ranks moved), `gone` (it would have been no candidate, and nothing of it ordered)
or `new`.
"""
_COPIED: Final = (Dataset.CORPORATE_ACTIONS, Dataset.ACCEPTANCES, Dataset.REFERENCE_BARS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """All that decides targets beside the data.

    Attributes:
        compiled: the features.
        model: returns the text of the model by name and version, as `predictions` pins them.
        gate: thresholds of the quality gate.
        second_vendor: whose reference bars the gate compares with; empty: nobody's.
        members: who is expected on each session.
        max_age_minutes: trading minutes within which a bar is fresh.
        min_fresh_pct: share of the members that must be fresh, percent.
        portfolio: how targets are sized.
    """

    compiled: CompiledFeatures
    model: Callable[[str, str], str]
    gate: GateConfig
    second_vendor: str
    members: Mapping[date, Sequence[str]]
    max_age_minutes: int
    min_fresh_pct: float
    portfolio: PortfolioConfig


def compare_restated(
    lake: Lake, sessions: Sequence[date], strategy: Strategy, *, traded: Callable[[date], pl.DataFrame]
) -> pl.DataFrame:
    """Make bars, features, scores, targets and orders of some sessions from what is known now, beside those of then.

    The work is done in a lake of its own in a temporary folder. Each session uses the version of the model that scored
    it then, so that only data differ. Orders start from what was held and pending then.

    Args:
        lake: what is stored, and known now.
        sessions: which, in order.
        strategy: all that decides beside the data.
        traded: returns what was held and ordered from a session, as `traded.TRADED_SCHEMA`.

    Returns:
        As `REPORT_SCHEMA`, by session and symbol.

    Raises:
        DataQualityError: a session has no stored target, or its raw bars are absent.
        ModelUnavailable: the version that scored a session is gone.
    """
    stored = {session: lake.read_session(Dataset.TARGET_PORTFOLIO, session) for session in sessions}
    with TemporaryDirectory(prefix="restated-") as folder:
        shadow = Lake(Path(folder))
        _restate(lake, shadow, sessions, strategy)
        parts = [
            _with_orders(
                session, _compare(stored[session], _target(shadow, stored[session], strategy)), traded(session)
            )
            for session in sessions
        ]
    return pl.concat(parts).sort("session", "symbol")


def _restate(lake: Lake, shadow: Lake, sessions: Sequence[date], strategy: Strategy) -> None:
    calendar = xnys()
    held = lake.sessions(Dataset.RAW_BARS)
    span = bars_needed(strategy.compiled, sessions, calendar.between(min(held[0], sessions[0]), sessions[-1]))
    reach = 2 * strategy.gate.reach
    start, end = calendar.shift_within(span.start, -reach), calendar.shift_within(sessions[-1], reach)
    known = [session for session in held if start <= session <= end]
    raw = read_raw_bars(lake, start=start, end=end)
    record_raw_bars(shadow, raw, sessions=known, now=SystemClock().now())
    for dataset in _COPIED:
        if written := lake.sessions(dataset):
            shadow.write(dataset, lake.read(dataset, start=date.min, end=date.max), sessions=written)
    judged = [session for session in known if span.start <= session <= sessions[-1]]
    judge_sessions(shadow, judged, strategy.gate, second_vendor=strategy.second_vendor)
    bars = shadow.read(Dataset.BARS, start=span.start, end=sessions[-1], columns=["session", "symbol", "ended_at"])
    manifest = freshness_manifest(
        bars,
        sessions=sessions,
        expected=strategy.members,
        max_age_minutes=strategy.max_age_minutes,
        min_fresh_pct=strategy.min_fresh_pct,
        calendar=calendar,
    )
    feature_store(shadow, strategy.compiled).update(sessions, manifest.filter("session_usable"))


def _target(shadow: Lake, stored: pl.DataFrame, strategy: Strategy) -> pl.DataFrame:
    if stored.is_empty():
        return stored
    session, name, version = stored.select("session", "model_name", "model_version").row(0)
    features = shadow.read_session(Dataset.FEATURES, session)
    if features.is_empty():
        return stored.clear()
    scored = predict(strategy.model(name, version), features)
    quotes = session_closes(shadow, session, scored["symbol"].to_list())
    return build_target(scored, session=session, quotes=quotes, config=strategy.portfolio).rows


def _compare(stored: pl.DataFrame, restated: pl.DataFrame) -> pl.DataFrame:
    columns = {"price": "close", "score": "score", "rank": "rank", "target_shares": "shares"}
    then, now = (
        frame.select("session", "symbol", *(pl.col(name).alias(f"{to}{suffix}") for name, to in columns.items()))
        for frame, suffix in ((stored, ""), (restated, "_now"))
    )
    both = then.join(now, on=["session", "symbol"], how="full", coalesce=True)
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_now")) for name in columns.values())
    why = (
        pl.when(pl.col("close_now").is_null())
        .then(pl.lit("gone"))
        .when(pl.col("close").is_null())
        .then(pl.lit("new"))
        .when(pl.col("close") != pl.col("close_now"))
        .then(pl.lit("data"))
        .when(same)
        .then(pl.lit("same"))
        .otherwise(pl.lit("scores"))
    )
    difference = pl.col("shares_now").fill_null(0) - pl.col("shares").fill_null(0)
    return both.with_columns(difference.alias("shares_difference"), why.alias("why"))


def _with_orders(session: date, targets: pl.DataFrame, traded: pl.DataFrame) -> pl.DataFrame:
    """Add what was ordered, and what would have been: the same, moved by what moved the target.

    What was pending then is in the order already. A symbol without a target now is one that nobody orders; one that had
    none then starts from what was held.
    """
    known = traded.filter((pl.col("order_shares") != 0) | pl.col("symbol").is_in(targets["symbol"].implode()))
    rows = targets.join(known, on="symbol", how="full", coalesce=True).with_columns(
        pl.col("session").fill_null(session), pl.col("why").fill_null("gone"), pl.col("held").fill_null(0)
    )
    new = (pl.col("shares_now") - pl.col("held")).cast(pl.Int64)
    moved = pl.col("order_shares").fill_null(0) + pl.col("shares_difference")
    now = pl.when(pl.col("shares_now").is_null()).then(0).when(pl.col("shares").is_null()).then(new).otherwise(moved)
    whole = rows.with_columns(
        pl.col("order_shares", "order_notional", "filled_shares", "filled_notional").fill_null(0),
        now.alias("order_shares_now"),
    ).with_columns((pl.col("order_shares_now") * pl.col("close_now")).fill_null(0).alias("order_notional_now"))
    if not _was_traded(whole):
        names = [name for name in REPORT_SCHEMA if name.startswith(("order_", "filled_"))]
        whole = whole.with_columns(pl.lit(None).alias(name) for name in names)
    return whole.select(pl.col(name).cast(dtype) for name, dtype in REPORT_SCHEMA.items())


def _was_traded(rows: pl.DataFrame) -> bool:
    """Tell whether orders were made, or none because the target was held already."""
    away = (pl.col("shares") - pl.col("held")).abs() >= 1
    return rows.filter(pl.col("order_shares") != 0).height > 0 or rows.filter(away).is_empty()

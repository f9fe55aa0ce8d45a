"""The manifest of a range: what each session could use, whatever else the range holds."""

from datetime import date, timedelta

import polars as pl
import pytest

from trading_pipeline.core.freshness import judge_freshness
from trading_pipeline.core.manifest import (
    MANIFEST_SCHEMA,
    freshness_manifest,
    insufficient_sessions,
    require_usable,
    sessions_back,
)
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import FutureTimestamp, InsufficientFreshness

DAYS = xnys().between(date(2024, 6, 24), date(2024, 7, 12))
HALF_DAY = date(2024, 7, 3)
SYMBOLS = ("A", "B", "C", "D")


def bars(*absent: tuple[str, date]) -> pl.DataFrame:
    """Return a bar a symbol and session but for some."""
    rows = [
        {"session": day, "symbol": symbol, "ended_at": xnys().close_at(day)}
        for day in DAYS
        for symbol in SYMBOLS
        if (symbol, day) not in absent
    ]
    return pl.DataFrame(rows, schema={name: MANIFEST_SCHEMA[name] for name in ("session", "symbol", "ended_at")})


def manifest(frame: pl.DataFrame, sessions: list[date], **changes: object) -> pl.DataFrame:
    """Judge with the usual limits."""
    question = {"expected": SYMBOLS, "max_age_minutes": 30, "min_fresh_pct": 75.0, "calendar": xnys(), **changes}
    return freshness_manifest(frame, sessions=sessions, **question)


def test_a_range_says_of_every_session_what_the_plain_function_says_of_it_alone() -> None:
    """Absent for a day, for good, or from the start, over a half day and a holiday."""
    gone = [("B", HALF_DAY), *(("C", day) for day in DAYS[4:]), *(("D", day) for day in DAYS[:9])]
    frame = bars(*gone)
    judged = manifest(frame, DAYS[5:], min_fresh_pct=0.0, max_age_minutes=400)
    assert [4] * len(DAYS[5:]) == judged.group_by("session", maintain_order=True).len()["len"].to_list()
    for day in DAYS[5:]:
        window = frame.filter(pl.col("session").is_between(xnys().shift(day, -sessions_back(400)), day))
        alone = judge_freshness(
            window.select("symbol", "ended_at"),
            expected=SYMBOLS,
            as_of=xnys().close_at(day),
            max_age_minutes=400,
            min_fresh_pct=0,
            mode="per_symbol",
            calendar=xnys(),
        ).table
        columns = ["symbol", "ended_at", "age_minutes", "state"]
        assert alone.rows() == judged.filter(pl.col("session") == day).select(columns).rows()


def test_the_answer_for_a_session_is_the_same_however_the_range_is_cut() -> None:
    """Bars before what may count are not looked at, though a longer range brings them."""
    frame = bars(*(("C", day) for day in DAYS[2:]))
    whole = manifest(frame, DAYS, min_fresh_pct=0.0)
    parts = pl.concat([manifest(frame, [day], min_fresh_pct=0.0) for day in DAYS])
    assert whole.equals(parts)
    assert ["fresh", "fresh", "stale"] == whole.filter(pl.col("symbol") == "C")["state"][:3].to_list()
    assert "missing" == whole.filter(pl.col("symbol") == "C")["state"][-1]


def test_one_insufficient_session_leaves_the_others_usable_and_is_named() -> None:
    """The threshold itself is enough."""
    frame = bars(("A", DAYS[3]), ("B", DAYS[3]), ("A", DAYS[6]))
    judged = manifest(frame, DAYS)
    assert [DAYS[3]] == insufficient_sessions(judged)
    with pytest.raises(
        InsufficientFreshness, match=rf"1 of {len(DAYS)} session.*{DAYS[3]}.*2 of 4.*stale: A, B"
    ) as caught:
        require_usable(judged)
    assert [str(DAYS[3])] == caught.value.fields["sessions"]
    require_usable(judged.filter(pl.col("session") != DAYS[3]))


def test_each_session_may_expect_symbols_of_its_own() -> None:
    """Members of a dated universe are missed while they belong to it."""
    members = {day: ("A", "B") if day < HALF_DAY else ("B", "C", "E") for day in DAYS}
    judged = manifest(bars(), DAYS, expected=members, min_fresh_pct=60.0)
    assert [2 if day < HALF_DAY else 3 for day in DAYS] == judged.group_by("session", maintain_order=True).len()[
        "len"
    ].to_list()
    assert {"E"} == set(judged.filter(pl.col("state") == "missing")["symbol"])
    assert [] == insufficient_sessions(judged)


def test_without_any_bar_every_symbol_is_missing() -> None:
    """No session can be used then, and each says so."""
    judged = manifest(bars().clear(), DAYS)
    assert {"missing"} == set(judged["state"])
    assert DAYS == insufficient_sessions(judged)


def test_a_bar_that_ends_after_the_close_of_its_session_is_refused() -> None:
    """On a half day the usual close is in the future."""
    late = bars().with_columns(
        pl.when(session=HALF_DAY, symbol="B")
        .then(pl.col("ended_at") + timedelta(hours=3))
        .otherwise("ended_at")
        .alias("ended_at")
    )
    with pytest.raises(FutureTimestamp, match=r"2024-07-03T17:00:00\+00:00.*: B$"):
        manifest(late, DAYS)

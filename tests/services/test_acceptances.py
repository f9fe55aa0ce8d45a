"""What an operator may accept, what not, and that a decision is neither lost nor rewritten."""

from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from support.panels import seeded_panel
from support.pipeline import ACTION

from trading_pipeline.adapters.store.acceptances import read_acceptances
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.raw_bars import record_raw_bars
from trading_pipeline.core.bars import PRICE_COLUMNS
from trading_pipeline.core.quality import GateConfig
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import OperatorError
from trading_pipeline.services.acceptances import accept_bars, revoke_acceptance
from trading_pipeline.services.gate import judge_sessions

DAYS = xnys().between(date(2021, 1, 4), date(2021, 3, 31))
DAY, BROKEN = DAYS[40], DAYS[45]
NAME = "S0002"
NOW = xnys().close_at(DAYS[-1])


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Return a lake whose gate holds a halved level of one symbol, and one broken bar of it."""
    opened = Lake(tmp_path / "lake")
    mine = pl.col("symbol") == NAME
    halved = mine & (pl.col("session") >= DAY)
    raw = seeded_panel(8, sessions=DAYS, seed=3).with_columns(
        *(pl.when(halved).then(pl.col(name) / 2).otherwise(name).alias(name) for name in PRICE_COLUMNS),
        pl.when(mine & (pl.col("session") == BROKEN)).then(-1.0).otherwise("volume").alias("volume"),
    )
    record_raw_bars(opened, raw, sessions=DAYS, now=NOW)
    judge_sessions(opened, DAYS, GateConfig())
    return opened


def decide(verb, lake: Lake, first: date, last: date, *, at: timedelta = timedelta(0), audit=lambda *_: None):
    """Decide as an operator."""
    return verb(lake, NAME, first, last, action=ACTION, now=NOW + at, audit=audit)


def held(lake: Lake) -> int:
    """Judge again and return how many bars are in quarantine."""
    return judge_sessions(lake, DAYS, GateConfig()).quarantined.height


def test_the_first_bar_of_a_level_releases_all_after_it_but_the_broken_one(lake: Lake) -> None:
    """Twenty wait, one is accepted, one cannot be."""
    assert len(DAYS) - 40 == held(lake)
    rows = decide(accept_bars, lake, DAY, DAY)
    assert [(DAY, True)] == [(row["session"], row["accepted"]) for row in rows]
    assert 1 == held(lake)


def test_a_range_is_accepted_but_for_what_is_broken_and_that_is_told(lake: Lake) -> None:
    """Nobody can vouch for a negative volume."""
    rows = decide(accept_bars, lake, DAY, DAYS[-1])
    assert {BROKEN} == {row["session"] for row in rows if not row["accepted"]}
    assert len(DAYS) - 41 == read_acceptances(lake).height
    with pytest.raises(OperatorError, match=r"only a restatement .* broken \(negative_volume"):
        decide(accept_bars, lake, BROKEN, BROKEN)


def test_nothing_is_accepted_where_nothing_waits(lake: Lake) -> None:
    """A good bar, and a session that nobody has judged."""
    with pytest.raises(OperatorError, match="none of its bars is in quarantine"):
        decide(accept_bars, lake, DAYS[3], DAYS[4])
    with pytest.raises(OperatorError, match="no session from 2022-01-03 to 2022-01-03 was judged"):
        decide(accept_bars, lake, date(2022, 1, 3), date(2022, 1, 3))


def test_a_decision_without_its_audit_is_not_made(lake: Lake) -> None:
    """The audit row comes first: when it cannot be written, nothing changes; a repeat makes the decision once."""

    def fails(verb: str, detail: dict[str, object]) -> None:
        raise OSError(f"{verb} of {detail['symbol']}: the ledger is away")

    with pytest.raises(OSError, match="accept_bars of S0002"):
        decide(accept_bars, lake, DAY, DAY, audit=fails)
    assert 0 == read_acceptances(lake).height
    for _ in range(2):
        decide(accept_bars, lake, DAY, DAY)
    assert 1 == lake.read(Dataset.ACCEPTANCES, start=DAY, end=DAY).height


def test_a_revoked_acceptance_is_still_known_for_its_time(lake: Lake) -> None:
    """A run with the knowledge of before sees it, and may be accepted anew."""
    decide(accept_bars, lake, DAY, DAY)
    decide(revoke_acceptance, lake, DAY, DAY, at=timedelta(hours=2))
    assert len(DAYS) - 40 == held(lake)
    assert 1 == read_acceptances(lake, known_at=NOW + timedelta(hours=1)).height
    with pytest.raises(OperatorError, match="no bar of S0002"):
        decide(revoke_acceptance, lake, DAY, DAY, at=timedelta(hours=3))
    decide(accept_bars, lake, DAY, DAY, at=timedelta(hours=4))
    assert 1 == held(lake)

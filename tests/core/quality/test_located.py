"""What the gate finds in real panels with located defects; skipped where they are not there."""

from datetime import date

import polars as pl
import pytest
from support.located import KEY, in_bar_format
from support.shared_data import shared_panel

from trading_pipeline.core.quality import GateResult, judge_bars

IEX = "sp500_iex_2013_2018"
REAL_JUMPS = {("AMD", date(2016, 4, 22)), ("VRTX", date(2014, 6, 24)), ("VRTX", date(2013, 4, 19))}


def judged(source: str, name: str, first: date, last: date) -> GateResult:
    """Judge some time of a panel."""
    bars = in_bar_format(shared_panel(source, name))
    return judge_bars(bars.filter(pl.col("session").is_between(first, last)), last_good={})


@pytest.mark.parametrize(
    ("first", "last"), [(date(2014, 6, 2), date(2014, 12, 31)), (date(2017, 6, 1), date(2017, 10, 31))]
)
def test_bars_of_a_later_session_are_found(first: date, last: date) -> None:
    """Nearly all of those that another vendor gives away, in each of the two bad times."""
    found = judged(IEX, "daily_panel", first, last).quarantined
    rows = shared_panel(IEX, "misdated_rows").rename({"date": "session"})
    later = rows.filter((pl.col("lag_days") > 0) & pl.col("session").is_between(first, last))

    assert later.height > 100
    assert later.join(found, on=KEY, how="semi").height >= 0.98 * later.height


@pytest.mark.parametrize(("symbol", "session"), sorted(REAL_JUMPS))
def test_a_real_jump_is_kept(symbol: str, session: date) -> None:
    """News of half the price in a day is news."""
    bars = in_bar_format(shared_panel(IEX, "daily_panel")).filter(pl.col("symbol").is_in([symbol, "AAPL", "KO", "XOM"]))
    assert [] == judge_bars(bars, last_good={}).quarantined.filter(symbol=symbol, session=session).rows()


def test_one_series_under_many_symbols_is_no_market_data() -> None:
    """Not one of its bars passes, though each alone is in order."""
    result = judged("sp500_stuck_symbol_2017", "daily_panel", date(2012, 8, 1), date(2017, 8, 31))
    assert 0 == result.bars.height


def test_a_ghost_session_and_an_index_are_named() -> None:
    """A bar of the day after the attacks of 2001, and an index that nobody can buy."""
    ghosts = judged("quandl_wiki_public_domain", "daily_panel_raw_actions", date(2001, 9, 1), date(2001, 9, 30))
    assert ["missing_price;not_a_session"] == ghosts.quarantined["reason"].to_list()
    index = judged("minute_eqker_2019", "daily_panel", date(2018, 1, 2), date(2019, 2, 28))
    assert 0 == index.bars.filter(symbol="VIX").height

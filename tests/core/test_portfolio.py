"""Targets: whole shares, within capital and limits, every symbol accounted for."""

from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.trading import SESSION

from trading_pipeline.core.orders.model import ReferencePrice
from trading_pipeline.core.portfolio import PortfolioConfig, build_target

AT = datetime(2023, 9, 1, 20, tzinfo=UTC)


def _config(**changes: object) -> PortfolioConfig:
    values = {
        "capital": Decimal(100_000),
        "long_count": 2,
        "short_count": 1,
        "max_position_shares": 1_000,
        "max_position_notional": Decimal(60_000),
    }
    return PortfolioConfig(**values | changes)


def _predictions(scores: dict[str, float]) -> pl.DataFrame:
    return pl.DataFrame({"symbol": list(scores), "score": list(scores.values())})


def _quotes(symbols: dict[str, object], price: Decimal = Decimal(100)) -> dict[str, ReferencePrice]:
    return {symbol: ReferencePrice(price=price, source="close:test", as_of=AT) for symbol in symbols}


def test_the_best_are_bought_and_the_worst_sold_short() -> None:
    """Equal parts of the capital; the rest gets a target of zero."""
    scores = {"A": 0.4, "B": 0.3, "C": 0.2, "D": 0.1}
    rows = build_target(_predictions(scores), session=SESSION, quotes=_quotes(scores), config=_config()).rows
    assert {"A": 333, "B": 333, "C": 0, "D": -333} == dict(rows.select("symbol", "target_shares").iter_rows())


def test_a_symbol_without_a_price_is_skipped_and_named() -> None:
    """And the next best takes its place."""
    scores = {"A": 0.4, "B": 0.3, "C": 0.2, "D": 0.1}
    quotes = _quotes(scores)
    del quotes["A"]
    target = build_target(_predictions(scores), session=SESSION, quotes=quotes, config=_config())
    assert ["A"] == [one.symbol for one in target.skipped]
    assert {"B": 333, "C": 333, "D": -333} == dict(target.rows.select("symbol", "target_shares").iter_rows())


def test_position_limits_cap_and_say_so() -> None:
    """By shares and by dollars."""
    scores = {"A": 1.0}
    one = _config(long_count=1, short_count=0)
    dollars = build_target(_predictions(scores), session=SESSION, quotes=_quotes(scores), config=one).rows
    assert (600, "max_position_notional") == dollars.select("target_shares", "capped_by").row(0)
    cheap = _quotes(scores, Decimal("0.5"))
    shares = build_target(_predictions(scores), session=SESSION, quotes=cheap, config=one).rows
    assert (1_000, "max_position_shares") == shares.select("target_shares", "capped_by").row(0)


@given(
    scores=st.dictionaries(st.text("ABCDEFG", min_size=1, max_size=3), st.floats(-1, 1), max_size=12),
    long_count=st.integers(0, 6),
    short_count=st.integers(0, 6),
    price=st.integers(1, 5_000_000).map(lambda ticks: Decimal(ticks) / 10_000),
)
def test_targets_stay_within_capital_and_counts(
    scores: dict[str, float], long_count: int, short_count: int, price: Decimal
) -> None:
    """Never more names or dollars than asked for, never one name on both sides."""
    config = _config(long_count=long_count, short_count=short_count)
    rows = build_target(_predictions(scores), session=SESSION, quotes=_quotes(scores, price), config=config).rows
    held = rows["target_shares"].to_list()
    assert len(scores) == rows.height
    assert sum(shares > 0 for shares in held) <= long_count
    assert sum(shares < 0 for shares in held) <= short_count
    assert sum(abs(shares) * price for shares in held) <= config.capital


def test_ties_are_broken_by_symbol() -> None:
    """The same input gives the same orders on every machine."""
    scores = {"C": 1.0, "B": 1.0, "A": 1.0}
    config = _config(long_count=1, short_count=0)
    rows = build_target(_predictions(scores), session=SESSION, quotes=_quotes(scores), config=config).rows
    assert ["A"] == rows.filter(pl.col("target_shares") > 0)["symbol"].to_list()


def test_an_impossible_configuration_is_refused() -> None:
    """No capital, no portfolio."""
    with pytest.raises(ValueError, match="capital positive"):
        _config(capital=Decimal("NaN"))

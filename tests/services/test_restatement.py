"""What was traded beside what the data of today would have traded."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from tests.bench.panel import market
from trading_pipeline.adapters.store.actions import record_actions
from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.raw_bars import record_raw_bars
from trading_pipeline.core.features import compile_features
from trading_pipeline.core.features.sets import feature_set_of
from trading_pipeline.core.portfolio import PortfolioConfig
from trading_pipeline.core.quality import GateConfig
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import DataQualityError
from trading_pipeline.services.restatement import Strategy, compare_restated
from trading_pipeline.services.traded import TRADED_SCHEMA

SESSIONS = xnys().between(date(2023, 1, 3), date(2023, 6, 30))
DAY = SESSIONS[100]
THEN = datetime(2023, 7, 1, tzinfo=UTC)
SET = feature_set_of("returns", [("RET", "$close/Ref($close,1)-1"), ("MEAN", "Mean($close,5)/$close")])


@pytest.fixture(scope="module")
def model() -> str:
    """A small model that follows the last return."""
    import lightgbm
    import numpy as np

    rng = np.random.default_rng(1)
    values = rng.normal(0, 0.01, (4000, 2))
    data = lightgbm.Dataset(values, values[:, 0], feature_name=["RET", "MEAN"])
    return lightgbm.train({"verbose": -1, "num_leaves": 31, "num_threads": 1, "seed": 1}, data, 60).model_to_string()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Raw bars of eight symbols."""
    made = Lake(tmp_path)
    bars, actions = market(8, SESSIONS)
    record_actions(made, actions)
    record_raw_bars(made, bars, sessions=SESSIONS, now=THEN)
    return made


def strategy(model: str, lake: Lake) -> Strategy:
    """Return a strategy that buys the two best of the day."""
    symbols = sorted(lake.read_session(Dataset.RAW_BARS, DAY)["symbol"].unique())
    return Strategy(
        compiled=compile_features(SET),
        model=lambda name, version: {("m", "3"): model}[name, version],
        gate=GateConfig(),
        second_vendor="",
        members={DAY: symbols},
        max_age_minutes=30,
        min_fresh_pct=50,
        portfolio=PortfolioConfig(
            capital=Decimal(100_000),
            long_count=2,
            short_count=1,
            max_position_shares=100_000,
            max_position_notional=Decimal(1_000_000),
        ),
    )


def orders(*rows: tuple[str, int, int], price: int = 100) -> Callable[[date], pl.DataFrame]:
    """Return what was held and ordered, by symbol, every order filled at its price; without rows nothing was."""
    columns = ("symbol", "held", "order_shares", "order_notional", "filled_shares", "filled_notional")
    values = [(symbol, held, shares, shares * price, shares, shares * price) for symbol, held, shares in rows]
    frame = pl.DataFrame([dict(zip(columns, row, strict=True)) for row in values], schema=TRADED_SCHEMA)
    return lambda _: frame


def restate(lake: Lake, symbol: str, factor: float) -> None:
    """Deliver another bar of the day."""
    bars = lake.read_session(Dataset.RAW_BARS, DAY).filter(pl.col("symbol") == symbol).drop("known_at")
    prices = [(pl.col(name) * factor).round(2) for name in ("open", "high", "low", "close", "vwap")]
    record_raw_bars(lake, bars.with_columns(prices), sessions=[DAY], now=THEN + timedelta(days=1))


def trade(lake: Lake, with_strategy: Strategy) -> pl.DataFrame:
    """Store the targets that the data of the moment make, as the chain does, and return them."""
    empty = {"model_name": "m", "model_version": "3"}
    first = {"session": [DAY], "symbol": ["NONE"], "score": [0.0], "rank": [1], "target_shares": [0]}
    placeholder = pl.DataFrame(first).with_columns(
        pl.lit(Decimal(1)).alias("price"), *(pl.lit(value).alias(name) for name, value in empty.items())
    )
    lake.write(Dataset.TARGET_PORTFOLIO, placeholder, sessions=[DAY])
    made = compare_restated(lake, [DAY], with_strategy, traded=orders()).filter(pl.col("why") == "new")
    target = made.select(
        "session",
        "symbol",
        pl.col("score_now").alias("score"),
        pl.col("rank_now").alias("rank"),
        pl.col("shares_now").alias("target_shares"),
        pl.col("close_now").alias("price"),
        *(pl.lit(value).alias(name) for name, value in empty.items()),
    )
    lake.write(Dataset.TARGET_PORTFOLIO, target, sessions=[DAY])
    return target


def test_nothing_restated_is_nothing_different(model: str, lake: Lake):
    """The same data make the same targets, symbol by symbol."""
    ours = strategy(model, lake)
    assert 8 == trade(lake, ours).height
    report = compare_restated(lake, [DAY], ours, traded=orders())

    assert ["same"] * 8 == report["why"].to_list()
    assert 0 == report["shares_difference"].abs().sum()


def test_a_restated_close_names_its_symbol_and_what_would_have_been_traded(model: str, lake: Lake):
    """The worst of the day was the best after its close was corrected; what was traded stays what it was."""
    ours = strategy(model, lake)
    target = trade(lake, ours)
    worst = target.sort("rank")["symbol"][-1]
    restate(lake, worst, 1.06)
    report = compare_restated(lake, [DAY], ours, traded=orders())

    row = report.row(by_predicate=pl.col("symbol") == worst, named=True)
    assert ("data", 1) == (row["why"], row["rank_now"])
    assert row["shares"] < 0 < row["shares_now"]
    assert row["shares_difference"] == row["shares_now"] - row["shares"]
    assert {"same", "scores", "data"} >= set(report["why"])
    assert target.equals(lake.read_session(Dataset.TARGET_PORTFOLIO, DAY))
    assert not lake.sessions(Dataset.BARS)


def test_a_bar_that_turned_out_defective_is_gone(model: str, lake: Lake):
    """The gate of today would not have let it through."""
    ours = strategy(model, lake)
    best = trade(lake, ours).sort("rank")["symbol"][0]
    bars = lake.read_session(Dataset.RAW_BARS, DAY).filter(pl.col("symbol") == best).drop("known_at")
    record_raw_bars(lake, bars.with_columns(close=pl.lit(-1.0)), sessions=[DAY], now=THEN + timedelta(days=1))
    row = compare_restated(lake, [DAY], ours, traded=orders()).row(by_predicate=pl.col("symbol") == best, named=True)

    assert ("gone", None) == (row["why"], row["shares_now"])
    assert -row["shares"] == row["shares_difference"]


def test_orders_are_set_beside_those_that_restated_data_would_have_made(model: str, lake: Lake):
    """From what was held: a short would have been turned into a purchase, in shares and dollars; the rest as it was."""
    ours = strategy(model, lake)
    target = trade(lake, ours).sort("rank")
    wanted = dict(target.select("symbol", "target_shares").iter_rows())
    best, second, worst = (target["symbol"][at] for at in (0, 1, -1))
    placed = orders((best, 100, wanted[best] - 100), (second, 0, wanted[second]), (worst, -7, wanted[worst] + 7))
    restate(lake, worst, 1.06)
    report = compare_restated(lake, [DAY], ours, traded=placed)

    rows = {row["symbol"]: row for row in report.iter_rows(named=True)}
    assert [wanted[worst] + 7, (wanted[worst] + 7) * 100] == [
        rows[worst][name] for name in ("order_shares", "order_notional")
    ]
    assert rows[worst]["shares_now"] + 7 == rows[worst]["order_shares_now"]
    assert rows[worst]["order_shares_now"] * rows[worst]["close_now"] == rows[worst]["order_notional_now"]
    for symbol in (best, second):
        now = rows[symbol]["shares_now"] - {best: 100, second: 0}[symbol]
        assert [wanted[symbol] - {best: 100, second: 0}[symbol], now] == [
            rows[symbol][name] for name in ("order_shares", "order_shares_now")
        ]
    assert Decimal(wanted[second]) == rows[second]["filled_shares"]
    idle = set(rows) - {best, second, worst}
    assert {(0, rows[symbol]["shares_now"]) for symbol in idle} == {
        (rows[symbol]["order_shares"], rows[symbol]["order_shares_now"]) for symbol in idle
    }


def test_nobody_would_have_ordered_what_has_no_target_now(model: str, lake: Lake):
    """A defective bar: its order was one too many. A holding that nobody targeted is no difference."""
    ours = strategy(model, lake)
    target = trade(lake, ours).sort("rank")
    best, shares = target["symbol"][0], target["target_shares"][0]
    restate(lake, best, -1.0)
    report = compare_restated(lake, [DAY], ours, traded=orders((best, 0, shares), ("HELD", 5, 0), ("LEFT", 5, -5)))

    rows = {row["symbol"]: row for row in report.iter_rows(named=True)}
    assert ("gone", shares, 0, 0) == tuple(
        rows[best][name] for name in ("why", "order_shares", "order_shares_now", "order_notional_now")
    )
    assert ("gone", -5, 0) == tuple(rows["LEFT"][name] for name in ("why", "order_shares", "order_shares_now"))
    assert "HELD" not in rows


def test_a_session_whose_orders_were_never_made_has_none_to_compare(model: str, lake: Lake):
    """Unless the targets were held already: then none is what was ordered."""
    ours = strategy(model, lake)
    target = trade(lake, ours)
    names = ["order_shares", "order_shares_now", "order_notional", "filled_shares"]
    never = compare_restated(lake, [DAY], ours, traded=orders())
    assert {(None,) * 4} == set(never.select(names).rows())

    held = [(symbol, shares, 0) for symbol, shares in target.select("symbol", "target_shares").iter_rows() if shares]
    report = compare_restated(lake, [DAY], ours, traded=orders(*held))
    assert {(0, 0, 0, 0)} == set(report.select(names).rows())


def test_a_session_that_was_never_traded_is_an_error(model: str, lake: Lake):
    """There is nothing to compare with."""
    with pytest.raises(DataQualityError, match="no target_portfolio"):
        compare_restated(lake, [DAY], strategy(model, lake), traded=orders())

"""Jumps of the price level: what explains one, what does not, and how long it waits."""

from datetime import date

import polars as pl
from support.panels import seeded_panel

from trading_pipeline.core.bars import PRICE_COLUMNS
from trading_pipeline.core.corporate_actions import ACTION_SCHEMA
from trading_pipeline.core.quality import GateConfig, GateResult, judge_bars
from trading_pipeline.core.sessions import xnys

DAYS = xnys().between(date(2021, 1, 4), date(2021, 12, 31))
DAY, AT = DAYS[120], 120
NAME = "S0004"
CLEAN = seeded_panel(12, sessions=DAYS, seed=4)


def jumped(factor: float, *, volume: float = 1.0, until: date = DAYS[-1], columns: tuple[str, ...] = PRICE_COLUMNS):
    """Return the market with one symbol's prices at another level from DAY on, and that day's volume raised."""
    inside = (pl.col("symbol") == NAME) & pl.col("session").is_between(DAY, until)
    first = (pl.col("symbol") == NAME) & (pl.col("session") == DAY)
    usual = CLEAN.filter((pl.col("symbol") == NAME) & (pl.col("session") < DAY))["volume"].tail(20).median()
    return CLEAN.with_columns(
        *(pl.when(inside).then(pl.col(name) * factor).otherwise(name).alias(name) for name in columns),
        pl.when(first).then(volume * usual).otherwise("volume").alias("volume"),
    )


def action(kind: str, ratio: float | None, amount: float | None = None, ex_date: date = DAY) -> pl.DataFrame:
    """Return one corporate action of the symbol."""
    return pl.DataFrame(
        {"symbol": [NAME], "ex_date": [ex_date], "kind": [kind], "ratio": [ratio], "amount": [amount]},
        schema_overrides={"ratio": pl.Float64, "amount": pl.Float64},
    )


def judged(raw: pl.DataFrame, **known: object) -> GateResult:
    """Judge."""
    return judge_bars(raw, last_good={}, **known)


def test_a_jump_with_the_volume_of_news_is_real() -> None:
    """Half as much again overnight at nine times the volume: kept, and all after it."""
    assert {} == judged(jumped(1.55, volume=9.0)).reasons()


def test_a_level_nothing_explains_waits_as_long_as_features_look_back() -> None:
    """The first bar has the reason, the others wait for it; then the level is taken as it is."""
    result = judged(jumped(0.5, volume=1.0))
    assert {"unadjusted_split": 1, "awaiting_explanation": GateConfig().patience - 1} == result.reasons()
    assert DAY == result.quarantined["session"].min()
    assert DAYS[AT + 59] == result.quarantined["session"].max()


def test_a_split_that_is_known_explains_its_jump() -> None:
    """Also when the action arrives late: the rows are released when they are judged again."""
    raw = jumped(0.5)
    assert {} == judged(raw, actions=action("split", 2.0)).reasons()


def test_a_split_of_another_size_explains_nothing() -> None:
    """Five for one is not two for one."""
    reasons = judged(jumped(0.2), actions=action("split", 2.0)).reasons()
    assert 60 == sum(reasons.values())


def test_a_split_that_is_not_in_the_prices_is_a_mixed_basis() -> None:
    """The feed went on at the old level."""
    reasons = judged(CLEAN, actions=action("split", 3.0)).reasons()
    assert 1 == reasons["mixed_basis"]


def test_a_spin_off_without_a_value_explains_any_drop() -> None:
    """Nobody publishes what it was worth."""
    assert {} == judged(jumped(0.63), actions=action("spin_off", None)).reasons()


def handed_over() -> pl.DataFrame:
    """Return the market whose NAME is another company's from DAY on, cheaper; the old one goes on as OLD."""
    other = CLEAN.filter((pl.col("symbol") == NAME) & (pl.col("session") >= DAY)).with_columns(symbol=pl.lit("OLD"))
    return pl.concat([jumped(0.3), other]).sort("session", "symbol")


def change(old: str, new: str) -> pl.DataFrame:
    """Return a change of symbol on DAY."""
    row = dict.fromkeys(ACTION_SCHEMA) | {"symbol": old, "ex_date": DAY, "kind": "symbol_change", "other_symbol": new}
    return pl.DataFrame([row], schema=ACTION_SCHEMA)


def test_another_company_under_the_same_symbol_is_no_jump() -> None:
    """On the very next session; without word of it, its price would wait for an explanation."""
    assert NAME in set(judged(handed_over()).quarantined["symbol"])
    assert {} == judged(handed_over(), actions=change(NAME, "OLD")).reasons()


def test_a_new_holder_is_judged_by_its_own_history() -> None:
    """A jump of its own is found, and measured against its own close."""
    later = DAYS[AT + 40]
    raw = handed_over().with_columns(
        pl.when((pl.col("symbol") == NAME) & (pl.col("session") >= later))
        .then(pl.col(name) / 4)
        .otherwise(name)
        .alias(name)
        for name in PRICE_COLUMNS
    )
    found = judged(raw, actions=change(NAME, "OLD")).quarantined
    assert [(later, NAME)] == found.filter(reason="unadjusted_split").select("session", "symbol").rows()
    assert later == found["session"].min()


def test_a_change_of_symbol_alone_starts_nothing_anew_elsewhere() -> None:
    """Companies that change no symbol are judged as before, and so is a change to a symbol nobody had."""
    raw = jumped(0.3)
    assert judged(raw).reasons() == judged(raw, actions=change("OTHER", "THING")).reasons()


def test_a_special_dividend_explains_its_drop() -> None:
    """The amount is weighed against the close before."""
    before = CLEAN.filter((pl.col("symbol") == NAME) & (pl.col("session") == DAYS[AT - 1]))["close"][0]
    raw = jumped(0.7)
    assert {} != judged(raw).reasons()
    assert {} == judged(raw, actions=action("cash_dividend", None, 0.3 * before)).reasons()


def test_an_acceptance_releases_the_level_it_accepts() -> None:
    """One bar is accepted and all after it are good."""
    raw = jumped(0.5)
    accepted = raw.filter((pl.col("symbol") == NAME) & (pl.col("session") == DAY))
    assert {} == judged(raw, accepted=accepted).reasons()


def test_a_scale_error_waits_for_ever() -> None:
    """No patience makes cents into dollars."""
    reasons = judged(jumped(100.0)).reasons()
    assert len(DAYS) - AT == sum(reasons.values())
    assert 1 == reasons["scale_error"]


def test_no_volume_makes_cents_of_dollars() -> None:
    """A bar in cents on the day of news is a scale error all the same."""
    result = judged(jumped(100.0, volume=9.0, until=DAY))
    assert [(DAY, NAME, "scale_error")] == result.quarantined.select("session", "symbol", "reason").rows()


def test_news_on_the_day_after_a_wrong_bar_is_measured_from_where_the_price_was() -> None:
    """The wrong bar is alone at its level, and the drop that follows it was traded."""
    after = (pl.col("symbol") == NAME) & (pl.col("session") >= DAYS[AT + 1])
    first = (pl.col("symbol") == NAME) & (pl.col("session") == DAYS[AT + 1])
    raw = jumped(0.01, until=DAY).with_columns(
        *(pl.when(after).then(pl.col(name) * 0.78).otherwise(name).alias(name) for name in PRICE_COLUMNS),
        pl.when(first).then(pl.col("volume") * 9).otherwise("volume").alias("volume"),
    )
    assert [(DAY, NAME)] == judged(raw).quarantined.select("session", "symbol").rows()


def test_one_wrong_bar_is_quarantined_alone() -> None:
    """The bars before and after it are good."""
    result = judged(jumped(1.6, until=DAY))
    assert [(DAY, NAME)] == result.quarantined.select("session", "symbol").rows()


def test_a_wrong_bar_with_the_volume_of_news_is_found_when_the_next_one_is_back() -> None:
    """And the bars after it do not wait for an explanation of its return."""
    mine = CLEAN.filter(pl.col("symbol") == NAME)
    before = mine.filter(pl.col("session") == DAYS[AT - 1])["close"][0]
    usual = mine.filter(pl.col("session") < DAY)["volume"].tail(20).median()
    raw = CLEAN
    for day, level, volume in ((DAY, 0.73, 9 * usual), (DAYS[AT + 1], 1.165, usual)):
        here = (pl.col("symbol") == NAME) & (pl.col("session") == day)
        raw = raw.with_columns(
            *(pl.when(here).then(before * level).otherwise(name).alias(name) for name in PRICE_COLUMNS),
            pl.when(here).then(volume).otherwise("volume").alias("volume"),
        )
    result = judged(raw.filter(pl.col("session") <= DAYS[AT + 1]))
    assert [(DAY, NAME, "outlier")] == result.quarantined.select("session", "symbol", "reason").rows()


def test_in_a_turmoil_large_moves_are_real_while_shares_change_hands() -> None:
    """A bank that loses nine tenths in a week and bounces by half: every bar was traded."""
    path = [1.0, 0.7, 0.3, 0.25, 0.13, 0.14, 0.24, 0.26]
    raw = CLEAN
    for offset, level in enumerate(path):
        here = (pl.col("symbol") == NAME) & (pl.col("session") == DAYS[AT + offset])
        raw = raw.with_columns(
            *(pl.when(here).then(pl.col(name) * level).otherwise(name).alias(name) for name in PRICE_COLUMNS),
            pl.when(here).then(pl.col("volume") * 12).otherwise("volume").alias("volume"),
        )
    until = raw.filter(pl.col("session") <= DAYS[AT + len(path) - 1])
    assert {} == judged(until).reasons()


def test_a_symbol_that_comes_back_after_longer_than_any_rule_looks_begins_anew() -> None:
    """Its name may be another company's by now; while features can still reach back the old close counts."""
    for missing, held in ((71, 0), (69, 1)):
        after = DAYS[AT + missing]
        gone = (pl.col("symbol") == NAME) & (pl.col("session") >= DAY) & (pl.col("session") < after)
        there = (pl.col("symbol") == NAME) & (pl.col("session") >= after)
        raw = CLEAN.filter(~gone).with_columns(
            pl.when(there).then(pl.col(name) * 3.45).otherwise(name).alias(name) for name in PRICE_COLUMNS
        )
        assert held == judged(raw.filter(pl.col("session") <= after)).quarantined.height


def test_a_first_bar_that_all_later_ones_leave_behind_is_the_wrong_one() -> None:
    """Three bars agree against one."""
    wrong = (pl.col("symbol") == NAME) & (pl.col("session") == DAYS[0])
    raw = CLEAN.with_columns(
        pl.when(wrong).then(pl.col(name) * 3).otherwise(name).alias(name) for name in PRICE_COLUMNS
    )
    result = judged(raw)
    assert [(DAYS[0], NAME)] == result.quarantined.select("session", "symbol").rows()
    released = result.findings.filter(pl.col("released_at").is_not_null())
    assert [DAYS[1], DAYS[2], DAYS[3]] == released["session"].unique().sort().to_list()

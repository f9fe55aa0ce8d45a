"""The picture of a symbol's prices, read back from its SVG."""

import re
from datetime import UTC, date, datetime

import polars as pl
import pytest

from trading_pipeline.adapters.price_plot import PriceHistory, price_plot
from trading_pipeline.core.corporate_actions import ACTION_SCHEMA
from trading_pipeline.core.sessions import xnys

DAYS = xnys().between(date(2023, 9, 5), date(2023, 9, 29))
CLOSES = pl.Schema({"session": pl.Date(), "close": pl.Float64()})


def closes(days: list[date], values: list[float | None]) -> pl.DataFrame:
    """Return rows of a symbol."""
    return pl.DataFrame({"session": days, "close": values}, schema=CLOSES)


def actions(*rows: dict[str, object]) -> pl.DataFrame:
    """Return actions of A."""
    common = dict.fromkeys(ACTION_SCHEMA) | {"symbol": "A", "known_at": datetime(2023, 9, 1, tzinfo=UTC)}
    return pl.DataFrame([common | row for row in rows], schema=ACTION_SCHEMA)


def texts(svg: bytes) -> set[str]:
    """Return what is written in a picture: matplotlib draws letters as shapes and keeps the words as comments."""
    assert svg.rstrip().endswith(b"</svg>")
    return {one.strip() for one in re.findall(r"<!--(.*?)-->", svg.decode())}


def history(symbol: str = "A", **parts: pl.DataFrame) -> PriceHistory:
    """Return a history of good closes around 100 dollars."""
    whole = {"bars": closes(DAYS, [100.0 + at for at in range(len(DAYS))]), "actions": actions()}
    return PriceHistory(symbol=symbol, **({"quarantined": closes([], [])} | whole | parts))


def markers(svg: bytes, color: str) -> int:
    """Return how many markers of a colour there are."""
    return len(re.findall(rf"<use [^>]*fill: {color}|<use [^>]*stroke: {color}", svg.decode()))


def test_actions_are_named_and_quarantined_bars_marked():
    """One row a symbol, with a legend of what is there."""
    split = {"ex_date": DAYS[5], "kind": "split", "ratio": 4.0}
    paid = {"ex_date": DAYS[8], "kind": "cash_dividend", "amount": 0.24}
    bad = closes(DAYS[3:5], [1_000.0, None])
    svg = price_plot([history(actions=actions(split, paid), quarantined=bad), history("B")])

    assert {"A, dollars", "B, dollars", "split 4:1", "quarantined", "cash dividend", "close"} <= texts(svg)
    plain = price_plot([history("B")])
    assert not {"quarantined", "cash dividend", "split 4:1"} & texts(plain)
    # two crosses and one of the legend
    assert (3, 0) == (markers(svg, "#c0392b"), markers(plain, "#c0392b"))


def test_a_wild_close_leaves_the_scale_to_the_good_ones():
    """A bar in cents, or one that is no number, is drawn at the edge."""
    wild = closes(DAYS[:3], [10_000.0, float("nan"), float("inf")])
    scales = [
        {text for text in texts(price_plot([one])) if re.fullmatch(r"\d+", text)}
        for one in (history(), history(quarantined=wild))
    ]
    assert scales[0] == scales[1]


@pytest.mark.parametrize(
    "parts",
    [
        {"bars": closes([], []), "quarantined": closes(DAYS[:2], [5.0, float("nan")])},
        {"bars": closes([], [])},
        {"bars": closes(DAYS[:1], [7.0])},
    ],
    ids=["only quarantined", "nothing", "one bar"],
)
def test_little_is_drawn_all_the_same(parts: dict[str, pl.DataFrame]):
    """No bars, no numbers, no span."""
    assert "A, dollars" in texts(price_plot([history(**parts)]))


def test_a_png_is_made_where_one_is_asked_for():
    """By its signature; no symbols at all is an empty picture."""
    assert price_plot([history()], image="png").startswith(b"\x89PNG")
    assert price_plot([]).startswith(b"<?xml")

"""The picture of a symbol's prices, read back from its SVG."""

import re
from datetime import UTC, date, datetime
from xml.etree import ElementTree as ET

import polars as pl
import pytest

from trading_pipeline.adapters.price_plot import PriceHistory, price_plot
from trading_pipeline.core.corporate_actions import ACTION_SCHEMA
from trading_pipeline.core.sessions import xnys

SVG = "{http://www.w3.org/2000/svg}"
DAYS = xnys().between(date(2023, 9, 5), date(2023, 9, 29))
CLOSES = pl.Schema({"session": pl.Date(), "close": pl.Float64()})


def closes(days: list[date], values: list[float | None]) -> pl.DataFrame:
    """Return rows of a symbol."""
    return pl.DataFrame({"session": days, "close": values}, schema=CLOSES)


def actions(*rows: dict[str, object]) -> pl.DataFrame:
    """Return actions of A."""
    common = dict.fromkeys(ACTION_SCHEMA) | {"symbol": "A", "known_at": datetime(2023, 9, 1, tzinfo=UTC)}
    return pl.DataFrame([common | row for row in rows], schema=ACTION_SCHEMA)


def parsed(svg: bytes) -> ET.Element:
    """Return a picture as its elements."""
    return ET.fromstring(svg)  # noqa: S314 - our own


def texts(svg: bytes) -> set[str]:
    """Return what is written in a picture."""
    return {one.text or "" for one in parsed(svg).iter(f"{SVG}text")}


def history(symbol: str = "A", **parts: pl.DataFrame) -> PriceHistory:
    """Return a history of good closes around 100 dollars."""
    whole = {"bars": closes(DAYS, [100.0 + at for at in range(len(DAYS))]), "actions": actions()}
    return PriceHistory(symbol=symbol, **({"quarantined": closes([], [])} | whole | parts))


def markers(svg: bytes, shape: str) -> int:
    """Return how many markers of a shape there are."""
    return sum(one.get("class") == shape for one in parsed(svg).iter(f"{SVG}path"))


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
    assert (3, 0) == (markers(svg, "cross"), markers(plain, "cross"))
    assert (2, 0) == (markers(svg, "triangle"), markers(plain, "triangle"))


def test_points_stand_where_their_numbers_are():
    """Left to right over the days, the lowest good close below the highest, all within the frame."""
    root = parsed(price_plot([history()]))
    (line,) = root.iter(f"{SVG}polyline")
    points = [tuple(map(float, point.split(","))) for point in (line.get("points") or "").split()]
    frame = list(root.iter(f"{SVG}rect"))[-1]
    left, top, width, height = (float(frame.get(name) or "") for name in ("x", "y", "width", "height"))
    assert (left, left + width) == (points[0][0], points[-1][0])
    assert points == sorted(points, key=lambda point: (point[0], -point[1]))
    assert all(top < y < top + height for _, y in points)


@pytest.mark.parametrize(
    ("first", "last", "shown"),
    [
        (date(2023, 9, 5), date(2023, 9, 8), {"2023-09-05", "2023-09-06", "2023-09-07", "2023-09-08"}),
        (date(2023, 9, 5), date(2023, 9, 29), {"2023-09-05", "2023-09-12", "2023-09-19", "2023-09-26"}),
        (date(2023, 1, 5), date(2023, 9, 29), {"2023-03", "2023-05", "2023-07", "2023-09"}),
        (date(2013, 1, 3), date(2023, 9, 29), {"2014-01", "2016-01", "2018-01", "2020-01", "2022-01"}),
    ],
    ids=["days", "weeks", "months", "years"],
)
def test_few_days_are_named_whatever_the_span(first: date, last: date, shown: set[str]):
    """Round ones, none outside."""
    drawn = texts(price_plot([history(bars=closes([first, last], [1.0, 2.0]))]))
    assert shown == {text for text in drawn if re.match(r"\d{4}-", text)}


def test_words_of_a_picture_are_no_markup():
    """A symbol with a sign that XML keeps for itself."""
    assert "A<&B, dollars" in texts(price_plot([history("A<&B")]))


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


def test_no_symbols_are_an_empty_picture():
    """With nothing written on it."""
    assert texts(price_plot([])) == set()

"""Prices of symbols over time, with their corporate actions and quarantined bars marked, as a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final
from xml.etree.ElementTree import Element

import polars as pl

from trading_pipeline.adapters.svg import Axes, as_bytes, picture
from trading_pipeline.core.corporate_actions import ActionKind

WIDTH: Final = 720
ROW_HEIGHT: Final = 220
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 8, 24
"""Margins of a row, in pixels."""
HEADROOM: Final = 0.1
"""Of the span of the good closes, above and below; quarantined closes beyond it are drawn at the edge."""
_PRICE, _QUARANTINE, _PAYMENT, _EVENT = "#2f6fab", "#c0392b", "#3c8d40", "#777777"
_NO_DAY: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceHistory:
    """What there is to draw of one symbol.

    Attributes:
        symbol: its name.
        bars: good bars in order, `session` and `close` (dollars as traded).
        actions: corporate actions, `ex_date`, `kind`, `ratio`, `amount`.
        quarantined: rows kept out of the bars, `session` and `close`; a close may be anything or nothing.
    """

    symbol: str
    bars: pl.DataFrame
    actions: pl.DataFrame
    quarantined: pl.DataFrame


def price_plot(histories: Sequence[PriceHistory]) -> bytes:
    """Draw closes as traded, one row a symbol, and return the SVG.

    Quarantined bars are crosses at their close, at the edge where it is far from the good ones or no number at all.
    Cash dividends are triangles at the foot; all other actions are lines with their name.
    """
    svg = picture(WIDTH, ROW_HEIGHT * max(len(histories), 1))
    for row, history in enumerate(histories):
        _draw(svg, ROW_HEIGHT * row + TOP, history)
    return as_bytes(svg)


def _draw(svg: Element, top: float, history: PriceHistory) -> None:
    bars, quarantined, actions = history.bars, history.quarantined, history.actions
    bottom, highest = _limits(bars["close"], quarantined["close"])
    days = pl.concat([bars["session"], quarantined["session"], actions["ex_date"]]).sort().to_list() or [_NO_DAY]
    axes = Axes(
        svg=svg,
        left=LEFT,
        top=top,
        width=WIDTH - LEFT - RIGHT,
        height=ROW_HEIGHT - TOP - BOTTOM,
        days=(days[0], days[-1]),
        values=(bottom, highest),
    )
    axes.grid(f"{history.symbol}, dollars")
    axes.line(bars["session"], bars["close"], _PRICE)
    entries = [("line", _PRICE, "close")]
    if quarantined.height:
        closes = quarantined["close"].fill_nan(None).fill_null(bottom).clip(bottom, highest)
        axes.crosses(quarantined["session"], closes, _QUARANTINE)
        entries.append(("cross", _QUARANTINE, "quarantined"))
    paid = actions.filter(pl.col("kind") == ActionKind.CASH_DIVIDEND.value)
    if paid.height:
        axes.triangles(paid["ex_date"], _PAYMENT)
        entries.append(("triangle", _PAYMENT, "cash dividend"))
    for row in actions.filter(pl.col("kind") != ActionKind.CASH_DIVIDEND.value).iter_rows(named=True):
        axes.event(row["ex_date"], _name(row["kind"], row["ratio"]), _EVENT)
    axes.legend(entries)


def _name(kind: str, ratio: float | None) -> str:
    words = kind.replace("_", " ")
    return words if ratio is None else f"{words} {ratio:g}:1"


def _limits(good: pl.Series, quarantined: pl.Series) -> tuple[float, float]:
    closes = good if len(good) else quarantined.filter(quarantined.is_finite().fill_null(value=False))
    if closes.is_empty():
        return 0.0, 1.0
    values = closes.to_numpy()
    lowest, highest = float(values.min()), float(values.max())
    margin = HEADROOM * (highest - lowest) or 0.01 * abs(highest) or 1.0
    return lowest - margin, highest + margin

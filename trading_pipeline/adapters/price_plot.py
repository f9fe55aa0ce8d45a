"""Prices of symbols over time, with their corporate actions and quarantined bars marked, as a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Final

import polars as pl

from trading_pipeline.core.corporate_actions import ActionKind

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IMAGES: Final = ("svg", "png")
WIDTH: Final = 7.5
ROW_HEIGHT: Final = 2.4
HEADROOM: Final = 0.1
"""Of the span of the good closes, above and below; quarantined closes beyond it are drawn at the edge."""
MARKER: Final = 22
"""Area in square points."""
_PRICE, _QUARANTINE, _PAYMENT, _EVENT = "#2f6fab", "#c0392b", "#3c8d40", "#777777"


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


def price_plot(histories: Sequence[PriceHistory], *, image: str = "svg") -> bytes:
    """Draw closes as traded, one row a symbol, and return an image of one of the formats `IMAGES`.

    Quarantined bars are crosses at their close, at the edge where it is far from the good ones or no number at all.
    Cash dividends are triangles at the foot; all other actions are lines with their name.
    """
    # Importing matplotlib takes over half a second: only what draws pays for it.
    from matplotlib.figure import Figure  # noqa: PLC0415

    count = max(len(histories), 1)
    figure = Figure(figsize=(WIDTH, ROW_HEIGHT * count))
    # Margins in inches: an automatic layout would draw everything twice.
    figure.subplots_adjust(
        left=0.8 / WIDTH, right=1 - 0.45 / WIDTH, bottom=0.3 / ROW_HEIGHT / count, top=1 - 0.1 / ROW_HEIGHT / count
    )
    rows = figure.subplots(count, 1, squeeze=False)[:, 0]
    for axes, history in zip(rows, histories, strict=False):
        _draw(axes, history)
    out = BytesIO()
    figure.savefig(out, format=image)
    return out.getvalue()


def _draw(axes: "Axes", history: PriceHistory) -> None:
    bars, quarantined = history.bars, history.quarantined
    bottom, top = _limits(bars["close"], quarantined["close"])
    axes.plot(bars["session"].to_list(), bars["close"].to_numpy(), color=_PRICE, linewidth=1.2, label="close")
    if quarantined.height:
        closes = quarantined["close"].fill_nan(None).fill_null(bottom).clip(bottom, top)
        where = quarantined["session"].to_list()
        axes.scatter(
            where,
            closes.to_numpy(),
            marker="x",
            s=MARKER,
            color=_QUARANTINE,
            zorder=3,
            clip_on=False,
            label="quarantined",
        )
    _mark_actions(axes, history.actions, bottom)
    axes.set_ylim(bottom, top)
    axes.set_ylabel(f"{history.symbol}, dollars")
    axes.legend(loc="upper left", fontsize="x-small")
    axes.grid(alpha=0.3)


def _mark_actions(axes: "Axes", actions: pl.DataFrame, bottom: float) -> None:
    paid = actions.filter(pl.col("kind") == ActionKind.CASH_DIVIDEND.value)
    if paid.height:
        days = paid["ex_date"].to_list()
        axes.scatter(days, [bottom] * paid.height, marker="^", color=_PAYMENT, label="cash dividend", clip_on=False)
    for row in actions.filter(pl.col("kind") != ActionKind.CASH_DIVIDEND.value).iter_rows(named=True):
        axes.axvline(row["ex_date"], color=_EVENT, linestyle="--", linewidth=0.9)
        axes.annotate(
            _name(row["kind"], row["ratio"]),
            (row["ex_date"], 0.97),
            xycoords=("data", "axes fraction"),
            rotation=90,
            fontsize="x-small",
            horizontalalignment="right",
            verticalalignment="top",
        )


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

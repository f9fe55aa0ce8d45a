"""Pictures for asset pages: SVG made with matplotlib's object interface, without global state."""

import base64
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from io import BytesIO

from trading_pipeline.core.features.drift import MAJOR, MODERATE

WIDTH, HEIGHT = 7.5, 2.8


def as_data_uri(svg: bytes) -> str:
    """Return an SVG as a `data:` URI for markdown."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def equity_plot(sessions: Sequence[date], equity: Sequence[Decimal]) -> str:
    """Draw equity in dollars over sessions and return it as a `data:` URI."""
    # Importing matplotlib takes over a second: only the runs that draw pay for it.
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([str(day) for day in sessions], [float(amount) for amount in equity], marker=".", color="#2f6fab")
    axes.set_ylabel("equity, dollars")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.grid(alpha=0.3)
    out = BytesIO()
    figure.savefig(out, format="svg")
    return as_data_uri(out.getvalue())


def drift_plot(features: Sequence[str], psi: Sequence[float], *, shown: int = 20) -> str:
    """Draw the stability index of the worst features, given in order, and return it as a `data:` URI."""
    # Importing matplotlib takes over a second: only the runs that draw pay for it.
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.add_subplot()
    colours = ["#c0392b" if value > MAJOR else "#e0a030" if value > MODERATE else "#2f6fab" for value in psi[:shown]]
    axes.bar(list(features[:shown]), list(psi[:shown]), color=colours)
    for level in (MODERATE, MAJOR):
        axes.axhline(level, color="#888888", linewidth=0.8, linestyle="--")
    axes.set_ylabel("PSI")
    axes.tick_params(axis="x", rotation=75)
    axes.grid(axis="y", alpha=0.3)
    out = BytesIO()
    figure.savefig(out, format="svg")
    return as_data_uri(out.getvalue())

"""Pictures for asset pages: SVG made with matplotlib's object interface, without global state."""

import base64
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from io import BytesIO

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

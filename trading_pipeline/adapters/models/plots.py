"""Pictures of how a model did, as SVG bytes for the registry and the UI; no window and no global drawing state."""

from io import BytesIO

import polars as pl

SMOOTHING = 20
"""Sessions in the moving average."""


def ic_plot(ic: pl.DataFrame) -> bytes:
    """Draw the rank IC of each validation session with its moving average, and the sums of IC and rank IC over time.

    Args:
        ic: `session`, `ic`, `rank_ic`, sorted by session, null where undefined.

    Returns:
        An SVG image.
    """
    # Importing matplotlib takes over a second: only the runs that draw pay for it.
    from matplotlib.figure import Figure  # noqa: PLC0415

    sessions = ic["session"].to_list()
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    daily, summed = figure.subplots(2, 1, sharex=True)
    daily.vlines(sessions, 0, ic["rank_ic"].to_numpy(), color="#9bbcdf", linewidth=1)
    daily.plot(sessions, ic["rank_ic"].rolling_mean(SMOOTHING, min_samples=1), color="#2f6fab")
    daily.set_ylabel(f"rank IC, mean of {SMOOTHING}")
    for name, label, color in (("ic", "IC", "#c0793a"), ("rank_ic", "rank IC", "#2f6fab")):
        summed.plot(sessions, ic[name].fill_null(0.0).cum_sum(), color=color, label=label)
    summed.set_ylabel("sum over sessions")
    summed.legend(loc="upper left", fontsize="small")
    for axes in (daily, summed):
        axes.axhline(0, color="black", linewidth=0.5)
        axes.grid(alpha=0.3)
    image = BytesIO()
    figure.savefig(image, format="svg")
    return image.getvalue()

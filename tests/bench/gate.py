"""The quality gate over ten years of bars, and one evening of 3,000 symbols, beside plain pandas gates.

    python tests/bench/gate.py [SYMBOLS ...]

Two references run in the same process on the same bars. The first does what a gate of rows and steps does: OHLC order,
nulls, duplicates, and jumps against the row before; it finds no defect that takes other rows to see. The second
only computes, the plain way, what such rules need: usual gap, move and volume of each symbol, and the median of each
session. Seconds are of the process's CPU, as other work may share the machine.
"""

import json
import resource
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from time import process_time

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.panels import seeded_panel

from trading_pipeline.core.quality import GateConfig, judge_bars
from trading_pipeline.core.sessions import xnys

SIZES = (125, 250, 500)
EVENING_SYMBOLS = 3_000
PRICES = ["open", "high", "low", "close"]


def rows_and_steps(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that a plain gate keeps out."""
    prices = frame[PRICES]
    broken = prices.isna().any(axis=1) | (prices <= 0).any(axis=1) | (frame["volume"] < 0)
    shape = (frame["high"] < prices.max(axis=1)) | (frame["low"] > prices.min(axis=1))
    twice = frame.duplicated(["session", "symbol"], keep=False)
    jump = frame.sort_values(["symbol", "session"]).groupby("symbol")["close"].pct_change().abs() > 0.5
    return frame[broken | shape | twice | jump.reindex(frame.index)]


def usual_values(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what rules that look at other rows need."""
    ordered = frame.sort_values(["symbol", "session"])
    by_symbol = ordered.groupby("symbol", sort=False)
    before = by_symbol["close"].shift()
    values = pd.DataFrame(
        {
            "symbol": ordered["symbol"],
            "session": ordered["session"],
            "gap": np.log(ordered["open"] / before),
            "move": np.log(ordered["close"] / before),
            "volume": np.log(ordered["volume"]),
        }
    )
    for name, window in (("gap", 60), ("move", 60), ("volume", 20)):
        own = values[name] - values.groupby("session")[name].transform("median")
        sizes = own.abs() if name != "volume" else values[name]
        values[f"usual_{name}"] = (
            sizes.groupby(values["symbol"], sort=False)
            .rolling(window, min_periods=3)
            .mean()
            .reset_index(level=0, drop=True)
        )
    return values


def seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds that some work took."""
    started = process_time()
    work()
    return process_time() - started


def whole_history(symbols: int) -> dict[str, float]:
    """Judge ten years of bars in one pass."""
    panel = seeded_panel(symbols)
    ours = seconds(lambda: judge_bars(panel, last_good={}))
    frame = panel.to_pandas()
    plain, usual = seconds(lambda: rows_and_steps(frame)), seconds(lambda: usual_values(frame))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{symbols:>6} symbols {panel.height:>9,} rows: gate {ours:6.2f} s, {1e6 * ours / panel.height:5.2f} us a row; "
        f"pandas rows and steps {plain:5.2f} s, usual values {usual:5.2f} s; peak {peak:.2f} GB",
        flush=True,
    )
    return {
        f"gate_{symbols}_seconds": round(ours, 2),
        f"gate_{symbols}_us_a_row": round(1e6 * ours / panel.height, 2),
        f"gate_over_plain_pandas_{symbols}": round(ours / plain, 2),
        f"gate_over_usual_values_in_pandas_{symbols}": round(ours / usual, 2),
        f"peak_gb_{symbols}": round(peak, 2),
    }


def evening() -> dict[str, float]:
    """Judge the newest session of many symbols, with the sessions before it that the rules look at."""
    calendar = xnys()
    last = date(2023, 12, 29)
    days = calendar.between(calendar.shift(last, -2 * GateConfig().reach), last)
    panel = seeded_panel(EVENING_SYMBOLS, sessions=days)
    ours = seconds(lambda: judge_bars(panel, last_good={}))
    print(f"one evening of {EVENING_SYMBOLS:,} symbols, {panel.height:,} rows with those before: {ours:.2f} s")
    return {f"evening_{EVENING_SYMBOLS}_seconds": round(ours, 2)}


def main() -> None:
    """Measure and print."""
    judge_bars(seeded_panel(20), last_good={})
    figures: dict[str, float] = {}
    for size in [int(text) for text in sys.argv[1:]] or SIZES:
        figures |= whole_history(size)
    figures |= evening()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

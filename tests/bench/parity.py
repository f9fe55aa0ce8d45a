"""The parity table: every feature of Alpha158 and Alpha360 and every operator, against pyqlib itself."""

import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from core.features.awkward import make_awkward_bars, make_calendar
from core.features.expressions import OPERATORS
from core.features.oracle import numbers, open_oracle, ours
from panel import FIELDS, calendar, synthetic_bars

from trading_pipeline.core.features import alpha158, alpha360

TARGET = Path(__file__).parents[2] / "docs" / "features-parity.md"
SMALL = 1e-6
"""Values below this share of a column's largest are compared with that share instead of themselves."""
INTRODUCTION = f"""# Parity with pyqlib

Written by `python tests/bench/features.py --parity`. Each line compares our answers with those of pyqlib itself, over
two panels: an awkward one (suspensions, a late listing, a symbol with one row, no volume, constant prices) and forty
synthetic symbols over 600 sessions.

- *missing* counts values that are missing, or infinite, on one side only;
- the other columns are the worst relative differences, where values below {SMALL:g} of their column's largest count as
  that large. *float32 steps* is the default: it rounds where pyqlib does. *float64* is `float32_steps=False`: what it
  adds is pyqlib's rounding.

WVMA leaves out windows without any volume, where pyqlib divides rounding noise by 1e-12.
"""


def parity() -> dict[str, object]:
    """Print and write the table; return the worst of it."""
    sets = {name: {feature.name: feature.expression for feature in made().features} for name, made in _SETS.items()}
    sets["operators"] = {text: text for text in OPERATORS}
    everything = {f"{kind}:{name}": text for kind, items in sets.items() for name, text in items.items()}
    days, more_days = make_calendar(), calendar(600)
    synthetic = synthetic_bars(40, len(more_days))
    panels = {
        "awkward": (make_awkward_bars(days).select("session", "symbol", *FIELDS), days, everything),
        "synthetic": (synthetic, more_days, {name: text for name, text in everything.items() if "'" not in text}),
    }
    found = {name: [0, 0.0, 0.0] for name in everything}
    with tempfile.TemporaryDirectory() as folder, open_oracle(Path(folder)) as oracle:
        for panel, (bars, sessions, expressions) in panels.items():
            theirs = oracle.ask(panel, bars, sessions, expressions)
            for column, steps in ((1, False), (2, True)):
                mine = ours(bars, sessions, expressions, float32_steps=steps)
                for name in expressions:
                    missing, worst = _compare(name, theirs[name], mine[name], bars)
                    found[name][0] += missing * (column == 1)
                    found[name][column] = max(found[name][column], worst)
    lines = [INTRODUCTION]
    answer: dict[str, object] = {}
    for kind in sets:
        rows = {name.split(":", 1)[1]: row for name, row in found.items() if name.startswith(f"{kind}:")}
        lines += [
            f"\n## {kind} ({len(rows)})\n",
            "| expression | missing | float32 steps | float64 |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| `{name.replace('|', chr(92) + '|')}` | {missing} | {narrow:.1e} | {wide:.1e} |"
            for name, (missing, wide, narrow) in rows.items()
        ]
        for place, label in ((0, "missing"), (1, "float64"), (2, "float32_steps")):
            worst = max(rows, key=lambda name: rows[name][place])
            answer[f"{kind}_{label}"] = rows[worst][place]
            answer[f"{kind}_{label}_at"] = worst
        for label, place in (("float64", 1), ("float32_steps", 2)):
            answer[f"{kind}_{label}_within_1e-5"] = sum(row[place] <= 1e-5 for row in rows.values())
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    return answer


_SETS = {"alpha158": alpha158, "alpha360": alpha360}


def _compare(name: str, theirs: pl.Series, mine: pl.Series, bars: pl.DataFrame) -> tuple[int, float]:
    kept = np.ones(len(theirs), dtype=np.bool_)
    if ":WVMA" in name:
        window = int(name.split("WVMA")[1])
        idle = pl.col("volume").rolling_max(window).over("symbol", order_by="session") == 0
        kept = ~bars.sort("symbol", "session").select(idle.fill_null(value=False)).to_series().to_numpy()
    left, right = numbers(theirs)[kept], numbers(mine)[kept]
    missing = int((np.isnan(left) != np.isnan(right)).sum())
    both = np.isfinite(left) & np.isfinite(right)
    infinite = int((left[~both & ~np.isnan(left)] != right[~both & ~np.isnan(left)]).sum())
    left, right = left[both], right[both]
    floor = SMALL * np.max(np.abs(left), initial=0.0)
    apart = np.abs(left - right)
    worst = np.max(apart[apart > 0] / np.maximum(np.abs(left), floor)[apart > 0], initial=0.0)
    return missing + infinite, float(worst)

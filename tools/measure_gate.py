"""Measure the quality gate: precision and recall per kind of defect, seeded and located in real panels.

    python tools/measure_gate.py [FOLDER] [--seeds N] [--json FILE]

Seeded defects go into clean bars: those of the generator of the tests, the bundled sample, and where FOLDER is given
symbols of a real panel that the gate has nothing to say about. The seeds are not those that rules were tried with.
FOLDER holds real panels with tables of located defects, one folder a source (`tests/support/located.py`); they are
judged as they are. The last table moves thresholds one at a time: whoever chooses by the years before 2016 can see what
the choice does to the years after.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.corruptions import KINDS
from support.located import KEY, NAMED_BY, LocatedPanel, located_panels
from support.panels import seeded_panel

from trading_pipeline.adapters.market_data.bundled import BundledSample
from trading_pipeline.core.quality import GateConfig, GateResult, judge_bars
from trading_pipeline.core.sessions import xnys

Row = dict[str, Any]
LATER_FROM = date(2016, 1, 1)
FIRST_SEED = 100
REAL_JUMP, SAME_MOVE, SAME_CLOSE = 0.15, 0.01, 0.001
THRESHOLDS = ("gap_threshold", "gap_score", "news_volume", "jump_volume", "spike_score", "crowd_score")
CLEAN_SYMBOLS = 150
IEX, GOOGLE = "sp500_iex_2013_2018", "sp500_google_2012_2017"
LEVEL_CHANGES = [
    "A",
    "ARNC",
    "BAX",
    "CAG",
    "CTXS",
    "DISCA",
    "DISCK",
    "EBAY",
    "HPE",
    "HPQ",
    "IR",
    "KLAC",
    "MDLZ",
    "NI",
    "SYMC",
    "VNO",
    "YUM",
    "UAA",
    "HLT",
    "BHGE",
]
"""Symbols of the two S&P panels whose prices are not adjusted for a spin-off, special dividend or split."""


def seeded(clean: pl.DataFrame, seeds: range) -> Iterator[Row]:
    """Yield precision and recall of every seeded kind of defect, over several seeds."""
    usual = judge_bars(clean, last_good={}).quarantined.select(KEY)
    for name, kind in KINDS.items():
        bad = hit = wrong = waiting = 0
        for seed in seeds:
            spoilt = kind.spoil(clean, np.random.default_rng(seed))
            found = judge_bars(spoilt.bars, last_good={}).quarantined.select(*KEY, "reason").unique()
            named = found.filter(pl.col("reason").str.contains("|".join(sorted(kind.reasons))))
            keys = spoilt.bad.unique()
            bad += keys.height
            hit += keys.join(named, on=KEY, how="semi").height
            others = found.join(keys, on=KEY, how="anti").join(usual, on=KEY, how="anti")
            waiting += others.join(spoilt.waiting, on=KEY, how="semi").height
            wrong += others.join(spoilt.waiting, on=KEY, how="anti").height
        recall, precision = round(hit / bad, 3), round(hit / max(hit + wrong, 1), 3)
        yield {
            "kind": name,
            "spoilt": bad,
            "recall": recall,
            "precision": precision,
            "held wrongly": wrong,
            "wait": waiting,
        }


def sample_bars() -> pl.DataFrame:
    """Return the bundled sample."""
    source = BundledSample()
    first, last = source.coverage()
    return source.bars(xnys().between(first, last), source.symbols())


def clean_symbols(panel: LocatedPanel) -> pl.DataFrame:
    """Return symbols with all bars of a panel and no finding, for clean bars that were really traded."""
    window = panel.bars.filter(pl.col("session").is_between(date(2013, 1, 2), date(2017, 7, 28)))
    lengths = window.group_by("symbol").len()
    whole = lengths.filter(pl.col("len") == pl.col("len").max())["symbol"]
    held = judge_bars(window, last_good={}).quarantined["symbol"].unique()
    names = sorted(set(whole) - set(held))[:CLEAN_SYMBOLS]
    return window.filter(pl.col("symbol").is_in(names))


def whole_run(panel: LocatedPanel) -> tuple[GateResult, Row]:
    """Judge a panel as it is."""
    started = perf_counter()
    result = judge_bars(panel.bars, last_good={}, actions=panel.actions)
    seconds = round(perf_counter() - started, 1)
    symbols = panel.bars["symbol"].n_unique()
    row = {"panel": panel.name, "symbols": symbols, "rows": panel.bars.height, "seconds": seconds}
    return result, row | {"quarantined": result.quarantined.height, "by reason": json.dumps(result.reasons())}


def located(panel: LocatedPanel, result: GateResult) -> Iterator[Row]:
    """Yield how many of the located defects of a panel were found, by the kind its table gives them."""
    found = result.quarantined.select(*KEY, "reason")
    absent = result.verdicts().filter(pl.col("verdict") == "missing").select(KEY)
    for (label,), rows in sorted(panel.defects.group_by("check")):
        keys = rows.select(KEY).unique()
        hits = (
            absent if label == "missing_session" else found.filter(pl.col("reason").str.contains(NAMED_BY[str(label)]))
        )
        yield {
            "panel": panel.name,
            "located": label,
            "rows": keys.height,
            "found": keys.join(hits, on=KEY, how="semi").height,
        }


def misdated(root: Path, result: GateResult) -> Iterator[Row]:
    """Yield the recall on rows that are known to be of another session, in all years and from 2016 on."""
    rows = pl.read_parquet(root / IEX / "misdated_rows.parquet").rename({"date": "session"})
    found = result.quarantined.select(KEY)
    late = pl.col("session") >= LATER_FROM
    later = pl.col("lag_days") > 0
    for label, chosen in (
        ("bars of a later session", later),
        ("the same, 2016 on", later & late),
        ("all wrong closes", pl.lit(value=True)),
        ("the same, 2016 on", late),
    ):
        some = rows.filter(chosen)
        yield {
            "panel": IEX,
            "located": label,
            "rows": some.height,
            "found": some.join(found, on=KEY, how="semi").height,
        }


def second_opinion(panels: dict[str, LocatedPanel], results: dict[str, GateResult]) -> Iterator[Row]:
    """Yield of how many held rows of one vendor the other says something else: the precision of the judgement."""
    columns = ("open", "close", "volume")
    for one, other in ((IEX, GOOGLE), (GOOGLE, IEX)):
        said = panels[other].bars.select(*KEY, *(pl.col(name).alias(f"{name}_2") for name in columns))
        rows = results[one].quarantined.join(said, on=KEY, how="inner")
        limits = {"open": 0.001, "close": 0.001, "volume": 0.05}
        differs = pl.any_horizontal((pl.col(c) / pl.col(f"{c}_2") - 1).abs() > limit for c, limit in limits.items())
        rows = rows.with_columns(differs.fill_null(value=True).alias("differs"))
        for reason in ("look_ahead", "repeated_bar", "spike"):
            some = rows.filter(pl.col("reason").str.contains(reason))
            yield {
                "panel": one,
                "reason": reason,
                "rows both have": some.height,
                "second vendor differs": int(some["differs"].sum()),
            }


def real_jumps(panels: dict[str, LocatedPanel], results: dict[str, GateResult]) -> Iterator[Row]:
    """Yield how many real jumps were kept."""
    jumps = agreed_jumps(panels)
    for name in (IEX, GOOGLE):
        held = jumps.join(results[name].quarantined, on=KEY, how="inner")
        named = [f"{row['symbol']} {row['session']} {row['move']:+.0%} {row['reason']}" for row in held.to_dicts()]
        for label, part in (("all", pl.lit(value=True)), ("2016 on", pl.col("session") >= LATER_FROM)):
            number, lost = jumps.filter(part).height, held.filter(part).height
            row = {"panel": name, "jumps of 15 %": label, "number": number, "kept": number - lost}
            yield row | {"held": ", ".join(named) if label == "all" else ""}


def agreed_jumps(panels: dict[str, LocatedPanel]) -> pl.DataFrame:
    """Return moves of 15 % and more on which two vendors agree, but for symbols whose price level was changed."""
    moves = []
    for name in (IEX, GOOGLE):
        rows = panels[name].bars.sort("symbol", "session")
        moved = (pl.col("close") / pl.col("close").shift().over("symbol") - 1).alias(f"move_{name}")
        moves.append(rows.select(*KEY, moved))
    both = moves[0].join(moves[1], on=KEY).with_columns(pl.col(f"move_{IEX}").alias("move"))
    agree = (pl.col(f"move_{IEX}") - pl.col(f"move_{GOOGLE}")).abs() < SAME_MOVE
    return both.filter(agree & (pl.col("move").abs() >= REAL_JUMP) & ~pl.col("symbol").is_in(LEVEL_CHANGES))


def other_thresholds(root: Path, panels: dict[str, LocatedPanel]) -> Iterator[Row]:
    """Yield what moving one threshold does to the panel with misdated bars, before 2016 and from then on."""
    wrong = pl.read_parquet(root / IEX / "misdated_rows.parquet").rename({"date": "session"}).select(KEY)
    said = panels[GOOGLE].bars.select(*KEY, pl.col("close").alias("other"))
    jumps, usual = agreed_jumps(panels), GateConfig()
    changes: list[dict[str, float]] = [{}]
    changes += [{name: round(getattr(usual, name) * by, 3)} for name in THRESHOLDS for by in (0.7, 1.4)]
    for change in changes:
        config = replace(usual, **change)
        found = judge_bars(panels[IEX].bars, last_good={}, config=config).quarantined
        same = (found.join(said, on=KEY)).filter((pl.col("close") / pl.col("other") - 1).abs() < SAME_CLOSE)
        held = same.filter(pl.col("reason").str.contains("look_ahead|spike|repeated_bar"))
        row: Row = {"threshold": ", ".join(f"{name} {value:g}" for name, value in change.items()) or "as they are"}
        for label, part in (("before", pl.col("session") < LATER_FROM), ("later", pl.col("session") >= LATER_FROM)):
            some = wrong.filter(part)
            hit = some.join(found, on=KEY, how="semi").height
            row |= {
                f"wrong closes found, {label}": f"{hit} of {some.height}",
                f"good closes held, {label}": held.filter(part).height,
                f"real jumps held, {label}": jumps.filter(part).join(found, on=KEY, how="semi").height,
            }
        yield row


def show(title: str, rows: list[Row]) -> None:
    """Print rows as tables in Markdown, one for each set of columns."""
    print(f"\n### {title}")
    for columns in dict.fromkeys(tuple(row) for row in rows):
        print("\n| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
        for row in rows:
            if tuple(row) == columns:
                print("| " + " | ".join(str(value) for value in row.values()) + " |")


def measure(root: Path | None, seeds: int) -> Iterator[tuple[str, list[Row]]]:
    """Yield every table with its title."""
    days = xnys().between(date(2018, 1, 2), date(2020, 12, 31))
    yield (
        "Seeded into generated bars, 100 symbols x 3 years",
        list(seeded(seeded_panel(100, sessions=days, seed=77), range(FIRST_SEED, FIRST_SEED + seeds))),
    )
    yield (
        "Seeded into the bundled sample, 6 symbols x 10 years",
        list(seeded(sample_bars(), range(FIRST_SEED, FIRST_SEED + seeds))),
    )
    if root is None:
        return
    panels = {panel.name: panel for panel in located_panels(root)}
    runs = {name: whole_run(panel) for name, panel in panels.items()}
    results = {name: result for name, (result, _) in runs.items()}
    if GOOGLE in panels:
        clean = clean_symbols(panels[GOOGLE])
        yield (
            f"Seeded into real bars, {clean['symbol'].n_unique()} symbols x 4.5 years",
            list(seeded(clean, range(FIRST_SEED, FIRST_SEED + seeds))),
        )
    yield "Whole panels", [row for _, row in runs.values()]
    yield "Located defects", [row for name, panel in panels.items() for row in located(panel, results[name])]
    if IEX in panels:
        yield "Bars of another session", list(misdated(root, results[IEX]))
    if IEX in panels and GOOGLE in panels:
        yield "What the second vendor says of held rows", list(second_opinion(panels, results))
        yield "Real jumps", list(real_jumps(panels, results))
        yield "Other thresholds", list(other_thresholds(root, panels))


def main() -> None:
    """Run everything and print the tables."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", nargs="?", type=Path)
    options.add_argument("--json", type=Path)
    options.add_argument("--seeds", type=int, default=3)
    given = options.parse_args()
    answer: dict[str, list[Row]] = {}
    for title, rows in measure(given.folder, given.seeds):
        answer[title] = rows
        show(title, rows)
    if given.json:
        given.json.write_text(json.dumps(answer, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

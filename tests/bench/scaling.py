"""How our engine alone grows with rows, what a new session costs, how near memory bandwidth it is, and what is dear."""

import resource
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import date

import numpy as np
import polars as pl
from panel import calendar, synthetic_bars

from trading_pipeline.core.features import Feature, FeatureSet, alpha158, alpha360, compile_features, execution
from trading_pipeline.core.features.program import Apply, Roll, Step

SESSIONS = 2520


def scaling(*, quick: bool) -> dict[str, object]:
    """Measure and print; return the figures."""
    answer: dict[str, object] = {}
    compiled = compile_features(alpha158())
    sizes = (10, 50) if quick else (100, 500, 3000)
    compiled.compute(synthetic_bars(2, 70), calendar=calendar(70), sessions=calendar(70))
    answer |= _profile(20 if quick else 100)
    answer |= _new_session(200 if quick else 3000)
    for symbols in sizes:
        answer |= _size(symbols, SESSIONS, alpha158())
    if not quick:
        answer |= _size(500, SESSIONS, alpha360())
    return answer


def _seconds(work: Callable[[], object], repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _size(symbols: int, sessions: int, feature_set: FeatureSet) -> dict[str, object]:
    bars, days = synthetic_bars(symbols, sessions), calendar(sessions)
    compiled = compile_features(feature_set)
    seconds = _seconds(lambda: compiled.compute(bars, calendar=days, sessions=days), 1 if symbols > 1000 else 3)
    cells = bars.height * len(feature_set.names)
    bound = _memory_bound(4 * cells, 8 * len(compiled.fields) * bars.height)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{feature_set.name} {symbols:>5} symbols x {sessions}: {seconds:.2f} s, {cells / seconds / 1e6:.1f} M cells/s,"
        f" {seconds / bars.height * 1e6:5.2f} us a row, {bound / seconds:.1%} of memory bound, peak {peak:.1f} GiB",
        flush=True,
    )
    name = f"{feature_set.name}_{symbols}"
    return {
        f"{name}_seconds": round(seconds, 3),
        f"{name}_cells_per_second": round(cells / seconds),
        f"{name}_share_of_memory_bound": round(bound / seconds, 4),
        f"{name}_peak_gib": round(peak, 2),
    }


def _memory_bound(written: int, read: int) -> float:
    """Return the seconds in which one plain copy at a time moves the least any engine must: bars in, answers out."""
    source = np.zeros(written // 8)
    target = np.zeros_like(source)
    moved = _seconds(lambda: np.copyto(target, source)) / (2 * source.nbytes)
    return moved * (written + read)


def _new_session(symbols: int) -> dict[str, object]:
    compiled = compile_features(alpha158())
    days = calendar(compiled.lookback + 1)
    bars = synthetic_bars(symbols, len(days))
    seconds = _seconds(lambda: compiled.compute(bars, calendar=days, sessions=days[-1:]), 5)
    print(f"one new session of {symbols} symbols: {seconds:.3f} s", flush=True)
    return {"new_session_symbols": symbols, "new_session_seconds": round(seconds, 3)}


def _profile(symbols: int) -> dict[str, object]:
    """Print where the time goes on one thread, by kind of step, and the features that cost most alone."""
    bars, days = synthetic_bars(symbols, SESSIONS), calendar(SESSIONS)
    spent: dict[str, float] = defaultdict(float)
    run_step = execution._run_step

    def timed(step: Step, *arguments: object, **options: object) -> None:
        start = time.thread_time()
        run_step(step, *arguments, **options)
        spent[_label(step)] += time.thread_time() - start

    execution._run_step = timed
    try:
        compile_features(alpha158()).compute(bars, calendar=days, sessions=days, threads=1)
        spent.clear()
        whole = _processor_seconds(alpha158(), bars, days)
    finally:
        execution._run_step = run_step
    print(f"{'step':<14}{'ns a row':>10}{'share':>8}   on one thread, {symbols} symbols")
    for label, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"{label:<14}{seconds / bars.height * 1e9:>10.1f}{seconds / whole:>8.1%}")
    few = synthetic_bars(symbols // 5, SESSIONS)
    alone = {feature.name: _alone(feature, few, days) for feature in alpha158().features}
    dear = sorted(alone.items(), key=lambda item: -item[1])[:10]
    print("the ten most expensive features, computed alone, ns a row: " + ", ".join(f"{n} {t:.0f}" for n, t in dear))
    steps = {label: round(seconds / bars.height * 1e9, 1) for label, seconds in spent.items()}
    return {"steps_ns_a_row": steps, "dearest_ns_a_row": {name: round(ns) for name, ns in dear}}


def _label(step: Step) -> str:
    if isinstance(step, Roll):
        return step.kernel
    return step.operator if isinstance(step, Apply) else type(step).__name__


def _alone(feature: Feature, bars: pl.DataFrame, days: list[date]) -> float:
    nothing = FeatureSet(name="nothing", features=(Feature(name="nothing", expression="$close"),))
    alone = FeatureSet(name=feature.name, features=(feature,))
    more = _processor_seconds(alone, bars, days) - _processor_seconds(nothing, bars, days)
    return more / bars.height * 1e9


def _processor_seconds(feature_set: FeatureSet, bars: pl.DataFrame, days: list[date]) -> float:
    """One thread's time on the processor, which other work on the machine disturbs less than the clock."""
    compiled = compile_features(feature_set)
    start = time.process_time()
    compiled.compute(bars, calendar=days, sessions=days, threads=1)
    return time.process_time() - start

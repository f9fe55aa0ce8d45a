"""Which kernel computes an operator over rows other than the present one, and what it is asked for."""

from collections.abc import Callable
from dataclasses import dataclass

from trading_pipeline.core.features.expression import Call, Constant, Expression
from trading_pipeline.core.features.kernels import extremes, moments, pairs, rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Windowed:
    """One answer asked of a kernel.

    Attributes:
        kernel: name of the function.
        statistic: which of the kernel's answers.
        length: rows of the window, 0 for all history; rows back for a shift.
        number: quantile, decay, or whatever else the statistic takes.
        on_ladder: the kernel puts windows together from halves.
    """

    kernel: str
    statistic: int
    length: int
    number: float = 0.0
    on_ladder: bool = False


def windowed(call: Call) -> tuple[tuple[Expression, ...], Windowed]:
    """Return the series a windowed operator reads and what to ask of its kernel."""
    return WINDOWED[call.operator](call)


Rule = Callable[[Call], tuple[tuple[Expression, ...], Windowed]]


def _value(argument: Expression) -> float:
    assert isinstance(argument, Constant)  # noqa: S101  the parser lets nothing else pass
    return argument.value


def _simple(kernel: str, statistic: int, *, on_ladder: bool = False) -> Rule:
    def rule(call: Call) -> tuple[tuple[Expression, ...], Windowed]:
        *series, length = call.arguments
        # Constant windows are struck out of correlations of fixed windows only, as in pyqlib.
        number = float(_value(length) != 0) if kernel == "pairs" else 0.0
        return tuple(series), Windowed(
            kernel=kernel, statistic=statistic, length=int(_value(length)), number=number, on_ladder=on_ladder
        )

    return rule


def _rsquare(call: Call) -> tuple[tuple[Expression, ...], Windowed]:
    series, length = call.arguments
    statistic = moments.RSQUARE_ALL if _value(length) == 0 else moments.RSQUARE
    return (series,), Windowed(kernel="moments", statistic=statistic, length=int(_value(length)), on_ladder=True)


def _count(call: Call) -> tuple[tuple[Expression, ...], Windowed]:
    series, length = call.arguments
    # pandas counts infinities, which all else leaves out.
    present = Call("Eq", (series, series))
    return (present,), Windowed(kernel="moments", statistic=moments.SUM, length=int(_value(length)), on_ladder=True)


def _median(call: Call) -> tuple[tuple[Expression, ...], Windowed]:
    series, length = call.arguments
    return (series,), Windowed(kernel="quantiles", statistic=0, length=int(_value(length)), number=0.5)


def _quantile(call: Call) -> tuple[tuple[Expression, ...], Windowed]:
    series, length, fraction = call.arguments
    return (series,), Windowed(kernel="quantiles", statistic=0, length=int(_value(length)), number=_value(fraction))


def _ema(call: Call) -> tuple[tuple[Expression, ...], Windowed]:
    series, decay = call.arguments
    number = float(_value(decay))
    statistic = rows.EXPANDING if number == 0 else rows.WEIGHT if number < 1 else rows.SPAN
    return (series,), Windowed(kernel="exponential", statistic=statistic, length=0, number=number)


_STATISTICS = {
    "moments": {
        "Sum": moments.SUM,
        "Mean": moments.MEAN,
        "Var": moments.VAR,
        "Std": moments.STD,
        "Slope": moments.SLOPE,
        "Resi": moments.RESI,
        "WMA": moments.WMA,
    },
    "extremes": {
        "Max": extremes.MAX,
        "Min": extremes.MIN,
        "IdxMax": extremes.IDX_MAX,
        "IdxMin": extremes.IDX_MIN,
    },
    "pairs": {"Cov": pairs.COV, "Corr": pairs.CORR},
    "shapes": {"Skew": rows.SKEW, "Kurt": rows.KURT, "Mad": rows.MAD},
    "shifts": {"Ref": rows.REF, "Delta": rows.DELTA},
}
_ON_LADDER = frozenset({"moments", "extremes", "pairs"})

WINDOWED: dict[str, Rule] = {
    **{
        name: _simple(kernel, statistic, on_ladder=kernel in _ON_LADDER)
        for kernel, statistics in _STATISTICS.items()
        for name, statistic in statistics.items()
    },
    "Rank": _simple("ranks", 0),
    "Rsquare": _rsquare,
    "Count": _count,
    "Med": _median,
    "Quantile": _quantile,
    "EMA": _ema,
}

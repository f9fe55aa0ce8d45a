"""Which executions count, and in which order: the same answer however they arrived.

Each execution id counts once. They are replayed by the instant they happened, not by that of their arrival. Where the
broker reports more shares of an order than its known executions add up to, the difference counts as one synthetic
execution, priced from the cumulative averages; it shrinks and vanishes as the real ones arrive.

Whatever is known counts against what was reported, whenever it happened: so the shares counted never exceed those that
were really filled, whatever the clocks say, and the next report makes good what a late one left out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal, localcontext

from trading_pipeline.core.accounting import PRICE_PLACES, ZERO, Fill, at_most, missed_fill_price
from trading_pipeline.core.orders.model import Side
from trading_pipeline.errors import ExecutionConflict

DIGITS = 100
"""Enough for products and sums of any shares and prices to be exact."""
AVERAGE_ERROR = Decimal("0.00005")
"""Dollars a share by which a broker's average may be off: half the last of four decimals."""
SMALLEST_PRICE = Decimal("0.0001")
"""Dollars a share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """One execution of an order, and the instant (UTC) the broker gives it.

    `filled_after` is the shares of the order filled with it, it included; None where the broker does not tell.
    """

    client_order_id: str
    fill: Fill
    executed_at: datetime
    filled_after: Decimal | None = field(default=None, compare=False)

    @property
    def moment(self) -> tuple[date, datetime, str]:
        """Its place among all: by session, instant, and the id where instants are equal."""
        return self.fill.session, self.executed_at, self.fill.execution_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Cumulative:
    """What the broker says was filled of an order so far: shares, and dollars a share over all of them.

    `as_of` is the moment what is missing of it counts for, until its executions say better.
    """

    client_order_id: str
    symbol: str
    side: Side
    qty: Decimal
    average: Decimal
    session: date
    as_of: datetime


def distinct(executions: Iterable[Executed]) -> list[Executed]:
    """Return each execution once, in the order they happened.

    Raises:
        ExecutionConflict: one id with two contents.
    """
    known: dict[str, Executed] = {}
    for one in executions:
        same = known.setdefault(one.fill.execution_id, one)
        if same != one:
            raise ExecutionConflict(
                f"execution {one.fill.execution_id} was reported twice with different contents: {same.fill} and"
                f" {one.fill}; ask the broker which is true",
                execution_id=one.fill.execution_id,
                client_order_id=one.client_order_id,
            )
    return sorted(known.values(), key=lambda one: one.moment)


def effective(executions: Iterable[Executed], reports: Iterable[Cumulative] = ()) -> list[Executed]:
    """Return what counts, in the order it happened: the known executions, and a synthetic one for each gap.

    Of the reports of an order the one with the most shares counts, of equal ones the latest.

    Raises:
        ExecutionConflict: one id with two contents, or averages that the known executions contradict.
    """
    known = distinct(executions)
    furthest: dict[str, Cumulative] = {}
    for report in reports:
        present = furthest.setdefault(report.client_order_id, report)
        if (report.qty, report.as_of) > (present.qty, present.as_of):
            furthest[report.client_order_id] = report
    gaps = [gap for report in furthest.values() if (gap := missing(known, report)) is not None]
    return sorted([*known, *gaps], key=lambda one: one.moment)


def missing(known: Sequence[Executed], report: Cumulative) -> Executed | None:
    """Return the shares of a report that no known execution explains, as one synthetic execution; None when all do.

    Raises:
        ExecutionConflict: the missing shares would have a price of zero or less.
    """
    counted = [one.fill for one in known if one.client_order_id == report.client_order_id]
    with localcontext(prec=DIGITS):
        qty = sum((fill.qty for fill in counted), ZERO)
        if qty >= report.qty:
            return None
        paid = sum((fill.qty * fill.price for fill in counted), ZERO)
        price = missed_fill_price(
            previous_qty=qty,
            previous_average=paid / qty if qty else ZERO,
            cumulative_qty=report.qty,
            cumulative_average=report.average,
        )
        gap = report.qty - qty
        if price <= 0 and -price * gap <= report.qty * AVERAGE_ERROR:
            # So few shares that their price is lost in the rounding of the average: all dollars are right to that.
            price = SMALLEST_PRICE
    if not price.is_finite() or price <= 0:
        raise ExecutionConflict(
            f"order {report.client_order_id}: {gap} missing shares would have been filled at {price} a share, so the"
            f" broker's average of {report.average} over {report.qty} does not fit the executions known",
            client_order_id=report.client_order_id,
        )
    return Executed(
        client_order_id=report.client_order_id,
        fill=Fill(
            execution_id=f"synthetic-{report.client_order_id}-{report.qty}-{gap}",
            symbol=report.symbol,
            side=report.side,
            qty=gap,
            price=price,
            fee=ZERO,
            session=report.session,
        ),
        executed_at=report.as_of,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """What an execution does to the synthetic ones of its order.

    Attributes:
        gone: the synthetic ones it takes the place of.
        left: what of them it does not account for, as one synthetic execution; None when nothing is.
        standing: all synthetic ones of the order that stand afterwards.
    """

    gone: tuple[Executed, ...]
    left: Executed | None
    standing: tuple[Executed, ...]

    @property
    def shares(self) -> Decimal:
        """Shares that stood for the execution before it came, or stand for others still."""
        return sum((one.fill.qty for one in self.gone), ZERO)


def replace_synthetic(standing: Sequence[Executed], execution: Executed) -> Replacement:
    """Let an execution take the place of as many synthetic shares of its order as it has, whole ones and parts.

    It begins with the report that was the first to hold it. What is left keeps the dollars of both together; where
    that gives no price above zero, the figures contradict each other and it keeps its own price.
    """
    first = sorted(standing, key=lambda one: (one.moment < execution.moment, one.moment))
    gone: list[Executed] = []
    shares = ZERO
    while first and shares < execution.fill.qty:
        gone.append(first.pop(0))
        shares += gone[-1].fill.qty
    left = _left(gone, execution, shares - execution.fill.qty) if shares > execution.fill.qty else None
    return Replacement(gone=tuple(gone), left=left, standing=(*first, *([left] if left else [])))


def _left(gone: Sequence[Executed], execution: Executed, qty: Decimal) -> Executed:
    last, fill = gone[-1], execution.fill
    with localcontext(prec=DIGITS):
        paid = sum((one.fill.qty * one.fill.price for one in gone), ZERO) - fill.qty * fill.price
        price = at_most(paid / qty, PRICE_PLACES)
    return replace(
        last,
        fill=replace(
            last.fill,
            execution_id=f"{last.fill.execution_id}/{fill.execution_id}",
            qty=qty,
            price=price if price > 0 else last.fill.price,
        ),
    )

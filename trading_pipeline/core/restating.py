"""What a corporate action does to what is held: shares and average price restated, dollars kept to the last digit.

With q shares that cost c, n new shares for d old ones, and D dollars paid a share:
    split, stock dividend:  q' = q n / d, c' = c, so the average is a d / n; realised 0
    cash dividend:          q' = q, c' = c, realised D q (a short position pays it)
    change of symbol:       the position, cost included, moves to the new symbol; what was realised stays with the old
Shares are kept to a billionth of one, as the broker keeps them: a fraction is neither rounded up nor paid out here.
What lies below a billionth is cut off toward zero and its cost stays with the others.
Worked: 10 at 400, split 4 for 1 -> 40 at 100; 25 at 2, 1 for 10 -> 2.5 at 20; 40 held, 0.25 a share -> 10 realised.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import ROUND_DOWN, Decimal, localcontext
from fractions import Fraction
from typing import Any, Final

from trading_pipeline.core.accounting import ZERO, Booking, Position, apply_fill
from trading_pipeline.core.corporate_actions import ActionKind
from trading_pipeline.core.executions import Executed
from trading_pipeline.core.sessions import SessionCalendar
from trading_pipeline.errors import DataQualityError

SMALLEST_SHARE: Final = Decimal("1e-9")
_DIGITS: Final = 100
_AVERAGE_PLACES: Final = Decimal("1e-10")
_LARGEST_DENOMINATOR: Final = 1_000_000
_CLOSE_ENOUGH: Final = 1e-9
_LONGEST_CLOSURE: Final = timedelta(days=14)

RATIOS: Final = frozenset({ActionKind.SPLIT, ActionKind.REVERSE_SPLIT, ActionKind.STOCK_DIVIDEND})
"""Kinds that change the number of shares."""
TO_DO: Final[Mapping[ActionKind, str]] = {
    ActionKind.SPIN_OFF: "compare the shares of the new company with the broker, accept them, then release the symbol",
    ActionKind.RIGHTS: "decide on the rights with the broker, accept what it books, then release the symbol",
    ActionKind.MERGER: "wait until the broker has exchanged or paid the shares, accept what it books, then release it",
    ActionKind.REDEMPTION: "wait until the broker has paid the shares, accept what it books, then release the symbol",
    ActionKind.WORTHLESS: "the shares are removed without payment: accept what the broker books, then release it",
}
"""Kinds that no number here can restate, and what an operator does about each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restatement:
    """One corporate action as it changes what is held, before the open of `session`.

    Attributes:
        at: when it counts among the fills of the session: the midnight (UTC instant) its day begins with in New York.
        rank: its place among the actions of its session.
        ratio: new shares for one old share; 1 where their number stays.
        amount: dollars paid a share.
        new_symbol: what the symbol is called from then on; empty: as before.
    """

    action_id: str
    kind: ActionKind
    symbol: str
    session: date
    at: datetime
    rank: int = 0
    ratio: Fraction = Fraction(1)
    amount: Decimal = ZERO
    new_symbol: str = ""

    @property
    def key(self) -> str:
        """Its name among the fills; their ids follow it where instants are equal."""
        return f"!action:{self.rank:06d}:{self.action_id}"

    @property
    def moment(self) -> tuple[date, datetime, str]:
        """Its place among fills and other actions: as `Executed.moment`."""
        return self.session, self.at, self.key

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols whose positions it changes."""
        return (self.symbol, self.new_symbol) if self.new_symbol else (self.symbol,)

    @property
    def changes_shares(self) -> bool:
        """True where the broker must show other shares, or another symbol, after it."""
        return self.ratio != 1 or bool(self.new_symbol)

    def describe(self) -> str:
        """Return it as words of one line."""
        what = self.kind.replace("_", " ")
        if self.ratio != 1:
            what += f" {self.ratio.numerator}:{self.ratio.denominator}"
        if self.new_symbol:
            what += f" to {self.new_symbol}"
        if self.amount:
            what += f" of {self.amount:f} dollars a share"
        return f"{what} of {self.symbol}, effective {self.session}"


Event = Executed | Restatement
"""What changes positions; each has its moment."""


def restatements_of(rows: Iterable[Mapping[str, Any]], calendar: SessionCalendar) -> list[Restatement]:
    """Return what actions mean for what is held, in the order they take effect.

    Of one session splits come first, then payments, which are a share as traded that day, then changes of symbol. An
    action told under the new symbol of that day is one of the old symbol's company. A day without trading is the next
    session's.

    Args:
        rows: as `corporate_actions.ACTION_SCHEMA`, one version each.
        calendar: for the sessions.

    Raises:
        DataQualityError: a ratio that is no fraction of whole shares, or changes of symbol that go in a circle.
    """
    found = [_restatement(row, calendar) for row in rows if row["other_symbol"] != row["symbol"]]
    found.sort(key=lambda one: (one.session, _phase(one), one.symbol, one.action_id))
    ordered: list[Restatement] = []
    for session in sorted({one.session for one in found}):
        of_day = [one for one in found if one.session == session]
        changes = {one.symbol: one.new_symbol for one in of_day if one.new_symbol}
        left = {new: old for old, new in changes.items() if new not in changes}
        named = [one if one.new_symbol else replace(one, symbol=left.get(one.symbol, one.symbol)) for one in of_day]
        others = [one for one in named if not one.new_symbol]
        moves = _in_turn([one for one in named if one.new_symbol])
        ordered += [replace(one, rank=rank) for rank, one in enumerate([*others, *moves])]
    return ordered


def apply_restatement(held: Mapping[str, Position], action: Restatement) -> dict[str, Booking]:
    """Return the positions an action changes, by symbol, each with the dollars it realised; a flat one stays."""
    position = held.get(action.symbol, Position(symbol=action.symbol))
    if not position.qty:
        return {}
    with localcontext(prec=_DIGITS):
        realised = action.amount * position.qty
        qty = restated_shares(position.qty, action.ratio)
        if not qty:  # less than a billionth of a share is left: its cost is lost
            realised -= position.cost
        after = _with(position, qty, position.cost if qty else ZERO, realised)
        if not action.new_symbol:
            return {action.symbol: Booking(position=after, realised=realised)}
        there = held.get(action.new_symbol, Position(symbol=action.new_symbol))
        moved = _with(there, there.qty + qty, there.cost + after.cost, ZERO)
        return {
            action.symbol: Booking(position=_with(after, ZERO, ZERO, ZERO), realised=realised),
            action.new_symbol: Booking(position=moved, realised=ZERO),
        }


def apply_event(held: Mapping[str, Position], event: Event) -> dict[str, Booking]:
    """Return the positions that a fill or an action changes, by symbol."""
    if isinstance(event, Restatement):
        return apply_restatement(held, event)
    symbol = event.fill.symbol
    return {symbol: apply_fill(held.get(symbol, Position(symbol=symbol)), event.fill)}


def replay_events(events: Iterable[Event]) -> dict[str, Position]:
    """Return the positions, flat ones too, that fills and actions lead to, in whichever order they are given."""
    held: dict[str, Position] = {}
    for event in sorted(events, key=lambda one: one.moment):
        held |= {symbol: booking.position for symbol, booking in apply_event(held, event).items()}
    return held


def related(symbols: Iterable[str], actions: Collection[Restatement]) -> set[str]:
    """Return these symbols and all that changes of symbol moved their shares to or from."""
    reached = set(symbols)
    while more := {name for one in actions if reached.intersection(one.symbols) for name in one.symbols} - reached:
        reached |= more
    return reached


def restated_shares(qty: Decimal, ratio: Fraction) -> Decimal:
    """Return shares after a split, cut off below a billionth of a share."""
    with localcontext(prec=_DIGITS):
        exact = qty * ratio.numerator / ratio.denominator
        return exact.quantize(SMALLEST_SHARE, rounding=ROUND_DOWN).normalize() + 0


def explains(
    after: Mapping[str, Decimal], there: Mapping[str, Decimal], before: Iterable[Mapping[str, Decimal]]
) -> bool:
    """Tell whether actions explain that a broker holds other shares than the ledger.

    It has carried out none of the newest of them yet; or all, and paid or rounded up a fraction that they left.

    Args:
        after: the ledger's signed shares, by symbol.
        there: the broker's, of the same symbols.
        before: the ledger's without the newest action, without the two newest, and so on.
    """
    return all(_but_for_a_fraction(shares, there[symbol]) for symbol, shares in after.items()) or any(
        all(state[symbol] == shares for symbol, shares in there.items()) for state in before
    )


def _but_for_a_fraction(shares: Decimal, there: Decimal) -> bool:
    return shares == there or (there == there.to_integral_value() and abs(shares - there) < 1)


def _with(position: Position, qty: Decimal, cost: Decimal, realised: Decimal) -> Position:
    return replace(
        position,
        qty=qty,
        cost=cost,
        average_price=(cost / qty).quantize(_AVERAGE_PLACES) if qty else ZERO,
        realised=position.realised + realised,
    )


def _restatement(row: Mapping[str, Any], calendar: SessionCalendar) -> Restatement:
    kind = ActionKind(row["kind"])
    day: date = row["ex_date"]
    session = calendar.between(day, day + _LONGEST_CLOSURE)[0]
    pays = kind is ActionKind.CASH_DIVIDEND
    return Restatement(
        action_id=row["action_id"],
        kind=kind,
        symbol=row["symbol"],
        session=session,
        at=datetime.combine(session, datetime.min.time(), tzinfo=calendar.zone),
        ratio=_fraction(row) if kind in RATIOS else Fraction(1),
        amount=Decimal(repr(row["amount"])) if pays else ZERO,
        new_symbol=(row["other_symbol"] or "") if kind is ActionKind.SYMBOL_CHANGE else "",
    )


def _fraction(row: Mapping[str, Any]) -> Fraction:
    """Return the whole numbers a ratio was divided from."""
    ratio = float(row["ratio"])
    found = Fraction(ratio).limit_denominator(_LARGEST_DENOMINATOR)
    if not found or abs(float(found) - ratio) > _CLOSE_ENOUGH * ratio:
        raise DataQualityError(
            f"action {row['action_id']} of {row['symbol']}: {ratio} is no fraction of whole shares",
            action_id=row["action_id"],
            symbol=row["symbol"],
        )
    return found


def _phase(action: Restatement) -> int:
    if action.new_symbol:
        return 3
    if action.amount:
        return 2
    return 0 if action.ratio != 1 else 1


def _in_turn(moves: Sequence[Restatement]) -> list[Restatement]:
    """Order changes of symbol so that a symbol is left before another company takes it."""
    ordered, rest = list[Restatement](), list(moves)
    while rest:
        leaving = {one.symbol for one in rest}
        free = [one for one in rest if one.new_symbol not in leaving]
        if not free:
            raise DataQualityError(
                f"changes of symbol on {rest[0].session} go in a circle: {', '.join(sorted(leaving))}",
                symbols=sorted(leaving),
            )
        ordered += free
        rest = [one for one in rest if one not in free]
    return ordered

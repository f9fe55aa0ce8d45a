"""The book against itself: what it holds twice must be the same. Compares only; reads nothing."""

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal

from trading_pipeline.adapters.guards.book import BookSnapshot, SymbolState
from trading_pipeline.core.money import from_ticks
from trading_pipeline.core.orders.model import Side
from trading_pipeline.services.differences import Difference, DifferenceKind


def contradictions(book: BookSnapshot) -> Iterator[Difference]:
    """Compare the book with itself: what is pending with its reservations, its totals with its symbols."""
    yield from _pending(book)
    yield from _exposure(book)


def _pending(book: BookSnapshot) -> Iterator[Difference]:
    """The sums of the book must be those of its own reservations."""
    sums: defaultdict[tuple[str, Side], Decimal] = defaultdict(Decimal)
    for held in book.reservations.values():
        sums[held.symbol, held.side] += Decimal(held.remaining)
    for symbol in sorted({*book.symbols, *(symbol for symbol, _ in sums)}):
        one = book.symbols.get(symbol, SymbolState())
        for side, pending in ((Side.BUY, one.pending_buy), (Side.SELL, one.pending_sell)):
            if sums[symbol, side] != Decimal(pending):
                yield Difference(
                    kind=DifferenceKind.PENDING,
                    subject=f"{symbol} {side}",
                    symbol=symbol,
                    book=f"{pending} pending, {sums[symbol, side].normalize():f} reserved",
                )


def _exposure(book: BookSnapshot) -> Iterator[Difference]:
    """The totals of the account must be those of its symbols, in the worst case of what is pending."""
    at_risk = [(one.long_shares, one.short_shares, one.mark_ticks) for one in book.symbols.values()]
    totals = {
        "gross": (book.gross_ticks, sum(max(long, short) * mark for long, short, mark in at_risk)),
        "long": (book.long_ticks, sum(max(long, 0) * mark for long, _, mark in at_risk)),
        "short": (book.short_ticks, sum(max(short, 0) * mark for _, short, mark in at_risk)),
        "highest net": (book.net_high_ticks, sum(long * mark for long, _, mark in at_risk)),
        "lowest net": (book.net_low_ticks, sum(-short * mark for _, short, mark in at_risk)),
    }
    for name, (total, added_up) in totals.items():
        if total != added_up:
            said = f"{from_ticks(total)} in all, {from_ticks(added_up)} of its symbols"
            yield Difference(kind=DifferenceKind.EXPOSURE, subject=name, book=said)

"""Prices at order time: what makes a quote or a trade fit for an order, and what a source of such prices is.

The rule, first match wins; `at` is the instant of the order, and ages count from the venue's own time stamp:

1. Halted: no price, whatever else was told.
2. A quote counts when its time has a zone, is not of the future (beyond the tolerance of clocks), is not older than the
   age allowed and not from before the open. It gives its midpoint when it is firm, both sides are above 0 (0 is how an
   empty side is written), the bid is not above the ask (equal, a locked market, is sane) and the spread is at most
   `max_spread_bps` of the midpoint.
3. Else the last trade gives its price when its time passes the same checks, and it lies within the sides that a quote
   of good time has, widened by `max_spread_bps`: above the lower, below the higher; an empty side bounds nothing.
4. Else there is no price, and the reason names both.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Protocol

from trading_pipeline.core.orders.model import ReferencePrice
from trading_pipeline.errors import NoPrice, PriceUnavailable

_BPS = 10_000
_TICK = Decimal("0.0001")
_MIDPOINT = "midpoint:"
_TRADE = "trade:"


class PriceSource(Protocol):
    """Gives the prices that orders are sized and judged at."""

    def prices(self, symbols: Collection[str], at: datetime) -> dict[str, ReferencePrice | PriceUnavailable]:
        """Return for every symbol asked for its price as of an instant, or why it has none.

        `at` is aware, UTC, and close to now where prices are those of the market: what is older than its age allows by
        then is no price. Never raises for a symbol, and never answers with a price that nobody has quoted or paid.
        """
        ...

    def still_counts(self, price: ReferencePrice, at: datetime) -> bool:
        """Tell whether a price given before may still be used at an aware instant: its age counts again."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The best bid and ask, dollars, 0 for an empty side; when (as the venue says), and who told of it.

    `firm` is false when its conditions say that nobody must trade at it, `halted` true when they tell of a halt.
    """

    bid: Decimal
    ask: Decimal
    at: datetime
    source: str
    firm: bool = True
    halted: bool = False

    def __post_init__(self) -> None:
        for side in (self.bid, self.ask):
            if not side.is_finite() or side < 0:
                msg = f"a side of a quote is a finite price, 0 when empty, not {side}"
                raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """The last trade, dollars; when (as the venue says), and who told of it."""

    price: Decimal
    at: datetime
    source: str

    def __post_init__(self) -> None:
        if not self.price.is_finite() or self.price <= 0:
            msg = f"a trade has a finite price above 0, not {self.price}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of one symbol; a `NoPrice` where there is no quote or no trade to speak of."""

    quote: Quote | NoPrice = NoPrice.EMPTY
    trade: Trade | NoPrice = NoPrice.EMPTY
    halted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRules:
    """How old a price may be, how far ahead of our clock its time, and how wide a quote (1/100 percent of midpoint)."""

    max_age: timedelta = timedelta(seconds=30)
    clock_tolerance: timedelta = timedelta(seconds=2)
    max_spread_bps: int = 200


def of_market(price: ReferencePrice) -> bool:
    """Tell whether a price is that of a quote or a trade, which ages in seconds; a close does not."""
    return price.source.startswith((_MIDPOINT, _TRADE))


def price_of(
    symbol: str, seen: Seen, *, at: datetime, opened: datetime, rules: PriceRules
) -> ReferencePrice | PriceUnavailable:
    """Apply the rule above to what is known of a symbol at an instant of the session that opened at `opened`."""
    quote, trade = seen.quote, seen.trade
    if seen.halted or (isinstance(quote, Quote) and quote.halted):
        return PriceUnavailable(symbol, NoPrice.HALTED)
    no_quote = quote if isinstance(quote, NoPrice) else _untimely(quote.at, at, opened, rules)
    bounds = None if isinstance(quote, NoPrice) or no_quote else quote
    if bounds is not None:
        no_quote = _unfit(bounds, rules)
        if no_quote is None:
            middle = ((bounds.bid + bounds.ask) / 2).quantize(_TICK, rounding=ROUND_HALF_UP)
            return ReferencePrice(price=middle, source=f"{_MIDPOINT}{bounds.source}", as_of=bounds.at)
    no_trade = trade if isinstance(trade, NoPrice) else _untimely(trade.at, at, opened, rules)
    if not isinstance(trade, NoPrice) and no_trade is None:
        if bounds is None or _within(trade.price, bounds, rules):
            return ReferencePrice(price=trade.price, source=f"{_TRADE}{trade.source}", as_of=trade.at)
        no_trade = NoPrice.OUT_OF_BOUNDS
    if (no_quote, no_trade) == (NoPrice.EMPTY, NoPrice.EMPTY):
        return PriceUnavailable(symbol, NoPrice.EMPTY)
    worst = no_trade if no_quote in (None, NoPrice.EMPTY) else no_quote
    return PriceUnavailable(symbol, worst or NoPrice.EMPTY, f"quote: {no_quote}; last trade: {no_trade}")


def _untimely(time: datetime, at: datetime, opened: datetime, rules: PriceRules) -> NoPrice | None:
    if time.utcoffset() is None:
        return NoPrice.NAIVE
    if time > at + rules.clock_tolerance:
        return NoPrice.FUTURE
    if at - time > rules.max_age:
        return NoPrice.STALE
    return NoPrice.OTHER_SESSION if time < opened else None


def _unfit(quote: Quote, rules: PriceRules) -> NoPrice | None:
    if not quote.bid and not quote.ask:
        return NoPrice.NO_SIDE
    if not quote.bid or not quote.ask:
        return NoPrice.ONE_SIDED
    if quote.bid > quote.ask:
        return NoPrice.CROSSED
    if not quote.firm:
        return NoPrice.NOT_FIRM
    return NoPrice.WIDE if (quote.ask - quote.bid) * 2 * _BPS > (quote.bid + quote.ask) * rules.max_spread_bps else None


def _within(price: Decimal, quote: Quote, rules: PriceRules) -> bool:
    low, high = (quote.bid, quote.ask) if not quote.bid or not quote.ask else sorted((quote.bid, quote.ask))
    if low and price * _BPS < low * (_BPS - rules.max_spread_bps):
        return False
    return not high or price * _BPS <= high * (_BPS + rules.max_spread_bps)

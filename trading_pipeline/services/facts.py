"""What the guard is told of the market and the account when it judges orders. Unknown stays unknown, which is a no."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import ROUND_FLOOR

import structlog

from trading_pipeline.core.money import TICKS_PER_DOLLAR, to_ticks
from trading_pipeline.core.orders.model import OrderIntent, Purpose, ReferencePrice
from trading_pipeline.core.risk.clearance import MarketFacts
from trading_pipeline.errors import DataQualityError, NotASession, PipelineError, TransientError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.equity import equity_in

_UNKNOWN: tuple[type[PipelineError], ...] = (DataQualityError,)
_UNKNOWN_ON_THE_WAY_OUT = (*_UNKNOWN, TransientError)
"""What is unknown of a flatten, which asks for no equity and no volume: a store that is away keeps nobody in."""

log = structlog.get_logger(__name__)


class Facts:
    """The facts for some orders: time, equity and average volumes as of now, read once for all of them.

    An order that waited longer than its quote or trade may be old, in a crash say, is judged at the price of now. All
    such symbols are asked for together. The guard gives one that it cleared before the same clearance again.
    """

    def __init__(self, account: TradingAccount, intents: Sequence[OrderIntent]) -> None:
        self._account = account
        self._outdated = account.outdated({one.client_order_id: one.reference for one in intents})
        symbols_anew = {one.symbol for one in intents if one.client_order_id in self._outdated}
        self._anew = account.prices_now(sorted(symbols_anew)) or {}
        # After the prices, which are of no later instant then.
        self._instant = account.instant()
        out = all(intent.purpose is Purpose.FLATTEN for intent in intents)
        unknown = _UNKNOWN_ON_THE_WAY_OUT if out else _UNKNOWN
        self._equity = _equity_ticks(account, unknown)
        symbols: dict[date, set[str]] = {}
        for intent in intents:
            symbols.setdefault(intent.session, set()).add(intent.symbol)
        self._volumes = {session: _volumes(account, session, names, unknown) for session, names in symbols.items()}

    def of(self, intent: OrderIntent) -> MarketFacts:
        """Gather the facts for one order: its reference price with the age it has where the account stood in time."""
        reference = self.reference(intent)
        return MarketFacts(
            reference_ticks=to_ticks(reference.price),
            reference_age_seconds=self._age_seconds(reference.as_of),
            adv_shares=self._volumes[intent.session].get(intent.symbol),
            equity_ticks=self._equity,
        )

    def reference(self, intent: OrderIntent) -> ReferencePrice:
        """Return the price an order is judged at: its own, or that of now when its own is too old."""
        price = self._anew.get(intent.symbol) if intent.client_order_id in self._outdated else None
        return price if isinstance(price, ReferencePrice) else intent.reference

    def why_unpriced(self, intent: OrderIntent) -> str:
        """Return why an order has no price that may be judged now, and what to do; empty when it has one.

        A flatten is judged at the price it came with: nothing unknown keeps a person from getting out.
        """
        if intent.client_order_id not in self._outdated or intent.purpose is Purpose.FLATTEN:
            return ""
        price = self._anew.get(intent.symbol)
        if isinstance(price, ReferencePrice):
            return ""
        seconds = (self._account.clock.now() - intent.reference.as_of).total_seconds()
        why = "the source gave none" if price is None else price.message
        return (
            f"{intent.symbol}: its price of {intent.reference.source} is {seconds} s old, too old to send an order at, "
            f"and there is no newer one ({why}): send it again when the symbol is quoted"
        )

    def _age_seconds(self, as_of: datetime) -> int | None:
        """Count the seconds the exchange was open since `as_of`, whole minutes; None when that cannot be known.

        A price of the future has no age: its date is wrong, or our time is.
        """
        if self._instant is None or as_of > self._instant:
            return None
        try:
            return self._account.calendar.open_minutes(as_of, self._instant) * 60
        except NotASession:
            return None


def _equity_ticks(account: TradingAccount, unknown: tuple[type[PipelineError], ...]) -> int | None:
    session = account.session()
    if session is None:
        return None
    try:
        equity = equity_in(account, session)
    except unknown as why:
        log.warning("the equity is unknown: no order that grows a position is cleared", reason=why.message)
        return None
    return int((equity * TICKS_PER_DOLLAR).to_integral_value(rounding=ROUND_FLOOR))


def _volumes(
    account: TradingAccount, session: date, symbols: set[str], unknown: tuple[type[PipelineError], ...]
) -> dict[str, int]:
    if account.valuation is None:
        return {}
    try:
        return account.valuation.volumes(session, symbols)
    except unknown as why:
        log.warning("average volumes are unknown: only a flatten is cleared", reason=why.message)
        return {}

"""Plans, parents and orders of slices, as tests want them."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from support.trading import ACCOUNT, ACTION, SESSION, intent
from trading_pipeline.adapters.store.ledger import NewOrder
from trading_pipeline.adapters.store.ledger.slices import NewParent, ParentRecord, SliceRecord, Traded
from trading_pipeline.core.orders.model import OrderIntent, Purpose, ReferencePrice, Side
from trading_pipeline.core.orders.twap import TwapRequest, plan_twap
from trading_pipeline.core.pricing import PriceRules, of_market
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import NoPrice, PriceUnavailable

TRADED = xnys().next(SESSION)
OPENED = xnys().open_at(TRADED)


def request(symbol: str = "AAPL", qty: int = 40, *, minutes: int = 4, account: str = ACCOUNT, **asked) -> TwapRequest:
    """Ask for a buy in slices of a minute."""
    known = {"side": Side.BUY, "strategy_id": "tested"}
    return TwapRequest(account=account, symbol=symbol, qty=qty, minutes=minutes, **known | asked)


def new_parent(asked: TwapRequest | None = None, *, now: datetime = OPENED, adv_shares: int = 1_000_000) -> NewParent:
    """Plan a request, ready to be recorded."""
    plan = plan_twap(asked or request(), trade_session=TRADED, now=now, adv_shares=adv_shares, calendar=xnys())
    return NewParent(plan=plan, session=SESSION, adv_shares=adv_shares, action=ACTION, run_id="run")


def slice_intent(parent: ParentRecord, number: int, qty: int, **other: object) -> OrderIntent:
    """Build the order of a slice; what does not fit its parent is said at the call."""
    fields = {name: getattr(intent(parent.symbol, parent.side, qty), name) for name in OrderIntent.__slots__}
    slices = {"purpose": Purpose.SLICE, "parent_id": parent.parent_id, "repeat": number}
    return OrderIntent(**fields | {"account": parent.account} | slices | other)


def slice_order(parent: ParentRecord, number: int, qty: int, **other: object) -> NewOrder:
    """Build a new order around it."""
    return NewOrder(intent=slice_intent(parent, number, qty, **other))


def at(one: SliceRecord, seconds: float = 0) -> datetime:
    """Return an instant after a slice was due."""
    return one.due_at + timedelta(seconds=seconds)


@dataclass
class Prices:
    """A source of prices that has one for every symbol, until a test takes it away."""

    price: Decimal = Decimal(100)
    missing: str = ""
    source: str = "test"
    asked: list[list[str]] = field(default_factory=list)

    def prices(self, symbols: Collection[str], at: datetime) -> dict[str, ReferencePrice | PriceUnavailable]:
        """Price every symbol as of the instant."""
        self.asked.append(list(symbols))
        if self.missing:
            return {symbol: PriceUnavailable(symbol, NoPrice.STALE, self.missing) for symbol in symbols}
        return {symbol: ReferencePrice(price=self.price, source=self.source, as_of=at) for symbol in symbols}

    def still_counts(self, price: ReferencePrice, at: datetime) -> bool:
        """Let quotes and trades count for as long as by default."""
        return not of_market(price) or at - price.as_of <= PriceRules().max_age


@dataclass
class Volumes:
    """A source of volumes that tells what a test says."""

    shares: int | None = None
    asked: list[tuple[datetime, datetime]] = field(default_factory=list)

    def traded(self, symbol: str, since: datetime, now: datetime) -> Traded:
        """Tell."""
        del symbol
        self.asked.append((since, now))
        return Traded(shares=self.shares, until=None if self.shares is None else now)

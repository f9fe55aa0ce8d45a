"""From a target portfolio to orders: target minus position minus what is pending."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from trading_pipeline.core.orders.model import OrderIntent, Purpose, ReferencePrice, Side
from trading_pipeline.core.orders.rules import first_leg


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetShares:
    """Whole shares wanted of one symbol (signed), and the price its order is judged at.

    `affordable` are the shares that the dollars of the target buy at that price, where it is another one than the
    target was sized at; never more than `shares`.
    """

    symbol: str
    shares: int
    reference: ReferencePrice
    affordable: int | None = None

    def at(self, price: ReferencePrice) -> "TargetShares":
        """Return the target at the price of order time."""
        within = int(abs(self.shares) * self.reference.price / price.price)
        affordable = min(abs(self.shares), within) * (1 if self.shares > 0 else -1)
        return replace(self, reference=price, affordable=affordable)

    def goal(self, held: Decimal) -> Decimal:
        """Return the shares to hold: what was bought at a better price is kept, and nothing is bought beyond means."""
        bounds = sorted((self.shares, self.shares if self.affordable is None else self.affordable))
        return min(max(held, Decimal(bounds[0])), Decimal(bounds[1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A symbol for which no order is made, and why."""

    symbol: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPlan:
    """Orders to submit and symbols left out."""

    intents: tuple[OrderIntent, ...]
    skipped: tuple[Skipped, ...]


def plan_orders(
    *,
    account: str,
    strategy_id: str,
    session: date,
    trade_session: date,
    targets: Sequence[TargetShares],
    positions: Mapping[str, Decimal],
    pending: Mapping[str, Decimal],
    excluded: Mapping[str, str],
    purpose: Purpose = Purpose.REBALANCE,
    crosses_zero: bool = True,
) -> OrderPlan:
    """Return one market day order a symbol whose holding, pending orders counted, differs from its target.

    Positions are signed shares and may be fractional: the difference is rounded toward zero to whole shares, so that an
    order never overshoots its target. Reducing orders come first: they free exposure for the others. A position
    without a target, and a symbol in `excluded` (with its reason), is skipped and named. Where no order may cross zero,
    what closes a position is ordered and the rest is skipped: it is the difference that is left once the position is
    flat.
    """
    intents: list[OrderIntent] = []
    skipped = [Skipped(symbol=symbol, reason=reason) for symbol, reason in sorted(excluded.items())]
    wanted = {target.symbol: target for target in targets}
    untargeted = sorted(set(positions) - set(wanted) - set(excluded))
    skipped += [Skipped(symbol=symbol, reason="held, but no target: no price for the session") for symbol in untargeted]
    for symbol, target in sorted(wanted.items()):
        if symbol in excluded:
            continue
        held, waiting = positions.get(symbol, Decimal(0)), pending.get(symbol, Decimal(0))
        wanted_now = difference = int(target.goal(held + waiting) - held - waiting)
        if not crosses_zero:
            difference = first_leg(held, waiting, wanted_now)
        if difference != wanted_now:
            left = f"{wanted_now - difference:+d} shares wait until the position or the pending order is closed"
            skipped.append(Skipped(symbol=symbol, reason=left))
        if difference == 0:
            continue
        intents.append(
            OrderIntent(
                account=account,
                strategy_id=strategy_id,
                session=session,
                trade_session=trade_session,
                symbol=symbol,
                side=Side.BUY if difference > 0 else Side.SELL,
                qty=abs(difference),
                reference=target.reference,
                purpose=purpose,
            )
        )
    intents.sort(key=lambda intent: (not _reduces(intent, positions), intent.symbol))
    return OrderPlan(intents=tuple(intents), skipped=tuple(skipped))


def _reduces(intent: OrderIntent, positions: Mapping[str, Decimal]) -> bool:
    return positions.get(intent.symbol, Decimal(0)) * intent.side.sign < 0

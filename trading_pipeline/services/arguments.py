"""What an operator says beside who acts and why: texts, read into what the services ask for."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, Final

from trading_pipeline.core.orders.twap import TwapRequest, WhenLate
from trading_pipeline.core.risk.limits import LimitChange
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import ConfigError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.single_orders import OPERATOR_STRATEGY, OrderChange
from trading_pipeline.services.twap import side_of

_NOT_SAID: Final = frozenset({"account", "strategy_id", "symbol"})
"""Fields of a large order that are known otherwise."""
TWAP_FIELDS: Final = tuple(one.name for one in fields(TwapRequest) if one.name not in _NOT_SAID)
"""What may be said of a large order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """What an operator says beside who acts and why, as texts; empty for what was not said.

    Attributes:
        symbol: the symbol acted on, or whose own limits are changed.
        until: ISO instant with its offset, at which the change ends by itself.
        session: the session acted on; with `through` the first of a range, both ends included.
        through: the last of that range; empty: the same.
        order: client order id of the order acted on.
        qty: whole shares in all that the order is to be for.
        limit_price: dollars.
        stop_price: dollars.
        parent: id of the large order acted on.
        twap: what is asked of a large order, by the name of its field in `TwapRequest`; those left out have defaults.
        limits: new values of single limits by name; `off` and, for a symbol, `inherit` are values too.
    """

    symbol: str = ""
    until: str = ""
    limits: Mapping[str, str] = field(default_factory=dict)
    session: str = ""
    through: str = ""
    order: str = ""
    qty: str = ""
    limit_price: str = ""
    stop_price: str = ""
    parent: str = ""
    twap: Mapping[str, str] = field(default_factory=dict)

    @property
    def ticker(self) -> str:
        """The symbol in its usual form."""
        return self.symbol.strip().upper()

    @property
    def sessions(self) -> tuple[date, date]:
        """First and last session acted on.

        Raises:
            NotASession: a key that is none.
            ConfigError: the last comes before the first.
        """
        first = xnys().require(self.session.strip())
        last = xnys().require(self.through.strip()) if self.through.strip() else first
        if last < first:
            raise ConfigError(f"{last} comes before {first}: give the first session, then the last", through=str(last))
        return first, last

    @property
    def end(self) -> datetime | None:
        """The end as an aware instant, None without one.

        Raises:
            ConfigError: not an ISO instant with an offset.
        """
        return _instant(self.until)

    @property
    def order_change(self) -> OrderChange:
        """What is to be different about the order.

        Raises:
            ConfigError: a quantity that is no whole number of shares, or a price that is no number of dollars.
        """
        qty = self.qty.strip()
        if qty and not (qty.isascii() and qty.isdigit() and int(qty)):
            raise ConfigError(f"--qty must be a whole number of shares above 0, not {self.qty!r}", qty=self.qty)
        return OrderChange(
            qty=int(qty) if qty else None,
            limit_price=_price("--limit", self.limit_price),
            stop_price=_price("--stop", self.stop_price),
        )

    @property
    def changes(self) -> list[LimitChange]:
        """The limits to change.

        Raises:
            ConfigError: an unknown limit, a value that is none of it, or one that a symbol cannot have.
        """
        symbol = self.ticker or None
        return [LimitChange.from_text(name, text, symbol=symbol, until=self.end) for name, text in self.limits.items()]


class Takes(StrEnum):
    """What a verb wants to be told."""

    NOTHING = "nothing"
    SYMBOL = "symbol"
    SYMBOL_AND_END = "symbol_and_end"
    LIMITS = "limits"
    BARS = "bars"
    ORDER = "order"
    CHANGE = "change"
    POSITION = "position"
    TWAP = "twap"
    PARENT = "parent"
    SESSION = "session"


def _instant(text: str) -> datetime | None:
    if not text.strip():
        return None
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise ConfigError(
            f"{text!r} is no instant with its offset: write it like 2024-07-03T20:00:00+00:00", instant=text
        )
    return instant


def _price(name: str, text: str) -> Decimal | None:
    if not text.strip():
        return None
    try:
        price = Decimal(text.strip())
    except InvalidOperation:
        price = Decimal(0)
    if not price.is_finite() or price <= 0:
        raise ConfigError(f"{name} must be a price in dollars above 0, not {text!r}", price=text)
    return price


def twap_request(account: TradingAccount, said: Arguments) -> TwapRequest:
    """Read what is asked of a large order.

    Raises:
        ConfigError: a number that is none, an instant without its offset, or a word that is not known.
        OperatorError: a number that makes no sense.
    """
    if unknown := sorted(set(said.twap) - set(TWAP_FIELDS)):
        raise ConfigError(f"a large order has no {', '.join(unknown)}: it takes {', '.join(TWAP_FIELDS)}")
    asked = {name: text.strip() for name, text in said.twap.items() if text.strip()}
    late = asked.pop("when_late", WhenLate.RUN.value).lower()
    if late not in set(WhenLate):
        raise ConfigError(f"what becomes of a late slice is run or expire, not {late!r}", when_late=late)
    start = _instant(asked.pop("start", ""))
    side = side_of(asked.pop("side", ""))
    if wrong := [f"{name}={text}" for name, text in asked.items() if not (text.isascii() and text.isdigit())]:
        raise ConfigError(f"whole numbers are wanted, not {', '.join(wrong)}")
    if missing := [name for name in ("qty", "minutes") if name not in asked]:
        raise ConfigError(f"a large order needs its {' and '.join(missing)}")
    numbers: dict[str, Any] = {name: int(text) for name, text in asked.items()}
    return TwapRequest(
        account=account.account,
        strategy_id=OPERATOR_STRATEGY,
        symbol=said.ticker,
        side=side,
        start=start,
        when_late=WhenLate(late),
        **numbers,
    )

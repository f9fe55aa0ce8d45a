"""The limits of the guard: names with units, defaults, what each one protects from, and how they change."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Self

from trading_pipeline.core.money import LARGEST_EXACT_INTEGER, TICKS_PER_DOLLAR
from trading_pipeline.core.risk.monitor_limits import MonitorLimits
from trading_pipeline.errors import ConfigError

OFF = "off"
"""How a limit that does not bind is written."""

INHERIT = "inherit"
"""How the end of a symbol's own limit is written: the account's limit holds again."""

OVERRIDABLE = ("max_order_shares", "max_order_notional", "max_position_shares", "max_position_notional")
"""Limits that a symbol may have of its own."""

LimitValue = int | Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskLimits:
    """Limits of one account. Shares are whole, money is dollars; equal to a limit passes. Two may be off.

    Attributes:
        max_order_shares: fat-finger limit on one order, shares.
        max_order_notional: fat-finger limit on one order, dollars at the higher of reference and limit price.
        price_collar_bps: largest distance of a limit price from the reference price, 1/100 percent of the reference.
        max_reference_age_seconds: largest age of the reference price, in seconds in which the exchange was open.
        max_order_adv_bps: largest order as a share of the 20-day average daily volume, 1/100 percent; None is off.
        max_position_shares: largest absolute position in one symbol, pending orders of the same side counted.
        max_position_notional: the same in dollars at the reference price.
        max_position_equity_bps: the same as a share of the account's equity, 1/100 percent; None is off.
        max_gross_notional: largest sum over symbols of the worst-case absolute position, dollars.
        max_long_notional: largest sum of worst-case long positions, dollars.
        max_short_notional: largest sum of worst-case short positions, dollars.
        max_net_notional: largest distance of long minus short from zero, in the worst case, dollars.
        max_orders_per_session: orders cleared for one exchange session.
        max_notional_per_session: dollars of the orders of one exchange session, filled or still able to.
        max_orders_per_second: size and refill of the token bucket that bounds bursts.
        max_orders_per_minute: size and refill of the token bucket that bounds sustained rates.
        duplicate_window_seconds: for how long the same order under another id counts as a duplicate.
        max_self_match_shares: own pending shares of the other side that an order's price may reach.
        quiet_period_seconds: how long only reducing orders clear after the breaker was reset.
        monitor: when the breaker trips by itself. Kept in the ledger alone: the book does not know them.
    """

    max_order_shares: int = 5_000
    max_order_notional: Decimal = Decimal(100_000)
    price_collar_bps: int = 1_000
    max_reference_age_seconds: int = 1_800
    max_order_adv_bps: int | None = 500
    max_position_shares: int = 5_000
    max_position_notional: Decimal = Decimal(250_000)
    max_position_equity_bps: int | None = 5_000
    max_gross_notional: Decimal = Decimal(1_000_000)
    max_long_notional: Decimal = Decimal(1_000_000)
    max_short_notional: Decimal = Decimal(500_000)
    max_net_notional: Decimal = Decimal(1_000_000)
    max_orders_per_session: int = 500
    max_notional_per_session: Decimal = Decimal(2_000_000)
    max_orders_per_second: int = 50
    max_orders_per_minute: int = 500
    duplicate_window_seconds: int = 60
    max_self_match_shares: int = 0
    quiet_period_seconds: int = 300
    monitor: MonitorLimits = field(default_factory=MonitorLimits)

    def __post_init__(self) -> None:
        for name in LIMIT_NAMES:
            check_limit(name, getattr(self, name))

    @classmethod
    def from_text(cls, values: Mapping[str, str]) -> Self:
        """Build limits from text; a limit that is not named keeps its default.

        Raises:
            ConfigError: an unknown limit, or a value that is not a number of its unit.
        """
        return cls().with_values({name: limit_from_text(name, text) for name, text in values.items()})

    def with_values(self, values: Mapping[str, LimitValue]) -> Self:
        """Return the limits with some of them replaced, those of the monitor among them."""
        own: dict[str, Any] = {name: value for name, value in values.items() if name in LIMIT_NAMES}
        monitors: dict[str, Any] = {name: value for name, value in values.items() if name not in LIMIT_NAMES}
        return replace(self, **own, monitor=replace(self.monitor, **monitors))

    def value(self, name: str) -> LimitValue:
        """Return one limit by name, the monitor's among them."""
        value: LimitValue = getattr(self if name in LIMIT_NAMES else self.monitor, name)
        return value

    def as_text(self) -> dict[str, str]:
        """Return every limit as text, for configuration, ledger and people."""
        values = asdict(self)
        return {name: limit_as_text(value) for name, value in (values | values.pop("monitor")).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitChange:
    """One limit to be changed.

    Attributes:
        limit: name of the limit.
        value: in the limit's unit; None switches an optional limit off, or ends a symbol's own limit.
        symbol: the symbol whose own limit this is; None for the account's.
        until: aware instant at which the value before holds again; None for a change that stays.

    Raises:
        ConfigError: an unknown limit, one that symbols do not have, or a naive instant.
        ValueError: a value that is not a number of the limit's unit.
    """

    limit: str
    value: LimitValue
    symbol: str | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        _require_known(self.limit)
        if self.symbol is not None and self.limit not in OVERRIDABLE:
            raise ConfigError(
                f"{self.limit} holds for the whole account; a symbol may have its own {', '.join(OVERRIDABLE)}",
                limit=self.limit,
                symbol=self.symbol,
            )
        if self.until is not None and self.until.tzinfo is None:
            raise ConfigError(f"the end of a change must say its time zone, not {self.until}", limit=self.limit)
        if self.symbol is None or self.value is not None:
            check_limit(self.limit, self.value)
        elif self.until is not None:
            raise ConfigError(f"{INHERIT} ends {self.symbol}'s own {self.limit} now: it takes no end", limit=self.limit)

    @classmethod
    def from_text(cls, limit: str, text: str, *, symbol: str | None = None, until: datetime | None = None) -> Self:
        """Build a change from the words of an operator.

        Raises:
            ConfigError: an unknown limit, or a text that is no value of it.
        """
        value = None if symbol is not None and text == INHERIT else limit_from_text(limit, text)
        return cls(limit=limit, value=value, symbol=symbol, until=until)

    @property
    def text(self) -> str:
        """The value as an operator writes it."""
        return INHERIT if self.symbol is not None and self.value is None else limit_as_text(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSet:
    """The limits of an account and the changes that lie over them: symbols' own and those that expire, oldest first."""

    limits: RiskLimits
    changes: tuple[LimitChange, ...] = ()

    def changed(self, change: LimitChange) -> "LimitSet":
        """Return the set after a change. One that stays ends every earlier one of its limit and symbol."""
        if change.until is not None:
            return replace(self, changes=(*self.changes, change))
        kept = tuple(one for one in self.changes if (one.limit, one.symbol) != (change.limit, change.symbol))
        if change.symbol is None:
            return LimitSet(limits=self.limits.with_values({change.limit: change.value}), changes=kept)
        return replace(self, changes=kept if change.value is None else (*kept, change))

    def in_force(self, now: datetime) -> "LimitSet":
        """Return the set without the changes that have expired."""
        return replace(self, changes=tuple(one for one in self.changes if one.until is None or one.until > now))

    def effective(self, now: datetime, symbol: str | None = None) -> RiskLimits:
        """Return the limits as they bind now, for the account or for one symbol. The newest change in force wins."""
        changes = self.in_force(now).changes
        for_account = {one.limit: one.value for one in changes if one.symbol is None}
        own = {one.limit: one.value for one in changes if symbol is not None and one.symbol == symbol}
        return self.limits.with_values(for_account | own)


def limit_from_text(name: str, text: str) -> LimitValue:
    """Read a limit in its own unit.

    Raises:
        ConfigError: an unknown limit, or a text that is no value of it.
    """
    kind = _require_known(name)
    if text.strip().lower() == OFF:
        value: LimitValue = None
    else:
        try:
            value = Decimal(text) if kind is Decimal else int(text)
        except (ValueError, InvalidOperation) as error:
            raise ConfigError(f"{name}: {text!r} is not a number of its unit", limit=name, value=text) from error
    try:
        check_limit(name, value)
    except ValueError as error:
        raise ConfigError(str(error), limit=name, value=text) from error
    return value


def in_dollars(name: str) -> bool:
    """Tell whether a limit is money: dollars outside, 1/10,000 dollar in the book."""
    return name in LIMIT_NAMES and _KINDS[name] is Decimal


def may_be_off(name: str) -> bool:
    """Tell whether a limit may be switched off."""
    return name in _KINDS and _KINDS[name] == (int | None)


def limit_as_text(value: LimitValue) -> str:
    """Write a limit in its own unit."""
    return OFF if value is None else str(value)


def check_limit(name: str, value: object) -> None:
    """Refuse a value that the book could not hold exactly, before it is written anywhere.

    Raises:
        ValueError: not a whole number of the unit (shares, seconds, 1/10,000 dollar) from 0 up to 2**53, or off where
            the limit must bind.
    """
    kind = _KINDS[name]
    if value is None and may_be_off(name):
        return
    if name in _OF_MONITOR and kind is Decimal:
        if isinstance(value, Decimal) and value.is_finite() and value >= 0:
            return
        msg = f"{name} must be a finite number of at least 0, not {value!r}"
        raise ValueError(msg)
    if kind is Decimal:
        _require_whole_ticks(name, value)
    elif type(value) is not int or not 0 <= value < LARGEST_EXACT_INTEGER:
        msg = f"{name} must be a whole number of at least 0 and below 2**53, not {value!r}"
        raise ValueError(msg)


def _require_known(name: str) -> object:
    if name not in _KINDS:
        raise ConfigError(f"unknown limit {name}; there are {', '.join(_KINDS)}", unknown=name)
    return _KINDS[name]


def _require_whole_ticks(name: str, value: object) -> None:
    if isinstance(value, Decimal) and value.is_finite():
        ticks = value * TICKS_PER_DOLLAR
        if 0 <= value < Decimal(LARGEST_EXACT_INTEGER) / TICKS_PER_DOLLAR and ticks == ticks.to_integral_value():
            return
    msg = f"{name} must be a Decimal of whole 1/10,000 dollars from 0 and below 2**53 of them, not {value!r}"
    raise ValueError(msg)


_OF_MONITOR: Mapping[str, object] = {one.name: one.type for one in fields(MonitorLimits)}
LIMIT_NAMES = tuple(one.name for one in fields(RiskLimits) if one.name != "monitor")
"""The limits of the guard, in the order of its book."""

_KINDS: Mapping[str, object] = {
    **{one.name: one.type for one in fields(RiskLimits) if one.name in LIMIT_NAMES},
    **_OF_MONITOR,
}

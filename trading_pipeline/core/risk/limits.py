"""The limits of the guard: names with units, defaults, and what each one protects from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from decimal import Decimal, InvalidOperation
from typing import Any, Self

from trading_pipeline.core.money import LARGEST_EXACT_INTEGER, TICKS_PER_DOLLAR
from trading_pipeline.core.risk.monitor_limits import MonitorLimits
from trading_pipeline.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskLimits:
    """Limits of one account. Shares are whole, money is dollars; equal to a limit passes.

    Attributes:
        max_position_shares: largest absolute position in one symbol, pending orders of the same side counted.
        max_position_notional: the same in dollars at the reference price.
        max_gross_notional: largest sum over symbols of the worst-case absolute position in dollars.
        max_order_shares: fat-finger limit on one order, shares.
        max_order_notional: fat-finger limit on one order, dollars.
        max_orders_per_session: orders cleared for one exchange session.
        quiet_period_seconds: how long only reducing orders clear after the breaker was reset.
        monitor: when the breaker trips by itself. Kept in the ledger alone: the book does not know them.
    """

    max_position_shares: int = 5_000
    max_position_notional: Decimal = Decimal(250_000)
    max_gross_notional: Decimal = Decimal(1_000_000)
    max_order_shares: int = 5_000
    max_order_notional: Decimal = Decimal(100_000)
    max_orders_per_session: int = 500
    quiet_period_seconds: int = 300
    monitor: MonitorLimits = field(default_factory=MonitorLimits)

    def __post_init__(self) -> None:
        for name, kind in _kinds(type(self)).items():
            value = getattr(self, name)
            if not Decimal(value).is_finite() or value < 0:
                msg = f"{name} must be a finite number of at least 0, not {value}"
                raise ValueError(msg)
            if kind is Decimal:
                _require_whole_ticks(name, value)

    @classmethod
    def from_text(cls, values: Mapping[str, str]) -> Self:
        """Build limits from text; a limit that is not named keeps its default.

        Raises:
            ConfigError: an unknown limit, or a value that is not a number of its unit.
        """
        own, monitors = _kinds(cls), _kinds(MonitorLimits)
        kinds = own | monitors
        unknown = sorted(set(values) - set(kinds))
        if unknown:
            raise ConfigError(f"unknown limits {', '.join(unknown)}; there are {', '.join(kinds)}", unknown=unknown)
        try:
            parsed: dict[str, Any] = {
                name: Decimal(text) if kinds[name] is Decimal else int(text) for name, text in values.items()
            }
            monitor = MonitorLimits(**{name: value for name, value in parsed.items() if name in monitors})
            return cls(monitor=monitor, **{name: value for name, value in parsed.items() if name in own})
        except (ValueError, InvalidOperation) as error:
            raise ConfigError(f"a limit is not a number of its unit: {error}", values=dict(values)) from error

    def as_text(self) -> dict[str, str]:
        """Return every limit as text, for configuration, ledger and people."""
        values = asdict(self)
        return {name: str(value) for name, value in (values | values.pop("monitor")).items()}


def _kinds(limits: type) -> dict[str, Any]:
    """Return the type of every single limit of a dataclass by name."""
    return {one.name: one.type for one in fields(limits) if one.type is not MonitorLimits}


def _require_whole_ticks(name: str, value: object) -> None:
    """Refuse a limit that the book could not hold exactly, before it is written anywhere."""
    if isinstance(value, Decimal) and value < Decimal(LARGEST_EXACT_INTEGER) / TICKS_PER_DOLLAR:
        ticks = value * TICKS_PER_DOLLAR
        if ticks == ticks.to_integral_value():
            return
    msg = f"{name} must be a Decimal of whole 1/10,000 dollars below 2**53 of them, not {value!r}"
    raise ValueError(msg)

"""The rules that trip the breaker without a person: facts and limits in, one reading a rule out. No I/O."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from trading_pipeline.core.money import cents
from trading_pipeline.core.risk.monitor_limits import MonitorLimits

WARNING_PCT = Decimal(80)
"""From this share of a limit on, it is worth a warning."""

_ZERO, _HUNDRED = Decimal(0), Decimal(100)
_LONGEST_REASON = 500


class Rule(StrEnum):
    """What trips the breaker. The order is that of the table operators see, and of the reason of a trip."""

    DAILY_LOSS = "daily_loss"
    DAILY_LOSS_PCT = "daily_loss_pct"
    DRAWDOWN = "drawdown"
    BROKER_ERRORS = "broker_errors"
    REJECT_RATE = "reject_rate"
    STALE_MARKS = "stale_marks"
    STALE_DATA = "stale_data"
    STUCK_ORDER = "stuck_order"
    MISMATCH = "mismatch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Equity:
    """What the account is worth, dollars: now, at the close before the session, and at its highest so far."""

    now: Decimal
    before: Decimal
    peak: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorFacts:
    """What is known of an account at one instant. A text in the place of a value says why that is unknown.

    Attributes:
        session: the exchange session that profit and loss count for.
        equity: dollars.
        mark_age_minutes: age of the oldest price of a held symbol in minutes of trading; 0 when nothing is held.
        oldest_mark: the symbol of it, for people.
        broker_errors: calls in a row that the broker did not answer.
        last_broker_error: the broker's own words, or ours.
        answered: orders the broker answered in the window of the reject rate.
        rejected: those of them it rejected.
        sessions_without_freshness: sessions up to the account's for which no data were judged fresh enough.
        unconfirmed_seconds: age of the oldest order sent without an answer; 0 when there is none.
        oldest_unconfirmed: its client order id.
        differences: one line a difference of ledger, book and broker.
    """

    session: date
    equity: Equity | str
    mark_age_minutes: int | str = 0
    oldest_mark: str = ""
    broker_errors: int = 0
    last_broker_error: str = ""
    answered: int = 0
    rejected: int = 0
    sessions_without_freshness: int | str = 0
    unconfirmed_seconds: int = 0
    oldest_unconfirmed: str = ""
    differences: tuple[str, ...] | str = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One rule as it stands: what was observed, None when unknown, against its limit, both in `unit`."""

    rule: Rule
    observed: Decimal | None
    limit: Decimal
    unit: str
    detail: str = ""

    @property
    def breached(self) -> bool:
        """True above the limit, and when nobody knows: an unknown fact is never a zero."""
        return self.observed is None or self.observed > self.limit

    @property
    def headroom(self) -> Decimal | None:
        """What is left up to the limit, negative beyond it; None when unknown."""
        return None if self.observed is None else self.limit - self.observed

    @property
    def used_pct(self) -> Decimal | None:
        """The share of the limit that is used; None when unknown, or when there is none and it is exceeded."""
        if self.observed is None or (self.observed and not self.limit):
            return None
        return self.observed / self.limit * _HUNDRED if self.limit else _ZERO

    @property
    def near(self) -> bool:
        """True from 80 % of the limit on, and beyond it."""
        return self.breached or (self.used_pct is not None and self.used_pct > WARNING_PCT)

    def describe(self) -> str:
        """Return rule, observed value and limit as one phrase, fit to be the reason of a trip."""
        observed = "unknown" if self.observed is None else _number(self.observed)
        detail = f" ({self.detail})" if self.detail else ""
        text = f"{self.rule}: {observed} {self.unit} against a limit of {_number(self.limit)}{detail}"
        return "".join(letter if letter.isprintable() else " " for letter in text)[:_LONGEST_REASON]

    def as_row(self) -> dict[str, Any]:
        """Return the reading as a row of the table operators see."""
        return {
            "rule": self.rule.value,
            "breached": self.breached,
            "observed": "unknown" if self.observed is None else _number(self.observed),
            "limit": _number(self.limit),
            "headroom": "" if self.headroom is None else _number(self.headroom),
            "used_pct": "" if self.used_pct is None else f"{self.used_pct:.1f}",
            "unit": self.unit,
            "detail": self.detail,
        }


def judge(facts: MonitorFacts, limits: MonitorLimits) -> tuple[Reading, ...]:
    """Read every rule, in their order."""
    return (*_money(facts, limits), *_broker(facts, limits), *_data(facts, limits), *_books(facts, limits))


def _money(facts: MonitorFacts, limits: MonitorLimits) -> tuple[Reading, ...]:
    def reading(rule: Rule, of: Callable[[Equity], Decimal | None], limit: Decimal, unit: str, detail: str) -> Reading:
        known = facts.equity if isinstance(facts.equity, Equity) else None
        return Reading(
            rule=rule,
            observed=None if known is None else of(known),
            limit=limit,
            unit=unit,
            detail=detail if known is not None else str(facts.equity),
        )

    session = f"session {facts.session}"
    return (
        reading(Rule.DAILY_LOSS, _loss, limits.max_daily_loss_dollars, "dollars", session),
        reading(
            Rule.DAILY_LOSS_PCT,
            lambda equity: _percent(_loss(equity), equity.before),
            limits.max_daily_loss_pct,
            "% of the equity before the session",
            session,
        ),
        reading(
            Rule.DRAWDOWN,
            lambda equity: _percent(max(_ZERO, equity.peak - equity.now), equity.peak),
            limits.max_drawdown_pct,
            "% below the equity peak",
            f"peak {cents(facts.equity.peak):,}" if isinstance(facts.equity, Equity) else "",
        ),
    )


def _broker(facts: MonitorFacts, limits: MonitorLimits) -> tuple[Reading, ...]:
    enough = facts.answered >= max(1, limits.reject_rate_min_orders)
    rate = _HUNDRED * facts.rejected / facts.answered if enough else _ZERO
    window = f"{facts.rejected} of {facts.answered} orders in {limits.reject_rate_window_minutes} minutes"
    few = "" if enough else f", fewer than {limits.reject_rate_min_orders}: not judged"
    return (
        _reading(
            Rule.BROKER_ERRORS,
            facts.broker_errors,
            limits.max_consecutive_broker_errors,
            "unanswered calls in a row",
            facts.last_broker_error if facts.broker_errors else "",
        ),
        _reading(Rule.REJECT_RATE, rate, limits.max_reject_rate_pct, "% rejected", window + few),
    )


def _data(facts: MonitorFacts, limits: MonitorLimits) -> tuple[Reading, ...]:
    return (
        _reading(
            Rule.STALE_MARKS,
            facts.mark_age_minutes,
            limits.max_mark_age_minutes,
            "minutes of trading since the oldest price",
            facts.oldest_mark,
        ),
        _reading(
            Rule.STALE_DATA,
            facts.sessions_without_freshness,
            limits.max_sessions_without_freshness,
            "sessions without data judged fresh",
            "",
        ),
    )


def _books(facts: MonitorFacts, limits: MonitorLimits) -> tuple[Reading, ...]:
    known = not isinstance(facts.differences, str)
    return (
        _reading(
            Rule.STUCK_ORDER,
            facts.unconfirmed_seconds,
            limits.max_unconfirmed_order_seconds,
            "seconds without an answer to an order",
            facts.oldest_unconfirmed,
        ),
        _reading(
            Rule.MISMATCH,
            len(facts.differences) if known else str(facts.differences),
            0,
            "differences of ledger, book and broker",
            "; ".join(facts.differences[:3]) if known else "",
        ),
    )


def _reading(rule: Rule, observed: Decimal | int | str, limit: Decimal | int, unit: str, detail: str) -> Reading:
    if isinstance(observed, str):
        return Reading(rule=rule, observed=None, limit=Decimal(limit), unit=unit, detail=observed)
    return Reading(rule=rule, observed=Decimal(observed), limit=Decimal(limit), unit=unit, detail=detail)


def _loss(equity: Equity) -> Decimal:
    return max(_ZERO, equity.before - equity.now)


def _percent(part: Decimal, whole: Decimal) -> Decimal | None:
    """Return part in percent of whole; of nothing only nothing is a share that is known."""
    if whole > 0:
        return part / whole * _HUNDRED
    return None if part else _ZERO


def _number(value: Decimal) -> str:
    exact = value == value.to_integral_value()
    return f"{value:,.0f}" if exact else f"{value:,.2f}"

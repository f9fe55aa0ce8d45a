"""Cash: what moves it beside fills, and whether the broker's figure is explained to the cent.

expected = opening + fills + activities + rounding before + differences accepted before
A fill moves -(signed shares * price) - fee on its trade date; an activity moves what the broker says.

Alpaca does not say how it rounds a fill whose amount is not in whole cents, and shows cash in whole cents. So each such
fill since the last agreement may explain half a cent, and the figure itself another half. What was rounded is recorded
and expected from then on: it never adds up unseen, and without such fills a single cent is a difference.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from trading_pipeline.core.accounting import ZERO
from trading_pipeline.core.money import cents

HALF_A_CENT: Final = Decimal("0.005")
_FEES: Final = frozenset({"FEE", "CFEE", "PTC", "PTR"})
_TRANSFERS: Final = frozenset({"CSD", "CSW", "JNL", "JNLC", "TRANS", "ACATC"})
_DIVIDENDS: Final = frozenset(
    {"DIV", "DIVCGL", "DIVCGS", "DIVFEE", "DIVFT", "DIVNRA", "DIVROC", "DIVTW", "DIVTXEX", "DIVWH"}
)
_INTEREST: Final = frozenset({"INT", "INTNRA", "INTTW"})


class CashKind(StrEnum):
    """What a movement of cash is: all but a transfer are profit or loss."""

    FEE = "fee"
    DIVIDEND = "dividend"
    INTEREST = "interest"
    TRANSFER = "transfer"
    OTHER = "other"

    @classmethod
    def of(cls, activity_type: str) -> "CashKind":
        """Return the kind of a broker's activity type, `OTHER` for one that is not known."""
        kinds = ((_FEES, cls.FEE), (_DIVIDENDS, cls.DIVIDEND), (_INTEREST, cls.INTEREST), (_TRANSFERS, cls.TRANSFER))
        return next((kind for types, kind in kinds if activity_type in types), cls.OTHER)


@dataclass(frozen=True, slots=True, kw_only=True)
class CashBalance:
    """The cash of an account now, dollars, as it moves on the trade date; fees accrued and not charged yet."""

    cash: Decimal
    accrued_fees: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class CashActivity:
    """One movement of cash beside fills, as the broker tells it.

    Attributes:
        activity_id: the broker's id.
        type: the broker's word for it.
        symbol: of a dividend; empty where there is none.
        amount: dollars added to the cash; a fee is negative, 0 where it moved none.
        session: the exchange session it counts for.
        document: the broker's own words.
    """

    activity_id: str
    type: str
    amount: Decimal
    session: date
    symbol: str = ""
    document: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> CashKind:
        """What it is."""
        return CashKind.of(self.type)


@dataclass(frozen=True, slots=True, kw_only=True)
class CashIncome:
    """Dollars up to the end of a session: fees paid are positive; transfers are no profit or loss."""

    fees: Decimal = ZERO
    dividends: Decimal = ZERO
    interest: Decimal = ZERO
    other: Decimal = ZERO
    transfers: Decimal = ZERO

    @property
    def earned(self) -> Decimal:
        """Profit of it all, dollars rounded to the cent."""
        return cents(self.dividends) + cents(self.interest) + cents(self.other) - cents(self.fees)


NO_CASH: Final = CashIncome()
"""Of an account whose cash nothing but fills moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedCash:
    """What the ledger knows of an account's cash, in dollars.

    Attributes:
        opening: where it began.
        fills: what all fills moved.
        activities: what activities since then moved.
        entries: what was rounded or accepted before.
        new_rounded_fills: fills since the last agreement whose amount is not in whole cents.
    """

    opening: Decimal
    fills: Decimal
    activities: Decimal
    entries: Decimal
    new_rounded_fills: int

    @property
    def total(self) -> Decimal:
        """Dollars expected."""
        return self.opening + self.fills + self.activities + self.entries

    @property
    def allowance(self) -> Decimal:
        """Dollars that rounding may explain."""
        return HALF_A_CENT * (1 + self.new_rounded_fills)


@dataclass(frozen=True, slots=True, kw_only=True)
class CashComparison:
    """The ledger's cash beside the broker's, which accrued fees may have left before their activity is posted."""

    expected: ExpectedCash
    broker: CashBalance

    @property
    def difference(self) -> Decimal:
        """Dollars the broker has more than expected."""
        return self.broker.cash - self.expected.total

    @property
    def pending_fees(self) -> Decimal:
        """Accrued fees that the broker's cash is short of already, dollars."""
        accrued, allowance = self.broker.accrued_fees, self.expected.allowance
        short = abs(self.difference) > allowance and abs(self.difference + accrued) <= allowance
        return accrued if short else ZERO

    @property
    def rounding(self) -> Decimal:
        """What is left when pending fees are counted: rounding where it agrees."""
        return self.difference + self.pending_fees

    @property
    def agrees(self) -> bool:
        """True when nothing is left that rounding does not explain."""
        return abs(self.rounding) <= self.expected.allowance

    def describe(self) -> str:
        """Name the difference as one line."""
        return (
            f"cash: ledger {dollars(self.expected.total)}, broker {dollars(self.broker.cash)}: "
            f"{dollars(self.difference)} dollars are not explained"
        )

    def as_document(self) -> dict[str, Any]:
        """Return what is sealed of it: exact dollars as text."""
        return {
            "expected": f"{self.expected.total:f}",
            "broker": f"{self.broker.cash:f}",
            "difference": f"{self.difference:f}",
            "opening": f"{self.expected.opening:f}",
            "fills": f"{self.expected.fills:f}",
            "activities": f"{self.expected.activities:f}",
            "rounded_and_accepted": f"{self.expected.entries:f}",
            "allowance": f"{self.expected.allowance:f}",
            "accrued_fees": f"{self.broker.accrued_fees:f}",
            "pending_fees": f"{self.pending_fees:f}",
            "agrees": self.agrees,
        }


def dollars(amount: Decimal) -> str:
    """Write dollars with whole cents, and with all their digits where they have more."""
    shown = cents(amount)
    return f"{shown:f}" if shown == amount else f"{amount.normalize():f}"

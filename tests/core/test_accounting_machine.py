"""Positions under any sequence of fills, against an independent model that keeps every open share in a list."""

from datetime import date
from decimal import Decimal
from fractions import Fraction

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from trading_pipeline.core.accounting import Fill, Position, apply_fill
from trading_pipeline.core.orders.model import Side

QTY = st.integers(1, 5_000_000_000_000).map(lambda billionths: Decimal(billionths).scaleb(-9))
PRICE = st.integers(1, 10_000_000).map(lambda ticks: Decimal(ticks).scaleb(-4))
MARK = Decimal("57.31")


class Books(RuleBasedStateMachine):
    """Average cost in fractions: nothing rounds, so it is the truth the Decimal books are held against."""

    def __init__(self) -> None:
        super().__init__()
        self.position = Position(symbol="AAPL")
        self.number = 0
        self.qty = self.average = self.realised = self.cash = Fraction(0)

    def _fill(self, side: Side, qty: Decimal, price: Decimal) -> None:
        self.number += 1
        fill = Fill(
            execution_id=f"x{self.number}",
            symbol="AAPL",
            side=side,
            qty=qty,
            price=price,
            fee=Decimal("0.01"),
            session=date(2023, 9, 1),
        )
        self.position = apply_fill(self.position, fill).position
        self._model(Fraction(fill.signed_qty), Fraction(price))

    def _model(self, added: Fraction, price: Fraction) -> None:
        self.cash -= added * price
        if self.qty * added >= 0:
            self.average = (self.qty * self.average + added * price) / (self.qty + added)
        else:
            closed = min(abs(added), abs(self.qty)) * (1 if self.qty > 0 else -1)
            self.realised += (price - self.average) * closed
            if abs(added) > abs(self.qty):
                self.average = price
        self.qty += added

    @rule(side=st.sampled_from(list(Side)), qty=QTY, price=PRICE)
    def trade(self, side: Side, qty: Decimal, price: Decimal) -> None:
        """Add, reduce or flip."""
        self._fill(side, qty, price)

    @rule(part=st.sampled_from([Decimal(1), Decimal(2), Decimal("0.5"), Decimal("0.123456789")]), price=PRICE)
    def trade_against(self, part: Decimal, price: Decimal) -> None:
        """Close exactly, flip exactly, halve, or leave odd crumbs."""
        qty = (abs(self.position.qty) * part).quantize(Decimal("1e-9"))
        if qty:
            self._fill(Side.SELL if self.position.qty > 0 else Side.BUY, qty, price)

    @invariant()
    def shares_are_exact(self) -> None:
        """No fraction of a share is lost."""
        assert self.qty == Fraction(self.position.qty)

    @invariant()
    def the_books_close(self) -> None:
        """Cash + value = realised + unrealised, to the last digit."""
        held = self.position
        assert self.cash + Fraction(held.market_value(MARK)) == Fraction(held.realised) + Fraction(
            held.unrealised(MARK)
        )

    @invariant()
    def realised_and_average_are_right(self) -> None:
        """As near to the truth as 20 and 10 decimals are."""
        assert abs(self.realised - Fraction(self.position.realised)) < Fraction(1, 10**18)
        average = self.average if self.qty else 0
        assert abs(average - Fraction(self.position.average_price)) <= Fraction(1, 10**9)

    @invariant()
    def fees_stand_apart(self) -> None:
        """A cent a fill."""
        assert Decimal("0.01") * self.number == self.position.fees


TestBooks = Books.TestCase

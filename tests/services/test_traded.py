"""What an account ordered from a session, read from its ledger."""

from decimal import Decimal

from support.trading import ACCOUNT, RUN, SESSION, Kit, order

from trading_pipeline.core.orders.model import Purpose, Side
from trading_pipeline.core.sessions import xnys
from trading_pipeline.services.settlement import settle
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.traded import TRADED_SCHEMA, traded_from

NEXT = xnys().next(SESSION)


def rows(kit: Kit, *, session: object = SESSION, strategy: str = "tested") -> list[tuple[object, ...]]:
    """Return symbol, held, ordered and filled shares, and both amounts."""
    frame = traded_from(kit.ledger, ACCOUNT, strategy, session)
    assert TRADED_SCHEMA == frame.schema
    names = ("symbol", "held", "order_shares", "filled_shares", "order_notional", "filled_notional")
    return frame.select(names).rows()


def test_orders_and_fills_of_a_session_are_signed_and_valued(kit: Kit) -> None:
    """Sales are negative; a refused order is counted as ordered, and nothing of it as filled."""
    service = SubmissionService(kit.account, RUN)
    service.submit(order("AAPL", Side.BUY, 10))
    service.submit(order("MSFT", Side.SELL, 4))
    assert service.submit(order("NVDA", Side.BUY, 1_000_000)).refused
    settle(kit.account, NEXT)

    hundred = Decimal(100)
    assert [
        ("AAPL", 0, 10, 10, 10 * hundred, 10 * hundred),
        ("MSFT", 0, -4, -4, -4 * hundred, -4 * hundred),
        ("NVDA", 0, 1_000_000, 0, 1_000_000 * hundred, 0),
    ] == rows(kit)


def test_what_is_held_at_the_close_is_told_without_an_order(kit: Kit) -> None:
    """Of the session the positions were opened in, not before."""
    SubmissionService(kit.account, RUN).submit(order("AAPL", Side.BUY, 10))
    settle(kit.account, NEXT)

    assert [("AAPL", 10, 0, 0, 0, 0)] == rows(kit, session=NEXT)
    assert [] == rows(kit, session=xnys().previous(SESSION))


def test_other_strategies_and_what_operators_flatten_are_left_out(kit: Kit) -> None:
    """Neither was decided by the targets of this strategy."""
    SubmissionService(kit.account, RUN).submit(order("AAPL", Side.BUY, 10))
    settle(kit.account, NEXT)
    kit.ledger.orders.record(order("AAPL", Side.SELL, 10, session=NEXT, purpose=Purpose.FLATTEN))

    assert [("AAPL", 10, 0, 0, 0, 0)] == rows(kit, session=NEXT)
    assert [] == rows(kit, strategy="another")

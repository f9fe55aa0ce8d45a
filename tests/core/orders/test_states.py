"""The order's state machine has no way back and no way around."""

import pytest

from trading_pipeline.core.orders.states import HOLDING, TERMINAL, UNSENT, OrderState, require_move
from trading_pipeline.errors import IllegalTransition


@pytest.mark.parametrize("ended", sorted(TERMINAL))
@pytest.mark.parametrize("wanted", list(OrderState))
def test_nothing_follows_an_ended_order(ended: OrderState, wanted: OrderState) -> None:
    """Terminal means terminal."""
    with pytest.raises(IllegalTransition):
        require_move("id", ended, wanted)


@pytest.mark.parametrize("unsent", sorted(UNSENT))
@pytest.mark.parametrize("wanted", sorted((HOLDING | TERMINAL) - {OrderState.CLEARED, OrderState.EXPIRED}))
def test_no_order_reaches_the_broker_uncleared(unsent: OrderState, wanted: OrderState) -> None:
    """The only way out of the ledger leads through the guard."""
    with pytest.raises(IllegalTransition):
        require_move("id", unsent, wanted)


def test_every_state_is_unsent_holding_or_terminal() -> None:
    """Exposure is never in doubt."""
    assert set(OrderState) == UNSENT | HOLDING | TERMINAL
    assert set() == (UNSENT & HOLDING) | (HOLDING & TERMINAL) | (UNSENT & TERMINAL)

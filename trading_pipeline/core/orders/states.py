"""The life of an order: its states and the moves between them."""

from enum import StrEnum

from trading_pipeline.errors import IllegalTransition


class OrderState(StrEnum):
    """Where an order stands in the ledger."""

    PENDING_NEW = "pending_new"
    REFUSED = "refused"
    CLEARED = "cleared"
    SUBMITTED_UNCONFIRMED = "submitted_unconfirmed"
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        """True when nothing more can happen at the broker."""
        return self in TERMINAL


TERMINAL = frozenset({OrderState.FILLED, OrderState.CANCELED, OrderState.REJECTED, OrderState.EXPIRED})
HOLDING = frozenset(
    {OrderState.CLEARED, OrderState.SUBMITTED_UNCONFIRMED, OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED}
)
UNSENT = frozenset({OrderState.PENDING_NEW, OrderState.REFUSED})
"""States in which the broker has certainly not seen the order."""

_AT_THE_BROKER = frozenset({OrderState.PARTIALLY_FILLED, *TERMINAL})
_MOVES: dict[OrderState, frozenset[OrderState]] = {
    OrderState.PENDING_NEW: frozenset({OrderState.REFUSED, OrderState.CLEARED, OrderState.EXPIRED}),
    OrderState.REFUSED: frozenset({OrderState.REFUSED, OrderState.CLEARED, OrderState.EXPIRED}),
    OrderState.CLEARED: frozenset({OrderState.SUBMITTED_UNCONFIRMED, OrderState.ACCEPTED, *_AT_THE_BROKER}),
    OrderState.SUBMITTED_UNCONFIRMED: frozenset({OrderState.ACCEPTED, *_AT_THE_BROKER}),
    OrderState.ACCEPTED: _AT_THE_BROKER,
    OrderState.PARTIALLY_FILLED: _AT_THE_BROKER - {OrderState.REJECTED},
}


def require_move(client_order_id: str, present: OrderState, wanted: OrderState) -> None:
    """Check that `wanted` may follow `present`.

    Raises:
        IllegalTransition: it may not.
    """
    if wanted not in _MOVES.get(present, frozenset()):
        raise IllegalTransition(
            f"order {client_order_id} is {present}: {wanted} cannot follow",
            client_order_id=client_order_id,
            present=present.value,
            wanted=wanted.value,
        )

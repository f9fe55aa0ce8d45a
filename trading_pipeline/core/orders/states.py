"""The life of an order: its states, the events that tell of them, and the state that follows from all events."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

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
    REPLACED = "replaced"

    @property
    def terminal(self) -> bool:
        """True when nothing more can happen at the broker."""
        return self in TERMINAL


TERMINAL = frozenset(
    {OrderState.FILLED, OrderState.CANCELED, OrderState.REJECTED, OrderState.EXPIRED, OrderState.REPLACED}
)
HOLDING = frozenset(
    {OrderState.CLEARED, OrderState.SUBMITTED_UNCONFIRMED, OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED}
)
UNSENT = frozenset({OrderState.PENDING_NEW, OrderState.REFUSED})
"""States in which the broker has certainly not seen the order."""

_TERMINAL_RANK: Final = 6
RANK: Final = {
    OrderState.PENDING_NEW: 0,
    OrderState.REFUSED: 1,
    OrderState.CLEARED: 2,
    OrderState.SUBMITTED_UNCONFIRMED: 3,
    OrderState.ACCEPTED: 4,
    OrderState.PARTIALLY_FILLED: 5,
    **dict.fromkeys(TERMINAL, _TERMINAL_RANK),
}
"""How far along a state is. An order never goes back, in whatever order its events arrive."""
_LAST_RESORT: Final = (
    OrderState.REJECTED,
    OrderState.EXPIRED,
    OrderState.CANCELED,
    OrderState.REPLACED,
    OrderState.FILLED,
)
_AFTER_UNSENT: Final = UNSENT | {OrderState.CLEARED, OrderState.EXPIRED}


class Source(StrEnum):
    """Who says so. At equal rank and time the later in this list is believed."""

    SYSTEM = "system"
    """A step of our own: recorded, judged, sent, too late to be sent."""
    MANUAL = "manual"
    """A person, who ended an order before it was sent."""
    RECONCILIATION = "reconciliation"
    """A look of ours at the broker, which found the order so, or did not find it."""
    BROKER = "broker"
    """The broker's own event, or its answer to what we asked of the order."""


_BELIEF: Final = {source: number for number, source in enumerate(Source)}


@dataclass(frozen=True, slots=True, kw_only=True)
class StateEvent:
    """One report of where an order stands: `at` is the broker's instant when it gave one, ours otherwise."""

    state: OrderState
    source: Source
    at: datetime


def derive_state(events: Iterable[StateEvent]) -> StateEvent:
    """Return the event that says where an order stands, whatever order its events are given in.

    The event furthest along wins. Of two ends the one that happened first is the end, and what comes after an end
    changes nothing; at the same instant the source that is believed more wins.

    Raises:
        ValueError: no events.
    """
    return max(events, key=_standing)


def supersedes(event: StateEvent, present: StateEvent) -> bool:
    """Tell whether an event says more about the order than the one it stands by."""
    return _standing(event) > _standing(present)


def require_move(client_order_id: str, present: OrderState, wanted: OrderState) -> None:
    """Check that an order which is `present` may be reported as `wanted`.

    A report that comes late is no error: it is written down and changes nothing. An order that never passed the guard
    is one that the broker cannot know.

    Raises:
        IllegalTransition: it may not.
    """
    if present in UNSENT and wanted not in _AFTER_UNSENT:
        raise IllegalTransition(
            f"order {client_order_id} is {present}, so it was never sent: {wanted} cannot follow",
            client_order_id=client_order_id,
            present=present.value,
            wanted=wanted.value,
        )


def _standing(event: StateEvent) -> tuple[int, float, int, int]:
    ended = event.state in TERMINAL
    earliest = -event.at.timestamp() if ended else 0.0
    belief = _BELIEF[event.source] if ended else 0
    return RANK[event.state], earliest, belief, _LAST_RESORT.index(event.state) if ended else 0

"""The order's state follows from its events, whatever order they arrive in, and has no way back and no way around."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from trading_pipeline.core.orders.states import (
    HOLDING,
    RANK,
    TERMINAL,
    UNSENT,
    OrderState,
    Source,
    StateEvent,
    derive_state,
    require_move,
    supersedes,
)
from trading_pipeline.errors import IllegalTransition

START = datetime(2024, 7, 5, 14, tzinfo=UTC)
instants = st.integers(0, 5).map(lambda seconds: START + timedelta(seconds=seconds))
events = st.builds(StateEvent, state=st.sampled_from(OrderState), source=st.sampled_from(Source), at=instants)
sent = events.filter(lambda event: event.state not in UNSENT)


@pytest.mark.parametrize("unsent", sorted(UNSENT))
@pytest.mark.parametrize("wanted", sorted((HOLDING | TERMINAL) - {OrderState.CLEARED, OrderState.EXPIRED}))
def test_no_order_reaches_the_broker_uncleared(unsent: OrderState, wanted: OrderState) -> None:
    """The only way out of the ledger leads through the guard."""
    with pytest.raises(IllegalTransition, match="never sent"):
        require_move("id", unsent, wanted)


def test_every_state_is_unsent_holding_or_terminal() -> None:
    """Exposure is never in doubt."""
    assert set(OrderState) == UNSENT | HOLDING | TERMINAL
    assert set() == (UNSENT & HOLDING) | (HOLDING & TERMINAL) | (UNSENT & TERMINAL)


@given(st.lists(events, min_size=1).flatmap(lambda made: st.tuples(st.just(made), st.permutations(made))))
def test_the_order_of_arrival_does_not_matter(both: tuple[list[StateEvent], list[StateEvent]]) -> None:
    """A stream that shuffles and repeats tells the same story."""
    as_made, shuffled = both
    told = derive_state(as_made)
    assert (told.state, told.at if told.state in TERMINAL else None) == (
        derive_state(shuffled + shuffled).state,
        derive_state(shuffled).at if told.state in TERMINAL else None,
    )


@given(st.lists(events, min_size=1), events)
def test_one_event_at_a_time_gives_what_all_at_once_give(before: list[StateEvent], late: StateEvent) -> None:
    """The stored state is the derived one: folding events with `supersedes` never differs from deriving anew."""
    stands = before[0]
    for event in [*before[1:], late]:
        stands = event if supersedes(event, stands) else stands
    assert derive_state([*before, late]).state is stands.state


@given(st.lists(events, min_size=1), events)
def test_an_order_never_goes_back(before: list[StateEvent], late: StateEvent) -> None:
    """Another event leaves it where it is or brings it further."""
    assert RANK[derive_state([*before, late]).state] >= RANK[derive_state(before).state]


@given(sent.filter(lambda event: event.state in TERMINAL), sent)
def test_what_happens_after_an_end_changes_nothing(end: StateEvent, late: StateEvent) -> None:
    """Terminal is terminal."""
    after = StateEvent(state=late.state, source=late.source, at=end.at + timedelta(seconds=1))
    assert derive_state([after, end]) == end


@pytest.mark.parametrize(
    ("believed", "other"),
    [
        (Source.RECONCILIATION, Source.MANUAL),
        (Source.BROKER, Source.RECONCILIATION),
        (Source.BROKER, Source.MANUAL),
        (Source.MANUAL, Source.SYSTEM),
    ],
)
@pytest.mark.parametrize("states", [(OrderState.CANCELED, OrderState.FILLED), (OrderState.FILLED, OrderState.EXPIRED)])
def test_of_two_ends_at_one_instant_the_better_source_is_believed(
    believed: Source, other: Source, states: tuple[OrderState, OrderState]
) -> None:
    """Manual before reconciliation before the broker, whatever the ends are."""
    one = StateEvent(state=states[0], source=believed, at=START)
    two = StateEvent(state=states[1], source=other, at=START)
    assert one == derive_state([one, two]) == derive_state([two, one])


class OrderLife(RuleBasedStateMachine):
    """Reports of all sources, late and repeated ones among them, against a plain list of all that was said."""

    @initialize()
    def intent(self) -> None:
        """An order begins in the ledger."""
        self.said = [StateEvent(state=OrderState.PENDING_NEW, source=Source.SYSTEM, at=START)]
        self.stands = self.said[0]

    @rule(event=events)
    def report(self, event: StateEvent) -> None:
        """Somebody says something; what no broker can have said is refused."""
        try:
            require_move("id", self.stands.state, event.state)
        except IllegalTransition:
            assert self.stands.state in UNSENT
            assert event.state not in UNSENT
            return
        self.said.append(event)
        self.stands = event if supersedes(event, self.stands) else self.stands

    @invariant()
    def the_kept_state_is_the_derived_one(self) -> None:
        """At every moment."""
        assert derive_state(self.said).state is self.stands.state

    @invariant()
    def nothing_was_sent_uncleared(self) -> None:
        """A state of the broker's stands only behind a clearance, or corrects the end of an order."""
        if self.stands.state not in UNSENT:
            assert {OrderState.CLEARED, OrderState.EXPIRED} & {event.state for event in self.said}


TestOrderLife = OrderLife.TestCase

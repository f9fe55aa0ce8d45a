"""Whatever Alpaca does wrong, its own journal shows one accepted order an intent, and the account ties out."""

import pytest
from support.alpaca.journals import player
from support.alpaca.mishaps import MISHAPS, WASH, Mishap, draw


@pytest.mark.parametrize("mishap", [pytest.param(one, id=one.name) for one in MISHAPS])
def test_every_intent_is_accepted_at_most_once(mishap: Mishap, database_url: str, redis_url: str) -> None:
    """Through the whole protocol, with the fault in the middle; broker, ledger and book hold the same.

    An order that never arrived is proven absent and ends; all others are accepted exactly once.
    """
    with player(database_url, redis_url) as stage:
        journal = stage.play(mishap)
    held = {"AAPL": 10, "MSFT": 10} if mishap.arrives else {"MSFT": 10}
    assert (1,) * len(held) == journal.accepted
    assert ("agrees", 0) == (journal.tied_out, journal.foreign)
    assert held == journal.held[0] == journal.held[1] == journal.held[2]


def test_a_refusal_for_good_is_not_sent_again(database_url: str, redis_url: str) -> None:
    """The other order goes through, and the account ties out without the refused one."""
    with player(database_url, redis_url) as stage:
        journal = stage.play(WASH)
    assert ((1,), 2) == (journal.accepted, journal.posts)
    assert ("agrees", "pending_new > cleared > rejected") == (journal.tied_out, journal.path)
    assert {"MSFT": 10} == journal.held[0] == journal.held[1] == journal.held[2]


def test_a_seed_draws_the_same_mishaps_again() -> None:
    """And in the long run all there are."""
    assert draw(7, 50) == draw(7, 50) != draw(8, 50)
    assert {one.name for one in (*MISHAPS, WASH)} == {one.name for one in draw(1, 2_000)}

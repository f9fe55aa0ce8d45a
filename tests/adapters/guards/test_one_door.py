"""No clearance but the guard's, no key but the account's."""

import re
from dataclasses import replace

import pytest

from tests.adapters.guards.builders import ask
from trading_pipeline.adapters.guards.scripts import VERBS, source
from trading_pipeline.core.risk.clearance import Clearance
from trading_pipeline.core.risk.issuing import issue_clearance


@pytest.mark.parametrize("seal", [None, object(), True])
def test_clearance_cannot_be_made_by_hand(seal: object) -> None:
    """Without the seal there is no clearance."""
    with pytest.raises(TypeError):
        Clearance("order-1", ask().payload_digest, 1, 1, seal)


def test_a_clearance_cannot_be_copied_onto_another_order() -> None:
    """The seal does not travel with the copy."""
    given = issue_clearance(ask(), epoch=1, sequence=1)
    with pytest.raises(ValueError, match="seal"):
        replace(given, payload_digest="another")


@pytest.mark.parametrize("verb", VERBS)
def test_scripts_touch_declared_keys_only(verb: str) -> None:
    """Every key a script touches is one of those it was called with, so that it runs on a cluster."""
    keys = re.findall(r"redis\.call\('\w+', (\w+)", source(verb))

    assert {"BOOK", "HISTORY", "key"} >= set(keys)

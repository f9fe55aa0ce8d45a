"""No order comes from a backfill or a range, whoever asks the service."""

from pathlib import Path

import pytest
from support.trading import ACTION, RUN, SESSION, Kit, order

from trading_pipeline.adapters.store.lake import Lake
from trading_pipeline.core.orders.model import Purpose
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import OperatorError, SessionNotTradable
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.rebalance import rebalance
from trading_pipeline.services.submission import SubmissionService

NEXT = xnys().next(SESSION)
REFUSED = [
    Provenance.of_run("run", {"dagster/backfill": "abc"}, [SESSION]),
    Provenance.of_run("run", {}, [SESSION, NEXT]),
    Provenance.of_run("run", {"dagster/asset_partition_range_start": SESSION.isoformat()}, [SESSION]),
]


@pytest.mark.parametrize("provenance", REFUSED)
def test_a_backfill_or_a_range_cannot_even_make_the_service(kit: Kit, provenance: Provenance) -> None:
    """A range of one session is a range."""
    with pytest.raises(SessionNotTradable, match="never made by a range or a backfill"):
        SubmissionService(kit.account, provenance)


@pytest.mark.parametrize("provenance", REFUSED)
def test_a_rebalance_of_a_backfill_settles_nothing(kit: Kit, tmp_path: Path, provenance: Provenance) -> None:
    """It is refused before anything is asked of the lake or the broker."""
    with pytest.raises(SessionNotTradable):
        rebalance(kit.account, Lake(tmp_path), SESSION, provenance=provenance)
    assert [] == kit.broker.sent


def test_a_run_makes_orders_of_its_own_session_only(kit: Kit) -> None:
    """The message names both."""
    service = SubmissionService(kit.account, Provenance.of_run("run", {}, [NEXT]))
    with pytest.raises(SessionNotTradable, match=f"of session {NEXT}.*of session {SESSION}"):
        service.submit(order())
    assert [] == kit.broker.sent


def test_an_operator_acts_on_no_session_of_a_run() -> None:
    """And is named with what he made."""
    provenance = Provenance.by_operator(ACTION)
    provenance.require_tradable(SESSION)
    assert "operator ada" == provenance.run_id


def test_only_an_operator_makes_an_order_that_flattens(kit: Kit) -> None:
    """A run cannot give its order the purpose that passes an engaged kill switch: nothing is even recorded."""
    flatten = order(purpose=Purpose.FLATTEN)
    with pytest.raises(OperatorError, match="only an operator"):
        SubmissionService(kit.account, RUN).submit_all([order("MSFT"), flatten])
    assert {} == kit.ledger.orders.get_many([flatten.intent.client_order_id, order("MSFT").intent.client_order_id])

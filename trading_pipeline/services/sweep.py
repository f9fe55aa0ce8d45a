"""Asks the broker what became of our orders: finds what no stream told, and is enough where there is no stream."""

from dataclasses import dataclass
from decimal import Decimal

from trading_pipeline.adapters.store.ledger import OrderRecord
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.settlement import Settlement, settle_in_lane
from trading_pipeline.services.submission import SubmissionService

PATIENCE_SECONDS = 5
"""How long a sweep waits for whoever works on the account: they settle by themselves, and the next sweep comes soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What one sweep found.

    Attributes:
        settlement: executions and ends that the ledger had not known.
        open: orders that may still work at the broker, as they stand now.
    """

    settlement: Settlement
    open: tuple[OrderRecord, ...]

    @property
    def unconfirmed(self) -> list[OrderRecord]:
        """Orders whose answer was lost and whose fate is not known yet."""
        return [one for one in self.open if one.state is OrderState.SUBMITTED_UNCONFIRMED]

    @property
    def shares_found(self) -> Decimal:
        """Shares of executions that were not known before."""
        return sum((one.fill.qty for one in self.settlement.booked), Decimal(0))


def sweep(account: TradingAccount) -> Sweep | None:
    """Book what the broker did with our orders since anybody asked; None when there is nothing to ask for.

    Orders whose answer was lost are looked up, and cancellations that are not proven yet are asked for again; nothing
    else is sent. Executions count once by their ids, whoever brings them: a sweep that finds what is known already
    changes nothing.

    Raises:
        ServerUnavailable: somebody else works on the account; ask again.
        TransientError: ledger or broker did not answer.
    """
    orders, session = account.ledger.orders, account.broker.current_session
    waiting = orders.live_ids(account.account) or orders.unreleased(account.account)
    if session is None or not (waiting or account.ledger.fills.unposted(account.account)):
        return None
    with account.ledger.lane(account.account, seconds=PATIENCE_SECONDS):
        settlement = settle_in_lane(account, session)
        SubmissionService(account, Provenance(run_id="sweep")).look_up()
    return Sweep(settlement=settlement, open=tuple(orders.live(account.account)))

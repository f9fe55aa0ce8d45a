"""One look at the broker: what it says of our orders, and of which of them the ledger may lack executions. Reads only.

Executions of an account come in pages of a hundred, those of everybody in it. So they are asked for only where the
figures of an order, which come with it, say that something is not booked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from trading_pipeline.adapters.broker.protocol import BrokerOrder
from trading_pipeline.adapters.store.ledger import OrderRecord, Standing
from trading_pipeline.core.executions import AVERAGE_ERROR
from trading_pipeline.services.account import LATE_SESSIONS, TradingAccount


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the broker said of the orders that executions may still come of: those live, and those that ended lately.

    Attributes:
        asked: all of them, as the ledger had them before the broker was asked.
        found: the broker's view by client order id; those it has never seen are left out.
        unsettled: the ids of those whose executions have to be read.
    """

    asked: Mapping[str, Standing]
    found: Mapping[str, BrokerOrder]
    unsettled: tuple[str, ...]

    def knew_absent(self, order: OrderRecord) -> bool:
        """Tell whether the broker was asked for an order as it stands now, and had none.

        Of one that was sent, or touched in any way, since the ledger was read this look says nothing: it would be taken
        for lost.
        """
        before = self.asked.get(order.client_order_id)
        return order.client_order_id not in self.found and before is not None and before.is_still(order)


def look(account: TradingAccount, session: date | None) -> Look:
    """Ask for all orders that executions may still come of, given the broker's newest session.

    The ledger's figures are read before the broker is asked. What is in them then has happened before the answer, so an
    order of which both say as many shares has none that the ledger lacks, whoever books meanwhile. An execution of
    an ended order shows in its figures like any other. A correction that leaves shares and average as they are
    shows in none: the comparison of a tie-out reads all executions.
    """
    name, orders = account.account, account.ledger.orders
    live = orders.live_ids(name)
    ended = [] if session is None else orders.recently_ended(name, account.calendar.shift(session, -LATE_SESSIONS))
    asked = orders.standings([*live, *ended])
    inferred = account.ledger.fills.inferred(name)
    found = account.broker.find_many(asked)
    unsettled = [one for one in asked if one in found and (one in inferred or _differs(found[one], asked[one]))]
    return Look(asked=asked, found=found, unsettled=tuple(unsettled))


def _differs(reported: BrokerOrder, booked: Standing) -> bool:
    shares, average = booked.filled_qty, reported.average_price
    if reported.filled_qty != shares:
        return True
    if not shares:
        return False
    return average is None or abs(average * shares - booked.filled_notional) > AVERAGE_ERROR * shares

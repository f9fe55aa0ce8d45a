"""The guard's verdicts as the ledger writes them down, and what an order may do when they meet an operator."""

from collections.abc import Sequence

from psycopg import Connection
from psycopg.rows import DictRow

from trading_pipeline.adapters.store.ledger.events import Report
from trading_pipeline.adapters.store.ledger.records import OrderRecord
from trading_pipeline.adapters.store.rows import write_rows
from trading_pipeline.core.money import from_ticks
from trading_pipeline.core.orders.model import Purpose
from trading_pipeline.core.orders.states import UNSENT, OrderState
from trading_pipeline.core.risk.clearance import Verdict, VerdictCode
from trading_pipeline.core.risk.halts import KillSwitch

_DECIDE = """
insert into ledger.risk_decisions (client_order_id, code, observed, limit_value, epoch, sequence, detail)
select client_order_id, code, observed, limit_value, epoch, sequence, detail
  from json_populate_recordset(null::ledger.risk_decisions, %s)
"""
_SAW = """
update ledger.books b set high_sequence = greatest(b.high_sequence, seen.high_sequence)
  from json_populate_recordset(null::ledger.books, %s) seen where b.account = seen.account and b.epoch = seen.epoch
"""
# What the guard has just reserved is to be released once more, also for an order that ended meanwhile.
_REMEMBER = """
update ledger.orders o set guard_epoch = held.guard_epoch, guard_sequence = held.guard_sequence, released = false,
       judged_price = held.judged_price, updated_at = clock_timestamp()
  from json_populate_recordset(null::ledger.orders, %s) held where o.client_order_id = held.client_order_id
"""


def decide_in(connection: Connection[DictRow], verdicts: Sequence[tuple[str, Verdict]]) -> None:
    """Write verdicts by client order id inside a transaction the caller holds."""
    rows = [
        {
            "client_order_id": one,
            "code": verdict.code.value,
            "observed": verdict.observed,
            "limit_value": verdict.limit,
            "epoch": verdict.epoch,
            "sequence": verdict.sequence,
            "detail": verdict.detail,
        }
        for one, verdict in verdicts
    ]
    write_rows(connection, _DECIDE, rows)


def report_of(order: OrderRecord, verdict: Verdict) -> Report:
    """Return the move of an order that a verdict makes."""
    return Report(
        client_order_id=order.client_order_id,
        state=OrderState.CLEARED if verdict.cleared else OrderState.REFUSED,
        reason=verdict.detail or verdict.code.value,
        detail=verdict.as_fields(),
    )


def lost_clearance(verdict: Verdict, book: DictRow | None) -> Verdict | None:
    """Return the refusal of an order whose clearance is of a book that was written anew since, None of any other."""
    if not verdict.cleared or book is None or verdict.epoch is None or verdict.epoch >= book["rebuilt_epoch"]:
        return None
    detail = "the book was written anew while the order was being cleared: ask for it again"
    return Verdict(code=VerdictCode.BOOK_STALE, epoch=verdict.epoch, sequence=verdict.sequence, detail=detail)


def veto_of(order: OrderRecord, verdict: Verdict, book: DictRow | None) -> Verdict | None:
    """Return why a cleared order may not be sent as order and book stand now, None where it may."""
    if not verdict.cleared:
        return None
    if order.state not in UNSENT and order.state is not OrderState.CLEARED:
        code, detail = VerdictCode.ENDED, f"the order became {order.state} while it was being cleared"
    elif order.cancel_requested_at is not None:
        code, detail = VerdictCode.ENDED, "its cancellation was asked for while it was being cleared"
    elif book is not None and book["kill_switch"] == KillSwitch.ENGAGED and order.intent.purpose is not Purpose.FLATTEN:
        code, detail = VerdictCode.KILL_SWITCH_ENGAGED, "the kill switch was engaged while the order was being cleared"
    elif book is None or book["epoch"] != verdict.epoch:
        code, detail = VerdictCode.BOOK_STALE, "an operator changed the book while the order was being cleared"
    else:
        return None
    return Verdict(code=code, epoch=verdict.epoch, sequence=verdict.sequence, detail=detail)


def remember_in(connection: Connection[DictRow], verdicts: Sequence[tuple[OrderRecord, Verdict]]) -> None:
    """Write what the guard holds for the cleared ones of these, and the newest sequence seen of its book."""
    cleared = [(order, verdict) for order, verdict in verdicts if verdict.cleared]
    newest: dict[tuple[str, int], int] = {}
    for order, verdict in cleared:
        if verdict.sequence is not None and verdict.epoch is not None:
            of_book = order.intent.account, verdict.epoch
            newest[of_book] = max(newest.get(of_book, 0), verdict.sequence)
    seen = [{"account": name, "epoch": epoch, "high_sequence": highest} for (name, epoch), highest in newest.items()]
    own = [
        {
            "client_order_id": order.client_order_id,
            "guard_epoch": verdict.epoch,
            "guard_sequence": verdict.clearance.sequence if verdict.clearance else verdict.sequence,
            "judged_price": str(from_ticks(verdict.judged_ticks or order.judged_ticks)),
        }
        for order, verdict in cleared
    ]
    write_rows(connection, _SAW, seen)
    write_rows(connection, _REMEMBER, own)

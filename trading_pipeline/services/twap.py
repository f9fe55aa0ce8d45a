"""Large orders over time, as an operator sees them: plan, start, look, cancel. Sending is `services.slices`."""

from datetime import date, datetime
from typing import Any, Final

from trading_pipeline.adapters.store.ledger.slices import NewParent, ParentRecord, SliceRecord
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.orders.rules import split_at_zero
from trading_pipeline.core.orders.twap import TwapPlan, TwapRequest, plan_twap
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.errors import DataQualityError, OperatorError, OrderConflict, OrderError, SessionNotTradable
from trading_pipeline.services.account import LATE_SESSIONS, TradingAccount
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.slices import require_real_time

Rows = list[dict[str, Any]]
SHOWN: Final = 20
"""How many parents a list shows."""


def preview(account: TradingAccount, request: TwapRequest) -> TwapPlan:
    """Plan a request for the session that orders work in now. Nothing is recorded.

    Raises:
        SessionNotTradable: no time is left in the session, or the broker has not traded yet.
        DataQualityError: the symbol's average volume is not known.
        OperatorError: the caps leave no room for a slice.
    """
    session, now = _standing(account)
    return _plan(account, request, session, now)[0]


def start(
    account: TradingAccount, request: TwapRequest, action: OperatorAction, provenance: Provenance
) -> tuple[ParentRecord, bool]:
    """Plan a request and record it with all its slices; return the parent and whether it is new.

    A request that was made before gets what is stored, as it was planned then.

    Raises:
        SessionNotTradable: the run is a backfill, the broker has no time of day, or no time is left.
        OrderConflict: the same order is worked today by another request.
        OperatorError: the order would take the position across zero, or the caps leave no room.
        DataQualityError: the symbol's average volume is not known.
    """
    require_real_time(account)
    session, now = _standing(account)
    provenance.require_tradable(session)
    account.broker.require_tradable(session)
    known = account.ledger.slices.get(request.parent_id(account.calendar.next(session)))
    if known is not None and known.request_digest == request.digest:
        return known, False
    if known is not None:
        raise OrderConflict(
            f"parent {known.parent_id} works {known.side} {known.qty} {known.symbol} today by another request: cancel "
            "it and give the new one its number with --repeat",
            parent_id=known.parent_id,
        )
    _require_one_side(account, request)
    plan, adv = _plan(account, request, session, now)
    new = NewParent(plan=plan, session=session, adv_shares=adv, action=action, run_id=provenance.run_id)
    account.ledger.books.record_action(account.account, "start_twap", action, {"parent_id": plan.parent_id})
    return account.ledger.slices.record(new)


def _standing(account: TradingAccount) -> tuple[date, datetime]:
    session, now = account.broker.current_session, account.instant()
    if session is None or now is None:
        raise SessionNotTradable("the broker has not traded yet: there is no session to plan for")
    return session, now


def _plan(account: TradingAccount, request: TwapRequest, session: date, now: datetime) -> tuple[TwapPlan, int]:
    volumes = {} if account.valuation is None else account.valuation.volumes(session, [request.symbol])
    adv = volumes.get(request.symbol)
    if not adv:
        raise DataQualityError(
            f"the average volume of {request.symbol} up to session {session} is not known: load its bars first",
            symbol=request.symbol,
        )
    trade_session = account.calendar.next(session)
    return plan_twap(request, trade_session=trade_session, now=now, adv_shares=adv, calendar=account.calendar), adv


def _require_one_side(account: TradingAccount, request: TwapRequest) -> None:
    if account.broker.crosses_zero:
        return
    held = account.ledger.orders.exposure(account.account).get(request.symbol)
    if held is None:
        return
    change = request.qty * request.side.sign
    now, later = split_at_zero(held.position, change)
    if later:
        raise OperatorError(
            f"{request.side} {request.qty} would take the position of {held.position} {request.symbol} across zero, "
            f"which no order may: {request.side} {abs(now)} first, the other {abs(later)} once it is flat",
            symbol=request.symbol,
        )


def find_parent(account: TradingAccount, parent_id: str) -> ParentRecord:
    """Return a parent of this account.

    Raises:
        OrderError: it has none of this id.
    """
    parent = account.ledger.slices.get(parent_id)
    if parent is None or parent.account != account.account:
        raise OrderError(
            f"account {account.account} has no parent {parent_id}: `trading-pipeline show-twap` lists them",
            parent_id=parent_id,
        )
    return parent


def plan_rows(plan: TwapPlan) -> Rows:
    """Return one row a slice, times in UTC."""
    return [
        {"slice": one.number, "qty": one.qty, "due_at": one.due_at.isoformat(timespec="seconds")} for one in plan.slices
    ]


def plan_row(plan: TwapPlan) -> dict[str, Any]:
    """Return the plan as one row."""
    request = plan.request
    return {
        "parent_id": plan.parent_id,
        "trade_session": plan.trade_session.isoformat(),
        "symbol": request.symbol,
        "side": request.side.value,
        "qty": request.qty,
        "slices": len(plan.slices),
        "unplanned": plan.unplanned,
        "interval_seconds": plan.interval.total_seconds(),
        "max_slice_shares": plan.max_slice_shares,
        "warnings": "; ".join(one.message for one in plan.warnings),
    }


def parent_rows(account: TradingAccount) -> Rows:
    """Return one row for each of the newest parents, newest first."""
    return [parent_row(account, one) for one in account.ledger.slices.latest(account.account, SHOWN)]


def parent_row(account: TradingAccount, parent: ParentRecord) -> dict[str, Any]:
    """Return a parent and what became of its slices as one row."""
    slices = account.ledger.slices.of_parent(parent.parent_id)
    counts: dict[str, int] = {}
    for one in slices:
        counts[one.state] = counts.get(one.state, 0) + 1
    undecided = [one for one in slices if one.undecided]
    return {
        "parent_id": parent.parent_id,
        "trade_session": parent.trade_session.isoformat(),
        "symbol": parent.symbol,
        "side": parent.side.value,
        "qty": parent.qty,
        "state": _state(parent, slices),
        "ordered": sum(one.ordered for one in slices),
        "filled": str(sum(one.filled for one in slices)),
        "unplanned": parent.unplanned,
        "slices": ", ".join(f"{count} {state}" for state, count in sorted(counts.items())),
        "next_due": undecided[0].due_at.isoformat(timespec="seconds") if undecided else "",
        "why": parent.canceled or next((one.waited_for for one in undecided[:1]), ""),
    }


def slice_rows(account: TradingAccount, parent: ParentRecord) -> Rows:
    """Return one row for each slice of a parent, as it stands now."""
    return [
        {
            "slice": one.number,
            "planned": one.qty,
            "due_at": one.due_at.isoformat(timespec="seconds"),
            "state": one.state,
            "ordered": one.ordered,
            "filled": str(one.filled),
            "late_seconds": "" if one.sent_at is None else f"{(one.sent_at - one.due_at).total_seconds():.1f}",
            "client_order_id": one.client_order_id or "",
            "reason": one.reason or one.waited_for,
        }
        for one in account.ledger.slices.of_parent(parent.parent_id)
    ]


def planned_shares(account: TradingAccount) -> dict[str, int]:
    """Return the signed shares by symbol that parents of the present session are still to order."""
    session = account.broker.current_session
    if session is None:
        return {}
    since = account.calendar.next(session)
    return {
        symbol: int(shares)
        for symbol, shares in account.ledger.slices.undecided_shares(account.account, since=since).items()
    }


def working_parents(account: TradingAccount) -> list[ParentRecord]:
    """Return the parents of the last sessions that have work left."""
    since = account.calendar.shift_within(account.calendar.latest_closed(account.clock.now()), -LATE_SESSIONS)
    return account.ledger.slices.to_do(account.account, since=since)


def cancel_parents(account: TradingAccount, action: OperatorAction, *, symbol: str = "") -> list[str]:
    """Make no more orders of all parents that work, or of those of a symbol, and return their ids."""
    working = [one for one in working_parents(account) if not one.canceled and symbol in ("", one.symbol)]
    for one in working:
        account.ledger.slices.cancel(one.parent_id, action)
    return [one.parent_id for one in working]


def side_of(text: str) -> Side:
    """Return the side a text names.

    Raises:
        OperatorError: neither buy nor sell.
    """
    try:
        return Side(text.strip().lower())
    except ValueError:
        raise OperatorError(f"a side is buy or sell, not {text!r}") from None


def _state(parent: ParentRecord, slices: list[SliceRecord]) -> str:
    if any(one.unfinished or one.undecided for one in slices):
        return "working"
    return "canceled" if parent.canceled else "done"

"""One session's rebalance: settle, finish what was left, plan the difference, submit it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl
import structlog

from trading_pipeline.adapters.store.lake import Dataset, Lake
from trading_pipeline.adapters.store.ledger import NewOrder
from trading_pipeline.adapters.store.ledger.records import Exposure
from trading_pipeline.adapters.store.ledger.session_records import Outcome
from trading_pipeline.core.orders.model import OrderIntent, ReferencePrice
from trading_pipeline.core.orders.planning import OrderPlan, Skipped, TargetShares, plan_orders
from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.errors import PipelineError, SessionNotTradable
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.action_locks import restate_or_lock
from trading_pipeline.services.busy_broker import send_rest, unsent
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.session_gate import SessionGate, session_gate
from trading_pipeline.services.session_story import record_refusal
from trading_pipeline.services.settlement import settle_in_lane
from trading_pipeline.services.submission import Submission, SubmissionService
from trading_pipeline.services.twap import planned_shares

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebalance:
    """What became of a session's orders.

    `traded_before` is set when the session can no longer be traded, `why_unsent` when the broker took no more orders.
    """

    session: date
    submissions: tuple[Submission, ...]
    skipped: tuple[Skipped, ...]
    traded_before: str = ""
    why_unsent: str = ""

    @property
    def sent_count(self) -> int:
        """How many of the session's orders reached the broker, now or before."""
        return sum(1 for one in self.submissions if one.order.broker_order_id is not None)

    @property
    def refusals(self) -> list[str]:
        """One line an order that the guard kept from the broker."""
        return [_refusal(one) for one in self.submissions if one.refused]

    @property
    def unsent(self) -> list[Submission]:
        """The session's own orders that still wait for a broker that took no more, and may still be sent."""
        return [] if self.traded_before else unsent(self.submissions)

    @property
    def outcome(self) -> Outcome:
        """What became of the session. Orders that are neither refused nor sent wait for a broker that took none."""
        if self.sent_count:
            return Outcome.TRADED
        if not self.submissions:
            return Outcome.NOTHING_TO_DO
        return Outcome.REFUSED if self.refusals else Outcome.FAILED

    @property
    def summary(self) -> str:
        """One sentence for people."""
        if self.traded_before:
            return (
                f"{self.traded_before}; nothing was submitted, its {len(self.submissions)} order(s) stand as they are"
            )
        if not self.submissions:
            return "the target is held already: nothing to submit"
        waiting = len(self.unsent)
        rest = f", {waiting} unsent: {self.why_unsent or 'the broker took no more'}" if waiting else ""
        whole = f"{self.sent_count} of {len(self.submissions)} order(s) at the broker"
        return f"{whole}, {len(self.refusals)} refused{rest}"


def rebalance(account: TradingAccount, lake: Lake, session: date, *, provenance: Provenance) -> Rebalance:
    """Bring the account toward the session's target portfolio.

    The broker's news is settled first and orders a crash left in between are finished. A session that was traded
    already returns its stored orders and submits nothing. A broker that takes no orders for a while is waited for, see
    `busy_broker`. What became of the session is recorded, a refusal too.

    Raises:
        GateNotPassed: the session did not pass its gates, which are read here again.
        DataQualityError: the target is missing.
        SessionNotTradable: the run is a backfill, a range or of another session; or the session lies before the one
            the account trades, and it never had orders.
    """
    provenance.require_tradable(session)
    run_id = provenance.run_id
    with structlog.contextvars.bound_contextvars(run_id=run_id, session=session.isoformat()):
        try:
            service = SubmissionService(account, provenance)
            with account.ledger.lane(account.account):
                result = _rebalance_in_lane(account, lake, session, service, provenance)
            if service.left:
                touched, why = send_rest(account, service, session)
                known = [one for one in result.submissions if one.verdict is not None]
                latest = _of_session(account, session, [*known, *touched])
                result = replace(result, submissions=tuple(latest), why_unsent=why)
        except PipelineError as refusal:
            record_refusal(account, session, refusal, run_id)
            raise
        _record(account, result, run_id)
        return result


def _rebalance_in_lane(
    account: TradingAccount, lake: Lake, session: date, service: SubmissionService, provenance: Provenance
) -> Rebalance:
    try:
        _require_not_passed(account, session)
    except SessionNotTradable as passed:
        return _as_it_was(account, session, passed)
    settle_in_lane(account, session)
    target = lake.read_session(Dataset.TARGET_PORTFOLIO, session)
    pending = _pending(account, account.ledger.orders.exposure(account.account))
    restated = restate_or_lock(account, lake, session, pending, frozenset(target["symbol"]))
    resumed = service.resume()
    plan, origins = _plan(account, target, session_gate(lake, session), session, restated)
    submissions = service.submit_all(
        [NewOrder(intent=one, origin=origins[one.symbol] | {"run_id": provenance.run_id}) for one in plan.intents]
    )
    log.info("session rebalanced", orders=len(submissions), skipped=len(plan.skipped))
    return Rebalance(
        session=session,
        submissions=tuple(_of_session(account, session, [*resumed, *submissions])),
        skipped=plan.skipped,
    )


def _record(account: TradingAccount, result: Rebalance, run_id: str) -> None:
    """Write what became of the session; of one that cannot be traded any more what was written then stands."""
    if result.traded_before:
        return
    left_out = [f"{one.symbol} left out: {one.reason}" for one in result.skipped]
    reason = "; ".join([result.summary, *result.refusals, *left_out])
    counts = {
        "orders": len(result.submissions),
        "at_the_broker": result.sent_count,
        "refused": len(result.refusals),
        "skipped": len(result.skipped),
    }
    account.ledger.session_records.record(
        account.account, result.session, result.outcome, reason, counts=counts, run_id=run_id
    )


def _require_not_passed(account: TradingAccount, session: date) -> None:
    current = account.broker.current_session
    if current is not None and session < current:
        raise SessionNotTradable(
            f"session {session} was traded already: the {account.broker.name} stands at {current}",
            session=session.isoformat(),
            exchange_session=current.isoformat(),
        )


def _as_it_was(account: TradingAccount, session: date, passed: SessionNotTradable) -> Rebalance:
    stored = account.ledger.orders.of_session(account.account, session)
    if not stored:
        raise passed
    submissions = tuple(Submission(order=order) for order in stored)
    return Rebalance(session=session, submissions=submissions, skipped=(), traded_before=passed.message)


def _of_session(account: TradingAccount, session: date, touched: Sequence[Submission]) -> list[Submission]:
    """Return all orders of the session, with the verdict of those this run has asked the guard about."""
    verdicts = {one.order.client_order_id: one.verdict for one in touched}
    return [
        Submission(order=order, verdict=verdicts.get(order.client_order_id))
        for order in account.ledger.orders.of_session(account.account, session)
    ]


def _plan(
    account: TradingAccount, target: pl.DataFrame, gate: SessionGate, session: date, restated: Mapping[str, str]
) -> tuple[OrderPlan, dict[str, dict[str, Any]]]:
    named = sorted({*gate.fresh, *gate.excluded, *target["symbol"]})
    excluded = {symbol: reason for symbol in named if (reason := gate.reason(symbol))} | dict(restated)
    exposure = account.ledger.orders.exposure(account.account)
    targets = [
        TargetShares(
            symbol=row["symbol"],
            shares=row["target_shares"],
            reference=ReferencePrice(price=row["price"], source=row["price_source"], as_of=row["price_as_of"]),
        )
        for row in target.iter_rows(named=True)
    ]
    targets, unpriced = _at_order_time(account, targets, excluded)
    excluded |= unpriced
    plan = plan_orders(
        account=account.account,
        strategy_id=account.strategy_id,
        session=session,
        trade_session=account.calendar.next(session),
        targets=targets,
        positions={symbol: one.position for symbol, one in exposure.items()},
        pending=_pending(account, exposure),
        excluded=excluded,
        crosses_zero=account.broker.crosses_zero,
    )
    plan = replace(plan, intents=tuple(_numbered(account, one) for one in plan.intents))
    origins = {
        row["symbol"]: {
            "model_name": row["model_name"],
            "model_version": row["model_version"],
            "model_digest": row["model_digest"],
            "score": row["score"],
            "rank": row["rank"],
            "target_shares": row["target_shares"],
        }
        for row in target.iter_rows(named=True)
    }
    return plan, origins


def _at_order_time(
    account: TradingAccount, targets: list[TargetShares], excluded: Mapping[str, str]
) -> tuple[list[TargetShares], dict[str, str]]:
    """Return the targets at the prices of order time, and the symbols that have none, with the reason."""
    prices = account.prices_now([target.symbol for target in targets if target.symbol not in excluded])
    if prices is None:
        return targets, {}
    priced: list[TargetShares] = []
    unpriced: dict[str, str] = {}
    for target in targets:
        price = prices.get(target.symbol)
        if isinstance(price, ReferencePrice):
            priced.append(target.at(price))
        elif price is not None:
            unpriced[target.symbol] = price.message
            log.warning("no order without a price", symbol=target.symbol, reason=price.reason.value)
    return priced, unpriced


def _pending(account: TradingAccount, exposure: Mapping[str, Exposure]) -> dict[str, Decimal]:
    """Return the signed shares under way by symbol: of orders, and of large orders whose slices are still to come."""
    waiting = {symbol: one.pending for symbol, one in exposure.items()}
    for symbol, shares in planned_shares(account).items():
        waiting[symbol] = waiting.get(symbol, Decimal(0)) + shares
    return waiting


def _numbered(account: TradingAccount, intent: OrderIntent) -> OrderIntent:
    """Number a wanted repeat: an order of the same shape that is filled already is not the one that is missing now."""
    while (stored := account.ledger.orders.get(intent.client_order_id)) and stored.state is OrderState.FILLED:
        intent = replace(intent, repeat=intent.repeat + 1)
    return intent


def _refusal(submission: Submission) -> str:
    intent = submission.order.intent
    why = submission.verdict.describe() if submission.verdict else submission.order.reason
    return f"{intent.side} {intent.qty} {intent.symbol} refused, {why}"

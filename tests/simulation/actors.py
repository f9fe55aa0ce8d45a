"""What each kind of process does: submitters, senders of slices, daemons, operators, and the market itself."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from simulation.replaying import replay
from simulation.scenario import Large, Part, Terms, Wish
from simulation.venue import MOVE, PRICE, VenueOrder
from simulation.when import SESSION, START, TRADED
from support.slices import Prices

from trading_pipeline.adapters.store.ledger import NewOrder
from trading_pipeline.core.orders.model import OrderIntent, ReferencePrice, Side
from trading_pipeline.core.orders.twap import TwapRequest, WhenLate
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.core.risk.limits import RiskLimits, in_dollars
from trading_pipeline.core.risk.monitor_limits import MonitorLimits
from trading_pipeline.errors import PipelineError
from trading_pipeline.services import twap
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.settlement import settle_in_lane
from trading_pipeline.services.slices import SliceService
from trading_pipeline.services.submission import SubmissionService

ACTION = OperatorAction(operator="ada", reason="the reason a simulation has")
LONGEST_SLEEP = timedelta(seconds=45)
NEEDING = ("fill", "partial", "unseen")
MOST_PATIENCE = 20

Task = Callable[[TradingAccount, Part, int], None]


class Cast:
    """The tasks of a world's processes, by kind. The market is none: it has no connections and does not die."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self.tasks: dict[str, Task] = {
            "submitter": self._submitter,
            "slicer": self._slicer,
            "daemon": self._daemon,
            "operator": self._operator,
        }

    def _submitter(self, account: TradingAccount, part: Part, life: int) -> None:
        service = SubmissionService(account, Provenance(run_id=f"run {life}", sessions=(SESSION,)))
        wanted = [order_of(account.account, wish) for wish in part.todo if isinstance(wish, Wish)]
        for _ in range(2 + life):
            try:
                if not any(one.refused for one in service.submit_all(wanted)):
                    return
            except PipelineError:
                continue
            self._world.pause(timedelta(seconds=self._world.chance.randint(1, 10)))

    def _slicer(self, account: TradingAccount, part: Part, _: int) -> None:
        """Record a large order, then look when the next slice is due."""
        service = SliceService(account, Provenance(run_id="slices"), Prices(PRICE))
        for item in part.todo:
            try:
                if isinstance(item, Large):
                    twap.start(account, _request(account.account, item), ACTION, Provenance(run_id="start"))
                    continue
                service.send_due()
                due = service.next_at()
            except PipelineError:
                continue
            if due is not None:
                self._world.pause(min(max(due - self._world.now(), timedelta()), LONGEST_SLEEP))

    def _daemon(self, account: TradingAccount, part: Part, _: int) -> None:
        for item in part.todo:
            try:
                if item == "watch":
                    self._world.watch(account)
                    continue
                round_of(account)
                SliceService(account, Provenance(run_id="daemon"), Prices(PRICE)).send_due()
            except PipelineError:
                continue

    def _operator(self, account: TradingAccount, part: Part, _: int) -> None:
        operations, terms = RiskOperations(account), self._world.terms
        verbs: dict[str, Callable[[], object]] = {
            "engage": lambda: operations.engage_kill_switch(ACTION),
            "disengage": lambda: operations.disengage_kill_switch(ACTION),
            "trip": lambda: operations.trip_circuit_breaker(ACTION),
            "reset": lambda: operations.reset_circuit_breaker(ACTION),
            "limits": lambda: operations.set_risk_limits(limits_of(terms, lowered=True), ACTION),
            "raise": lambda: operations.set_risk_limits(limits_of(terms), ACTION),
            "rebuild": lambda: operations.rebuild_risk_book(ACTION),
            "flatten": lambda: operations.flatten_positions(ACTION, self._world.quotes),
            "cancel_all": lambda: operations.cancel_all_orders(ACTION),
            "cancel_parent": lambda: _cancel_parents(account, operations),
            "block": lambda: operations.block_symbol("BBB", ACTION),
            "unblock": lambda: operations.unblock_symbol("BBB", ACTION),
            "quarantine": lambda: operations.quarantine_symbol("AAA", self._world.soon(), ACTION),
            "release": lambda: operations.release_symbol("AAA", ACTION),
            "close_gate": lambda: operations.close_gate(ACTION),
            "open_gate": lambda: operations.open_gate(ACTION),
            "wait": lambda: self._world.pause(timedelta(seconds=self._world.chance.randint(1, 15))),
        }
        for verb in part.todo:
            try:
                verbs[str(verb)]()
            except PipelineError:
                continue

    def market(self, part: Part) -> None:
        """Fill, move and deliver, one event a step. What needs an order that works waits for one, but not for ever."""
        actor = self._world.current
        for event in part.todo:
            for _ in range(MOST_PATIENCE if event in NEEDING else 0):
                if self._working():
                    break
                actor.give_back()
                if actor.dead:
                    return
            self._happen(str(event))
            for _ in range(3):
                actor.give_back()
                if actor.dead:
                    return

    def _happen(self, event: str) -> None:
        world, venue, working = self._world, self._world.venue, self._working()
        world.changed = True
        if event == "arrive" and venue.in_transit:
            venue.arrive(venue.in_transit.pop(0), late=True)
        elif event in ("fill", "partial") and working:
            chosen = world.chance.choice(working)
            venue.fill(chosen, chosen.qty - chosen.filled if event == "fill" else 1)
        elif event == "unseen" and working:
            # The order shows the shares and their average; the execution itself is not to be had yet.
            venue.fill(world.chance.choice(working), 1, hidden_looks=2)
        elif event in ("drop", "rise"):
            venue.move(-MOVE if event == "drop" else MOVE)
        elif event == "replay":
            replay(world)

    def _working(self) -> list[VenueOrder]:
        orders = self._world.venue.orders.values()
        return [one for one in orders if one.working and one.ours and one.filled < one.qty]


def round_of(account: TradingAccount, session: date = SESSION) -> None:
    """Bring home what the broker did, and finish what was left in between."""
    with account.ledger.lane(account.account):
        settle_in_lane(account, session)
        SubmissionService(account, Provenance(run_id="daemon")).resume()


def limits_of(terms: Terms, *, lowered: bool = False) -> RiskLimits:
    """Return the limits of a scenario, as they are at first or as an operator lowers them."""
    usual = RiskLimits(
        max_self_match_shares=1000,
        max_orders_per_second=1000,
        max_order_adv_bps=None,
        max_position_equity_bps=None,
        max_reference_age_seconds=100_000,
        quiet_period_seconds=terms.quiet_seconds,
        monitor=MonitorLimits(max_daily_loss_dollars=Decimal(terms.daily_loss)),
    )
    values = terms.values(lowered=lowered)
    return usual.with_values({name: Decimal(value) if in_dollars(name) else value for name, value in values.items()})


def order_of(account: str, wish: Wish) -> NewOrder:
    """Return the order a wish stands for."""
    return NewOrder(
        intent=OrderIntent(
            account=account,
            strategy_id=account,
            session=SESSION,
            trade_session=TRADED,
            symbol=wish.symbol,
            side=Side(wish.side),
            qty=wish.qty,
            reference=ReferencePrice(price=PRICE, source="simulation", as_of=START),
        )
    )


def _cancel_parents(account: TradingAccount, operations: RiskOperations) -> None:
    for parent in account.ledger.slices.latest(account.account, 1):
        operations.cancel_parent(parent.parent_id, ACTION)


def _request(account: str, large: Large) -> TwapRequest:
    return TwapRequest(
        account=account,
        strategy_id=account,
        symbol=large.symbol,
        side=Side(large.side),
        qty=large.qty,
        minutes=1,
        slices=large.slices,
        when_late=WhenLate(large.when_late),
        grace_seconds=large.grace_seconds,
    )

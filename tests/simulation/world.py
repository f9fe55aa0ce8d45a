"""One scenario from beginning to end: real services on real servers, one process running at a time."""

import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from simulation.baton import Actor, Crash
from simulation.faults import OLDER_BOOK, strike
from simulation.invariants import Facts, Violation, check, judge_send
from simulation.line import Line
from simulation.scenario import Part, Scenario, Wish
from simulation.stage import REDIS_CLOCK, Slot, Stage
from simulation.venue import PRICE, Venue

from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.store.ledger import NewOrder
from trading_pipeline.core.orders.model import OrderIntent, ReferencePrice, Side
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import PipelineError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.provenance import Provenance
from trading_pipeline.services.settlement import settle_in_lane
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.verification import compare_book, read_ledger

SESSION = date(2023, 9, 1)
START = datetime(2023, 9, 1, 20, tzinfo=UTC)
LIMIT, LOWER = 12, 8
ACTION = OperatorAction(operator="ada", reason="the reason a simulation has")
LIVES = 3
MOST_STEPS = 3000
UNCHANGED_BY = ("begin", "commit", "redis", "submit", "find", "find done", "executions", "lane")
SWITCHED_AT = ("begin", "committed", "redis", "submit", "submit done", "find", "find done", "cancel", "lane")


class World:
    """The scenario being played. `boundary` is what all connections of the stage report to."""

    def __init__(self) -> None:
        self.stage: Stage
        self.current: Actor | None = None
        self.struck: Counter[str] = Counter()
        self.steps = 0

    def play(self, stage: Stage, scenario: Scenario) -> None:
        """Play a scenario to its end and check it all along.

        Raises:
            Violation: an invariant does not hold.
        """
        self.stage, self.current = stage, None
        self.chance = random.Random(scenario.seed)
        self.seconds, self.boundaries = 0.0, 0
        self.faults = list(scenario.faults)
        self.venue = Venue(SESSION, name=f"seed-{scenario.seed}")
        self.largest_limit = LIMIT
        self.clock_offset = 0.0
        self.older_book: dict[bytes, bytes] = {}
        self.changed = False
        self.trace: list[tuple[str, str]] = []
        self.account = f"seed-{scenario.seed}"
        self.watcher = RiskGuard(stage.redis, self.account, clock=REDIS_CLOCK)
        stage.begin(self.account, START)
        self.restorer = self._account(stage.slots["restorer"])
        RiskOperations(self.restorer).initialize_risk_book(self._limits(LIMIT), ACTION)
        actors = [self._actor(name, part) for name, part in scenario.named_parts()]
        try:
            self._run(actors)
        finally:
            self._clear_away(actors)
        self._quiesce()

    def now(self) -> datetime:
        """Tell the virtual time: the world is the clock of its processes."""
        return START + timedelta(seconds=self.seconds + self.clock_offset)

    def pause(self, duration: timedelta) -> None:
        """Let the process that asks sleep while the others go on; outside of them, let time pass."""
        actor = self.current
        if actor is None or not actor.is_current:
            self.seconds += duration.total_seconds()
            self.stage.set_time(self.now())
            return
        actor.asleep_until = self.seconds + duration.total_seconds()
        self.changed = True
        actor.give_back()
        if actor.dead:
            raise Crash

    def move_clock(self, seconds: float) -> None:
        """Step the clock without time passing."""
        self.clock_offset += seconds

    def count(self, kind: str) -> None:
        """Count a fault that struck."""
        self.struck[kind] += 1

    def boundary(self, where: str) -> str | None:
        """A process has reached a boundary: a fault may strike, and another process may go on first."""
        actor = self.current
        if actor is None or not actor.is_current:
            return None
        if actor.dead:
            raise Crash
        self.boundaries += 1
        self.trace.append((actor.name, where))
        self.changed = self.changed or where not in UNCHANGED_BY
        struck = None
        for fault in self.faults:
            if fault.kind == OLDER_BOOK and not self.older_book and self.boundaries >= fault.at // 2:
                self.older_book = self.stage.copy_book()
            if fault.at > self.boundaries:
                continue
            try:
                struck = strike(self, fault.kind, where)
            except BaseException:
                self.faults.remove(fault)
                raise
            if struck is not None:
                self.changed = True
                self.faults.remove(fault)
                break
        if where in SWITCHED_AT and (actor.asleep_until > self.seconds or self.chance.random() < 0.5):
            actor.give_back()
            if actor.dead:
                raise Crash
        return struck

    def judge_send(self, intent: OrderIntent, clearance: Any) -> None:
        """Judge the instant an order leaves."""
        judge_send(self._facts(), intent, clearance, self.venue)

    def _facts(self) -> Facts:
        return Facts(self.stage, self.account, self.watcher)

    def _run(self, actors: list[Actor]) -> None:
        for _ in range(MOST_STEPS):
            alive = [actor for actor in actors if not actor.done]
            if not alive:
                return
            awake = [actor for actor in alive if actor.asleep_until <= self.seconds]
            if not awake:
                self.seconds = min(actor.asleep_until for actor in alive)
                continue
            self._step(self.chance.choice(awake))
            if self.changed:
                self.changed = False
                check(self._facts(), self.venue, self.largest_limit)
        raise Violation(f"no end after {MOST_STEPS} steps: {[actor.name for actor in actors if not actor.done]}")

    def _clear_away(self, actors: list[Actor]) -> None:
        """Let whoever still stands somewhere in the middle die there: its connections go back."""
        for actor in actors:
            actor.mortal = True
            while actor.started and not actor.done:
                actor.dead, self.current = True, actor
                actor.step()
        self.current = None

    def _step(self, actor: Actor) -> None:
        self.steps += 1
        self.seconds += 0.25
        if len(self.trace) % 8 == 0:
            self.stage.set_time(self.now())
        self.current = actor
        actor.step()
        self.current = None
        if actor.failure is not None:
            raise actor.failure

    def _account(self, slot: Slot) -> TradingAccount:
        return TradingAccount(
            account=self.account,
            strategy_id=self.account,
            ledger=slot.ledger,
            guard=RiskGuard(slot.client, self.account, clock=REDIS_CLOCK),
            broker=Line(self),
            calendar=xnys(),
            clock=self,
        )

    @staticmethod
    def _limits(shares: int) -> RiskLimits:
        return RiskLimits(
            max_position_shares=shares,
            max_self_match_shares=1000,
            max_orders_per_second=1000,
            max_order_adv_bps=None,
            max_position_equity_bps=None,
        )

    def _actor(self, name: str, part: Part) -> Actor:
        if part.kind == "market":
            return Actor(name, lambda: self._market(part))
        task = {"submitter": self._submitter, "daemon": self._daemon, "operator": self._operator}[part.kind]
        slot = self.stage.slots[name]

        def live() -> None:
            for life in range(LIVES):
                try:
                    task(self._account(slot), part, life)
                except Crash:
                    if actor.mortal or life == LIVES - 1:
                        raise
                    actor.dead = False
                else:
                    return

        actor = Actor(name, live)
        return actor

    def _submitter(self, account: TradingAccount, part: Part, life: int) -> None:
        service = SubmissionService(account, Provenance(run_id=f"run {life}", sessions=(SESSION,)))
        wanted = [_order(self.account, wish) for wish in part.todo]
        for _ in range(1 + life):
            try:
                service.submit_all(wanted)
            except PipelineError:
                continue

    def _daemon(self, account: TradingAccount, part: Part, _: int) -> None:
        for _round in part.todo:
            try:
                with account.ledger.lane(self.account):
                    settle_in_lane(account, SESSION)
                    SubmissionService(account, Provenance(run_id="daemon")).resume()
            except PipelineError:
                continue

    def _operator(self, account: TradingAccount, part: Part, _: int) -> None:
        operations = RiskOperations(account)
        verbs = {
            "engage": lambda: operations.engage_kill_switch(ACTION),
            "disengage": lambda: operations.disengage_kill_switch(ACTION),
            "trip": lambda: operations.trip_circuit_breaker(ACTION),
            "reset": lambda: operations.reset_circuit_breaker(ACTION),
            "limits": lambda: operations.set_risk_limits(self._limits(LOWER), ACTION),
            "raise": lambda: operations.set_risk_limits(self._limits(LIMIT), ACTION),
            "rebuild": lambda: operations.rebuild_risk_book(ACTION),
            "flatten": lambda: operations.flatten_positions(ACTION, _quotes),
            "cancel_all": lambda: operations.cancel_all_orders(ACTION),
            "block": lambda: operations.block_symbol("BBB", ACTION),
        }
        for verb in part.todo:
            try:
                verbs[str(verb)]()
            except PipelineError:
                continue

    def _market(self, part: Part) -> None:
        """Fill and deliver, one event a step."""
        actor = self.current
        for event in part.todo:
            self.changed = True
            working = [one for one in self.venue.orders.values() if one.working and one.ours and one.filled < one.qty]
            if event == "arrive" and self.venue.in_transit:
                self.venue.arrive(self.venue.in_transit.pop(0), late=True)
            elif event in ("fill", "partial") and working:
                chosen = self.chance.choice(working)
                self.venue.fill(chosen, chosen.qty - chosen.filled if event == "fill" else 1)
            elif event == "unseen" and working:
                # The order shows the shares and their average; the execution itself is not to be had yet.
                self.venue.fill(self.chance.choice(working), 1, hidden_looks=2)
            for _ in range(3):
                actor.give_back()
                if actor.dead:
                    return

    def _quiesce(self) -> None:
        """Let everything come to rest, then compare all records with the venue's; doing it again changes nothing."""
        self.faults = []
        self.venue.scramble = False
        for intent in list(self.venue.in_transit):
            self.venue.arrive(intent, late=True)
        self._settle(SESSION, rounds=2)
        following = xnys().next(SESSION)
        self.venue.close(following)
        self._settle(following, rounds=2)
        first = self._at_rest()
        self._settle(following, rounds=1)
        if first != self._at_rest():
            raise Violation(f"(7) settling again changed something: {first} became {self._at_rest()}")

    def _settle(self, session: date, *, rounds: int) -> None:
        account = self.restorer
        for _ in range(rounds):
            self.seconds += 61
            self.stage.set_time(self.now())
            if self._facts().snapshot is None:
                RiskOperations(account).rebuild_risk_book(ACTION)
            with account.ledger.lane(self.account):
                settle_in_lane(account, session)
                SubmissionService(account, Provenance(run_id="restorer")).resume()
            check(self._facts(), self.venue, self.largest_limit)

    def _at_rest(self) -> tuple[object, ...]:
        facts = self._facts()
        live = [
            one for one in facts.orders.values() if one["state"] in ("cleared", "submitted_unconfirmed", "accepted")
        ]
        positions = {symbol: qty for symbol, qty in facts.positions.items() if qty}
        held = {} if facts.snapshot is None else {name: Decimal(qty) for name, qty in facts.snapshot.positions.items()}
        inferred = [row for row in facts.fills if row["counts"] and row["kind"] == "synthetic"]
        if inferred:
            raise Violation(f"(3) the venue has shown every execution, these stand for some still: {inferred}")
        if live:
            raise Violation(f"(2) orders that never end: {live}")
        if facts.snapshot is None or facts.snapshot.reservations:
            raise Violation(f"(2) nothing is live, the book holds {facts.snapshot}")
        if not self.venue.positions() == positions == held:
            raise Violation(f"(3) venue {self.venue.positions()}, ledger {positions}, book {held}")
        if differing := compare_book(self.restorer, read_ledger(self.restorer)):
            raise Violation(f"(2) ledger and book at rest: {'; '.join(one.describe() for one in differing)}")
        states = sorted((order_id, row["state"], row["filled_qty"]) for order_id, row in facts.orders.items())
        return (states, positions, len(facts.fills))


def _order(account: str, wish: Wish) -> NewOrder:
    return NewOrder(
        intent=OrderIntent(
            account=account,
            strategy_id=account,
            session=SESSION,
            trade_session=xnys().next(SESSION),
            symbol=wish.symbol,
            side=Side(wish.side),
            qty=wish.qty,
            reference=ReferencePrice(price=PRICE, source="simulation", as_of=START),
        )
    )


def _quotes(_: date, symbols: Any) -> dict[str, ReferencePrice]:
    return {symbol: ReferencePrice(price=PRICE, source="simulation", as_of=START) for symbol in symbols}

"""One scenario from beginning to end: real services on real servers, one process running at a time."""

import random
from collections import Counter
from collections.abc import Collection
from datetime import date, datetime, timedelta
from decimal import Decimal

from simulation.actors import ACTION, Cast, limits_of
from simulation.baton import Actor, Crash
from simulation.clearances import History
from simulation.facts import Facts, Violation
from simulation.faults import OLDER_BOOK, strike
from simulation.invariants import check
from simulation.line import Line
from simulation.losses import Watched
from simulation.resting import come_to_rest
from simulation.scenario import Part, Scenario
from simulation.sends import judge_pace, judge_send, judge_slice
from simulation.stage import LANE, REDIS_CLOCK, SharedLedger, Slot, Stage
from simulation.venue import Venue
from simulation.when import SESSION, START, TRADED

from trading_pipeline.adapters.guards.book import BookSnapshot
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.core.orders.model import OrderIntent, Purpose, ReferencePrice
from trading_pipeline.core.risk.clearance import Clearance
from trading_pipeline.core.sessions import xnys
from trading_pipeline.errors import TradingHalted
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.operations import RiskOperations
from trading_pipeline.services.valuation import Valuation
from trading_pipeline.services.watching import watch

CAPITAL = Decimal(100_000)
LIVES = 3
MOST_STEPS = 3000
UNCHANGED_BY = ("begin", "commit", "redis", "turn", "submit", "find", "find done", "executions", "lane")
SWITCHED_AT = ("begin", "committed", "redis", "turn", "submit", "submit done", "find", "find done", "cancel")


class World:
    """The scenario being played. `boundary` is what all connections of the stage report to."""

    def __init__(self) -> None:
        self.stage: Stage
        self.current: Actor | None = None
        self.struck: Counter[str] = Counter()
        self.steps = 0
        self.met: Counter[str] = Counter()
        """What the checks met, over all scenarios."""

    def play(self, stage: Stage, scenario: Scenario) -> None:
        """Play a scenario to its end and check it all along.

        Raises:
            Violation: an invariant does not hold.
        """
        self.stage, self.current = stage, None
        self.chance = random.Random(scenario.seed)
        self.seconds, self.boundaries = 0.0, 0
        self.faults = list(scenario.faults)
        self.terms = scenario.terms
        self.venue = Venue(SESSION, TRADED, name=f"seed-{scenario.seed}")
        self.history = History(self.met)
        self.clock_offset = 0.0
        self.older_book: dict[bytes, bytes] = {}
        self.changed = False
        self.book_changed, self.book = True, None
        self.trace: list[tuple[str, str]] = []
        self.account = f"seed-{scenario.seed}"
        self.watcher = RiskGuard(stage.redis, self.account, clock=REDIS_CLOCK)
        stage.begin(self.account, START)
        self.restorer = self._account(stage.slots["restorer"])
        RiskOperations(self.restorer).initialize_risk_book(limits_of(self.terms), ACTION)
        actors = [self._actor(name, part) for name, part in scenario.named_parts()]
        try:
            self._run(actors)
        finally:
            self._clear_away(actors)
        self.faults, self.venue.scramble = [], False
        come_to_rest(self)

    def now(self) -> datetime:
        """Tell the virtual time: the world is the clock of its processes."""
        return START + timedelta(seconds=self.seconds + self.clock_offset)

    def pause(self, duration: timedelta) -> None:
        """Let the process that asks sleep while the others go on; outside of them, let time pass."""
        actor = self.current
        if actor is None or not actor.is_current:
            self.pass_time(duration.total_seconds())
            return
        actor.asleep_until = self.seconds + duration.total_seconds()
        self.changed = True
        actor.give_back()
        if actor.dead:
            raise Crash

    def time(self) -> tuple[datetime, float]:
        """Tell the virtual time, and by how much of it the clock has been stepped."""
        return self.now(), self.clock_offset

    def soon(self) -> datetime:
        """Tell when a minute will have passed."""
        return self.now() + timedelta(minutes=1)

    def pass_time(self, seconds: float) -> None:
        """Let time pass while nobody acts."""
        self.seconds += seconds
        self.stage.set_time(self.now())

    def set_clock(self, instant: datetime) -> None:
        """Set the clock right, at an instant."""
        self.clock_offset, self.seconds = 0.0, (instant - START).total_seconds()
        self.stage.set_time(instant)

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
            self.book_changed = True
            return None
        if actor.dead:
            raise Crash
        self.boundaries += 1
        self.trace.append((actor.name, where))
        self.changed = self.changed or where not in UNCHANGED_BY
        self.book_changed = self.book_changed or where == "redis done"
        struck = self._strike(where)
        if self._goes_second(actor, where):
            actor.give_back()
            if actor.dead:
                raise Crash
        return struck

    def _strike(self, where: str) -> str | None:
        """Let the first fault strike that lies in wait and fits; return its kind."""
        for fault in list(self.faults):
            if fault.kind == OLDER_BOOK and not self.older_book and self.boundaries >= fault.at // 2:
                self.older_book = self.stage.copy_book()
            if fault.at > self.boundaries:
                continue
            try:
                struck = strike(self, fault.kind, where)
            except BaseException:
                self.book_changed = True
                self.faults.remove(fault)
                raise
            if struck is not None:
                self.changed = self.book_changed = True
                self.faults.remove(fault)
                return struck
        return None

    def _goes_second(self, actor: Actor, where: str) -> bool:
        """Tell whether somebody else may go on before who reached a boundary does."""
        if where == LANE:
            actor.waits_since = self.stage.lanes.freed
            return True
        return where in SWITCHED_AT and (actor.asleep_until > self.seconds or self.chance.random() < 0.5)

    def judge_send(self, intent: OrderIntent, clearance: Clearance, ledger: SharedLedger) -> None:
        """Judge the instant an order leaves."""
        facts = self.facts()
        judge_send(facts, self.history, intent, clearance, self.venue, self.stage.latest)
        if intent.purpose is Purpose.SLICE:
            judge_slice(facts, intent, ledger, *self.time())
            self.met["a slice leaves"] += 1

    def facts(self) -> Facts:
        """Read ledger and book, and judge what the guard has cleared since."""
        history = self.history
        if self.book_changed:
            self.book_changed, self.book = False, self._read_book()
        facts = Facts(self.stage, self.account, self.book, decision=history.decision, epoch=history.epoch)
        history.take(facts, self.venue, self.stage.latest)
        return facts

    def _read_book(self) -> BookSnapshot | None:
        try:
            return self.watcher.snapshot()
        except TradingHalted:
            return None

    def check(self) -> None:
        """Check what must hold at any instant."""
        facts = self.facts()
        check(facts, self.venue, self.history)
        judge_pace(facts)

    def watch(self, account: TradingAccount) -> None:
        """Let the risk monitor look at an account, and see that it acts on a loss."""
        before = Watched.of(self)
        watch(account)
        before.judge(self)

    def quotes(self, _: date, symbols: Collection[str]) -> dict[str, ReferencePrice]:
        """Price all at what the market pays."""
        return {symbol: ReferencePrice(price=self.venue.price, source="simulation", as_of=START) for symbol in symbols}

    def _run(self, actors: list[Actor]) -> None:
        for _ in range(MOST_STEPS):
            alive = [actor for actor in actors if not actor.done]
            if not alive:
                return
            able = [actor for actor in alive if actor.waits_since != self.stage.lanes.freed] or alive
            awake = [actor for actor in able if actor.asleep_until <= self.seconds]
            if not awake:
                self.seconds = min(actor.asleep_until for actor in able)
                continue
            self._step(self.chance.choice(awake))
            if self.changed:
                self.changed = False
                self.check()
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
        self.current, actor.waits_since = actor, None
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
            broker=Line(self, slot.ledger),
            calendar=xnys(),
            clock=self,
            valuation=Valuation(
                capital=CAPITAL,
                quotes=self.quotes,
                volumes=lambda _, symbols: dict.fromkeys(symbols, 1_000_000),
                newest_fresh=lambda session: session,
            ),
        )

    def _actor(self, name: str, part: Part) -> Actor:
        cast = Cast(self)
        if part.kind == "market":
            return Actor(name, lambda: cast.market(part))
        task, slot = cast.tasks[part.kind], self.stage.slots[name]

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

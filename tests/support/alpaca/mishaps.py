"""Everything the local Alpaca can do wrong, each under a name, and random draws from it that a seed repeats."""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from support.alpaca.exchange import PaperExchange
from support.alpaca.server import AlpacaServer, Fault
from support.alpaca.stream import TradeUpdates

ORDERS = "/v2/orders"
BY_ID = "/v2/orders:by_client_order_id"
FILLS = "/v2/account/activities/FILL"
POSITIONS = "/v2/positions"
LAG = timedelta(seconds=10)
"""How far behind reads have been seen."""
RESET = timedelta(seconds=20)
"""In how long a 429 says that requests are taken again."""
_HTML = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


class When(StrEnum):
    """In which part of an order's life a mishap strikes."""

    SEND = "send"
    SETTLE = "settle"


@dataclass(frozen=True, kw_only=True)
class Mishap:
    """One way to go wrong.

    Attributes:
        faults: what happens to the next requests, by method and path.
        frames: what happens to the next events of the stream.
        lags: which reads show the past for a while.
        names_reset: a 429 says when it takes requests again.
        arrives: false where Alpaca never gets the order, and nobody can know at once.
    """

    name: str
    when: When = When.SEND
    faults: Mapping[tuple[str, str], tuple[Fault, ...]] = field(default_factory=dict)
    frames: tuple[str, ...] = ()
    lags: tuple[str, ...] = ()
    names_reset: bool = False
    arrives: bool = True

    def strike(self, exchange: PaperExchange, server: AlpacaServer, updates: TradeUpdates | None = None) -> None:
        """Let it happen to whoever comes next; frames only where there is a stream."""
        for (method, path), faults in self.faults.items():
            server.plan_for(method, path, *(self._dated(fault, exchange.now()) for fault in faults))
        if self.lags:
            exchange.lag(*self.lags, until=exchange.now() + LAG)
        if updates is not None:
            updates.plan(*self.frames)

    def _dated(self, fault: Fault, now: datetime) -> Fault:
        if not self.names_reset:
            return fault
        reset = {"X-RateLimit-Limit": "200", "X-RateLimit-Remaining": "0"}
        reset["X-RateLimit-Reset"] = str(int((now + RESET).timestamp()))
        return Fault(status=fault.status, body=fault.body, headers=reset)


def _sending(name: str, fault: Fault, *, names_reset: bool = False, arrives: bool = True) -> Mishap:
    return Mishap(name=name, faults={("POST", ORDERS): (fault,)}, names_reset=names_reset, arrives=arrives)


def _answers() -> Iterator[Mishap]:
    """What an order may be answered with instead of the truth."""
    too_many = json.dumps({"code": 42910000, "message": "rate limit exceeded"})
    yield _sending("429 with reset headers", Fault(status=429, body=too_many), names_reset=True)
    yield _sending("429 without headers", Fault(status=429, body=too_many))
    for after in (False, True):
        where = "after" if after else "before"
        yield _sending(f"500 as HTML {where} acceptance", Fault(status=500, body=_HTML, after=after), arrives=after)
        yield _sending(f"502 as HTML {where} acceptance", Fault(status=502, body=_HTML, after=after), arrives=after)
        yield _sending(f"503 without a body {where} acceptance", Fault(status=503, after=after), arrives=after)
        timed_out = json.dumps({"code": 50410000, "message": "request timed out"})
        yield _sending(f"504 {where} acceptance", Fault(status=504, body=timed_out, after=after), arrives=after)
        yield _sending(f"hang {where} acceptance", Fault(kind="hang", after=after), arrives=after)
        yield _sending(f"connection reset {where} acceptance", Fault(kind="reset", after=after), arrives=after)
    yield _sending("answer cut in half", Fault(kind="cut", after=True))
    yield _sending("answer that drips", Fault(kind="drip", after=True))
    yield _sending("answer that is no JSON", Fault(kind="garbage", after=True))
    yield _sending("answer with an unknown status", Fault(kind="strange", after=True))
    yield _sending("slow answer", Fault(kind="slow", after=True))
    taken = json.dumps({"code": 40010001, "message": "client_order_id must be unique"})
    yield _sending("422 duplicate id after acceptance", Fault(status=422, body=taken, after=True))
    yield _sending("422 duplicate id without an order", Fault(status=422, body=taken), arrives=False)
    yield Mishap(
        name="lost answer, and look-ups that lag",
        faults={("POST", ORDERS): (Fault(kind="hang", after=True),)},
        lags=("orders", "activities", "positions"),
    )


def _reads() -> Iterator[Mishap]:
    """What reading an account may meet."""
    for name, fault in (
        ("429", Fault(status=429)),
        ("502 as HTML", Fault(status=502, body=_HTML)),
        ("slow", Fault(kind="slow", after=True)),
        ("cut in half", Fault(kind="cut", after=True)),
        ("reset", Fault(kind="reset", after=True)),
        ("a hang", Fault(kind="hang")),
    ):
        paths = {("GET", path): (fault,) for path in (ORDERS, FILLS, POSITIONS, BY_ID)}
        yield Mishap(name=f"pages: {name}", when=When.SETTLE, faults=paths)
    strange = {("GET", path): (Fault(kind="strange", after=True),) for path in (ORDERS, BY_ID)}
    yield Mishap(name="pages with an unknown status", when=When.SETTLE, faults=strange)
    yield Mishap(name="orders behind positions", when=When.SETTLE, lags=("orders", "activities"))
    yield Mishap(name="positions behind orders", when=When.SETTLE, lags=("positions",))
    yield Mishap(name="executions behind both", when=When.SETTLE, lags=("activities",))


def _frames() -> Iterator[Mishap]:
    """What a stream may do to events."""
    for name, plan in (
        ("lost", "lose"),
        ("three times over", "duplicate"),
        ("in another order", "hold"),
        ("malformed", "malformed"),
        ("unknown event", "unknown_event"),
        ("unknown status", "unknown_status"),
    ):
        yield Mishap(name=f"frames: {name}", when=When.SETTLE, frames=(plan,) * 3)


MISHAPS = (*_answers(), *_reads(), *_frames())
WASH = Mishap(
    name="403 wash trade",
    faults={
        ("POST", ORDERS): (
            Fault(
                status=403,
                body=json.dumps(
                    {
                        "code": 40310000,
                        "message": "potential wash trade detected. use complex orders",
                        "existing_order_id": "61e69015-8549-4bfd-b9c3-01e75843f47d",
                        "reject_reason": "opposite side market/stop order exists",
                    }
                ),
            ),
        )
    },
)
"""A refusal for good: the one mishap after which the order is not accepted."""


def draw(seed: int, count: int) -> list[Mishap]:
    """Draw mishaps, the same for a seed; a wash trade among them."""
    return random.Random(seed).choices((*MISHAPS, WASH), k=count)

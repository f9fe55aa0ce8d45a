"""Listens to the quotes of the symbols that somebody needs, for as long as it is let, and keeps the newest.

Sources say which symbols they need, each for itself: positions and orders under way, targets, and what a person named.
A symbol is listened to while any of them needs it. A connection that is lost is opened anew and asks for all of them
again; in between nothing that was kept counts. So is one that stands, answers pings, and tells nothing while the
exchange is open.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from trading_pipeline.core.subscriptions import Subscriptions
from trading_pipeline.errors import PipelineError, TransientError
from trading_pipeline.services.reconnecting import retrying

log = structlog.get_logger(__name__)

Needs = Callable[[], Collection[str]]


class Connection(Protocol):
    """A connection that tells of symbols."""

    def receive(self, seconds: float) -> list[dict[str, Any]]:
        """Return messages, none when there were none in time; raises TransientError when it is lost."""
        ...

    def listen(self, symbols: Collection[str]) -> None:
        """Ask for symbols."""
        ...

    def leave(self, symbols: Collection[str]) -> None:
        """Ask for symbols no more."""
        ...


class QuoteStream(Protocol):
    """A stream of quotes."""

    def open(self) -> AbstractContextManager[Connection]:
        """Connect; raises ConfigError for keys that are not taken, TransientError for all that may pass."""
        ...


class Keeper(Protocol):
    """Keeps what is told; raises TransientError when it cannot."""

    def begin(self) -> None:
        """Forget everything."""
        ...

    def listening(self) -> None:
        """Let what is kept count for some seconds."""
        ...

    def end(self) -> None:
        """Let what is kept count no longer."""
        ...

    def keep(self, messages: Collection[Mapping[str, Any]]) -> None:
        """Keep messages."""
        ...

    def forget(self, symbols: Collection[str]) -> None:
        """Keep nothing of symbols."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotePace:
    """How often things are done, in seconds; `silence` is how long nothing at all may be told while trading goes on."""

    look: float = 1.0
    needs: float = 5.0
    first_wait: float = 1.0
    longest_wait: float = 30.0
    silence: float = 60.0


class QuoteService:
    """Keeps the quotes of what is needed. Use `run` once.

    Args:
        stream: where quotes come from.
        keeper: where the newest are kept.
        needs: the symbols that each source needs now, by its name; the first has precedence.
        most: symbols that the stream may be asked for at once.
        pace: how often it looks and reconnects.
        trading: tells whether quotes are to be expected now: the exchange is open.
        monotonic: seconds that only grow.
    """

    def __init__(
        self,
        stream: QuoteStream,
        keeper: Keeper,
        needs: Mapping[str, Needs],
        *,
        most: int,
        trading: Callable[[], bool],
        pace: QuotePace | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._keeper, self._needs, self._most = stream, keeper, needs, most
        self._pace, self._monotonic, self._trading = pace or QuotePace(), monotonic, trading
        self._known: dict[str, Collection[str]] = {}
        self._stop = threading.Event()

    def stop(self) -> None:
        """Let `run` return."""
        self._stop.set()

    def run(self) -> None:
        """Listen until `stop`.

        Raises:
            ConfigError: the stream does not take the key.
        """
        wait = self._pace.first_wait
        while not self._stop.is_set():
            begun = self._monotonic()
            try:
                self._listen()
            except TransientError as lost:
                if not self._stop.is_set():
                    log.warning("the stream of quotes is opened anew", reason=lost.message)
            # A server that lets us in and refuses what we ask for must not be asked every second.
            lasted = self._monotonic() - begun > self._pace.longest_wait
            wait = self._pace.first_wait if lasted else min(2 * wait, self._pace.longest_wait)
            self._stop.wait(wait)

    def _listen(self) -> None:
        """Listen on one connection until it is lost."""
        with ExitStack() as stack:
            pace = self._pace
            opening = retrying(
                "connecting to the quotes again",
                self._stop,
                first_wait=pace.first_wait,
                longest_wait=pace.longest_wait,
            )
            connection = opening(lambda: stack.enter_context(self._stream.open()))
            self._keeper.begin()
            stack.callback(self._end)
            subscriptions = Subscriptions(self._most)
            asked, heard = float("-inf"), self._monotonic()
            while not self._stop.is_set():
                if self._monotonic() - asked >= self._pace.needs:
                    asked = self._monotonic()
                    self._follow(connection, subscriptions)
                self._keeper.listening()
                messages = connection.receive(self._pace.look)
                if messages:
                    self._keeper.keep(messages)
                if messages or not subscriptions.listened or not self._trading():
                    heard = self._monotonic()
                elif self._monotonic() - heard > pace.silence:
                    raise TransientError(
                        f"nothing was told of {len(subscriptions.listened)} symbols for {pace.silence:g} s while the "
                        "exchange is open, though the connection stands",
                        symbols=sorted(subscriptions.listened),
                    )

    def _end(self) -> None:
        try:
            self._keeper.end()
        except TransientError as away:
            log.warning("what was kept counts for some seconds yet", reason=away.message)

    def _follow(self, connection: Connection, subscriptions: Subscriptions) -> None:
        change = subscriptions.want({source: self._needed(source, tell) for source, tell in self._needs.items()})
        if change.add:
            connection.listen(change.add)
        if change.drop:
            connection.leave(change.drop)
            self._keeper.forget(change.drop)
        if change.add or change.drop:
            log.info(
                "listening to quotes",
                symbols=len(subscriptions.listened),
                added=change.add,
                dropped=change.drop,
                without_a_place=subscriptions.left_out,
            )

    def _needed(self, source: str, tell: Needs) -> Collection[str]:
        """Ask a source; one that cannot tell needs what it needed before, also over connections."""
        try:
            self._known[source] = frozenset(tell())
        except PipelineError as away:
            log.warning("a source of symbols did not answer", source=source, reason=away.message)
        return self._known.get(source, frozenset())

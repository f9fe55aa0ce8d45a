"""Listens to the broker's stream for as long as it is let: what arrives is kept first, then booked.

One thread receives and does nothing but keep frames in the inbox; another applies them and sweeps. So no frame waits
for a booking, and a process that is killed loses at most what it had not been given. Nothing is replayed by a stream,
therefore every new connection is followed by a sweep; while orders may work there are sweeps in between too, and one
that finds executions while the stream said nothing shows that it is mute: it is opened anew, and an alert says so.
"""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Protocol

import structlog
import tenacity

from trading_pipeline.errors import PipelineError, TransientError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.inbox import STREAM_SOURCE, Reads, apply_inbox
from trading_pipeline.services.reconnecting import retrying
from trading_pipeline.services.sweep import sweep

log = structlog.get_logger(__name__)


class Frames(Protocol):
    """A connection that listens."""

    def receive(self, seconds: float) -> bytes | None:
        """Return the next frame, None when none came in time; raises TransientError when the connection is lost."""
        ...

    def close(self) -> None:
        """End the connection from another thread."""
        ...


class UpdateStream(Protocol):
    """A stream of a broker."""

    def open(self) -> AbstractContextManager[Frames]:
        """Connect and listen; raises ConfigError for keys that are not taken, TransientError for all that may pass."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often things are done, in seconds."""

    look: float = 1.0
    sweep: float = 30.0
    first_wait: float = 1.0
    longest_wait: float = 30.0


class StreamService:
    """Brings what a stream tells to the ledger. Use `run` once.

    Args:
        account: whose orders.
        stream: where its events come from.
        read: reads one frame.
        pace: how often it looks, sweeps and reconnects.
        monotonic: seconds that only grow.
    """

    def __init__(
        self,
        account: TradingAccount,
        stream: UpdateStream,
        read: Reads,
        *,
        pace: Pace | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._account, self._stream, self._read = account, stream, read
        self._pace, self._monotonic = pace or Pace(), monotonic
        self._stop = threading.Event()
        self._arrived = threading.Event()
        self._connected = threading.Event()
        self._frames: Frames | None = None
        self._received = 0
        self._failure: Exception | None = None
        self.found_by_sweep = 0
        """Executions and ends of orders that a sweep found before the stream told of them."""

    def stop(self) -> None:
        """Let `run` return; what was received is kept."""
        self._stop.set()
        self._arrived.set()

    def run(self) -> None:
        """Receive, apply and sweep until `stop`.

        Raises:
            ConfigError: the broker does not take the key.
        """
        receiver = threading.Thread(target=self._receive, name="stream", daemon=True)
        receiver.start()
        try:
            self._work()
        finally:
            self.stop()
            self._close()
            receiver.join()
        if self._failure is not None:
            raise self._failure

    def _receive(self) -> None:
        try:
            while not self._stop.is_set():
                self._listen()
        except PipelineError as failure:
            if not self._stop.is_set():
                self._failure = failure
        except Exception as failure:  # noqa: BLE001 - the thread's end is told to whoever runs it, which raises it
            self._failure = failure
        finally:
            self.stop()

    def _listen(self) -> None:
        """Receive on one connection until it is lost."""
        with ExitStack() as connection:
            opening = self._retrying("connecting to the stream again")
            self._frames = frames = opening(lambda: connection.enter_context(self._stream.open()))
            log.info("the stream listens", account=self._account.account)
            self._connected.set()
            self._arrived.set()
            try:
                while not self._stop.is_set():
                    raw = frames.receive(self._pace.look)
                    if raw is not None:
                        self._keep(raw)
            except TransientError as lost:
                if not self._stop.is_set():
                    self._lost(lost)
            finally:
                self._frames = None
        self._stop.wait(self._pace.first_wait)

    def _keep(self, raw: bytes) -> None:
        """Keep a frame however long the ledger is away; the connection holds those behind it."""
        self._retrying("keeping a frame again")(
            self._account.ledger.inbox.receive, self._account.account, STREAM_SOURCE, raw
        )
        self._received += 1
        self._arrived.set()

    def _lost(self, lost: TransientError) -> None:
        log.warning("the stream is opened anew", reason=lost.message)
        account = self._account
        try:
            if lost.fields.get("silent") and account.ledger.orders.live_ids(account.account):
                self._alert(f"pings stayed unanswered while orders may work ({lost.message})")
        except TransientError as away:
            log.warning("an alert could not be written", reason=away.message)

    def _work(self) -> None:
        swept = float("-inf")
        while not self._stop.is_set():
            self._arrived.wait(self._pace.look)
            self._arrived.clear()
            reconnected = self._connected.is_set()
            self._connected.clear()
            try:
                self._apply()
                if reconnected or self._monotonic() - swept >= self._pace.sweep:
                    self._sweep(reconnected=reconnected)
                    swept = self._monotonic()
            except TransientError as away:
                log.warning("the next look applies and sweeps", reason=away.message)
                if reconnected:
                    self._connected.set()
                self._stop.wait(self._pace.look)

    def _apply(self) -> None:
        done = apply_inbox(self._account, self._read)
        if done.applied or done.ignored or done.dead:
            log.info(
                "the inbox is applied",
                applied=done.applied,
                ignored=done.ignored,
                dead=done.dead,
                waiting=done.waiting,
                executions=len(done.booked),
            )

    def _sweep(self, *, reconnected: bool) -> None:
        heard = self._received
        found = sweep(self._account)
        if found is None:
            return
        # The end of an order tells as much: its executions may have been booked with it.
        executions, ends = len(found.settlement.booked), len(found.settlement.ended)
        if not executions + ends:
            return
        self.found_by_sweep += executions + ends
        log.warning(
            "a sweep found what the stream had not told",
            executions=executions,
            ends=ends,
            after_connecting=reconnected,
        )
        # Its events may be on their way: only a stream that stays silent is mute.
        self._stop.wait(self._pace.look)
        if not reconnected and self._received == heard and not self._stop.is_set():
            self._alert(f"{executions} execution(s) and {ends} end(s) of orders happened that it never told of")
            self._close()

    def _alert(self, why: str) -> None:
        account = self._account
        account.ledger.alerts.record(
            key=f"stream_mute:{account.account}:{account.clock.now().isoformat()}",
            kind="stream_mute",
            message=f"the broker's stream is mute: {why}; it is opened anew, and a sweep follows",
            detail={"found_by_sweep": self.found_by_sweep},
        )

    def _close(self) -> None:
        if (frames := self._frames) is not None:
            frames.close()

    def _retrying(self, what: str) -> tenacity.Retrying:
        pace = self._pace
        return retrying(what, self._stop, first_wait=pace.first_wait, longest_wait=pace.longest_wait)

"""Two orders through the whole protocol while one thing goes wrong: what the server's journal and the ledger say after.

Run as a program (`make journals`) it writes one row a mishap, as Markdown.
"""

import logging
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path

import redis
import structlog

from support.alpaca.bench import Bench, alpaca_account, alpaca_bench
from support.alpaca.mishaps import BY_ID, MISHAPS, ORDERS, WASH, Mishap, When
from support.alpaca.server import KEY_ID, SECRET
from support.alpaca.stream import TradeUpdates, trade_updates
from support.servers import fresh_database
from support.trading import ACCOUNT, ACTION, RUN, order
from support.virtual_time import shift_time
from trading_pipeline.adapters.alpaca.websocket import StreamConfig
from trading_pipeline.adapters.broker.alpaca.stream import AlpacaStream
from trading_pipeline.adapters.broker.alpaca.updates import trade_update
from trading_pipeline.adapters.store.ledger import NewOrder
from trading_pipeline.core.sessions import xnys
from trading_pipeline.embedded import embedded_servers, stop_embedded
from trading_pipeline.errors import TransientError
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.reconciliation import reconcile
from trading_pipeline.services.stream import Pace, StreamService
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.sweep import sweep
from trading_pipeline.services.tie_out import tie_out

COLUMNS = ("what goes wrong", "POSTs", "look-ups", "requests", "accepted per intent", "the struck order", "tie-out")
_LOOKS = (1, 61, 61)
"""Seconds before each look of those who come after: the first meets reads that lag, the others have a grace time."""
_PATIENCE_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Journal:
    """What became of two orders, the first of which a mishap struck.

    Attributes:
        posts: orders sent, by the server's journal.
        lookups: orders asked for by their id.
        requests: all requests of the account.
        accepted: how many orders were accepted of each intent, whatever id they carried.
        path: the states of the struck order.
        tied_out: what the tie-out found.
        held: shares at the broker, in the ledger and in the book.
        foreign: shares or orders taken for somebody else's.
    """

    mishap: str
    posts: int
    lookups: int
    requests: int
    accepted: tuple[int, ...]
    path: str
    tied_out: str
    held: tuple[dict[str, Decimal], ...]
    foreign: int

    def row(self) -> tuple[str, ...]:
        """Return it in the order of `COLUMNS`."""
        accepted = ", ".join(map(str, self.accepted))
        return (self.mishap, str(self.posts), str(self.lookups), str(self.requests), accepted, self.path, self.tied_out)


class Player:
    """An account on which mishaps are played."""

    def __init__(self, bench: Bench, updates: TradeUpdates, account: TradingAccount, database_url: str) -> None:
        self._bench, self._updates, self._account, self._database_url = bench, updates, account, database_url

    def play(self, mishap: Mishap) -> Journal:
        """Send, ask again, fill, sweep, reconcile and tie out, with the mishap at its place."""
        bench = self._bench
        news = [order("AAPL"), order("MSFT", limit_price=Decimal("100.50"))]
        with _streaming(self._account, self._updates) if mishap.frames else _nobody_listens():
            if mishap.when is When.SEND:
                mishap.strike(bench.exchange, bench.server)
            sent = self._send(news)
            if mishap.when is When.SETTLE:
                mishap.strike(bench.exchange, bench.server, self._updates)
            for one in list(bench.exchange.accepted):
                bench.exchange.fill(one.client_order_id, 4, Decimal("100.123"))
                bench.exchange.fill(one.client_order_id, price=Decimal("100.127"))
            self._updates.release()
            if mishap.frames:
                self._until_told()
        self._settle()
        return self._journal(mishap, sent)

    def _send(self, news: Sequence[NewOrder]) -> list[str]:
        """Submit, then do what the next runs do until nothing is under way."""
        service = SubmissionService(self._account, RUN)
        sent = [one.order for one in service.submit_all(news)]
        for seconds in _LOOKS:
            self._pass(seconds)
            service.resume()
            service.submit_all(news)
        return [one.client_order_id for one in sent]

    def _settle(self) -> None:
        self._asking_again(lambda: sweep(self._account))
        self._asking_again(lambda: reconcile(self._account, ACTION))
        self._pass(30)
        self._asking_again(lambda: sweep(self._account))
        self._asking_again(lambda: reconcile(self._account, ACTION))

    def _asking_again(self, ask: Callable[[], object]) -> None:
        """Do what the next tick of a sensor or schedule would: ask again after a failure that passes."""
        try:
            ask()
        except TransientError:
            self._pass(30)
            ask()

    def _pass(self, seconds: float) -> None:
        self._bench.waits.sleep(seconds)
        shift_time(self._database_url, seconds)

    def _until_told(self) -> None:
        """Wait until all that was streamed is in the inbox; what is not applied then is left to sweeps."""
        ticks = threading.Event()
        for _ in range(_PATIENCE_SECONDS * 20):
            if self._received() >= self._updates.sent:
                return
            ticks.wait(0.05)
        raise AssertionError(f"{self._received()} of {self._updates.sent} frames received")

    def _received(self) -> int:
        (row,) = self._account.ledger.query("select coalesce(sum(copies), 0) as frames from ledger.inbox")
        return int(row["frames"])

    def _journal(self, mishap: Mishap, ids: Sequence[str]) -> Journal:
        account, server = self._account, self._bench.server
        found = tie_out(account, ACTION)
        snapshot = account.guard.snapshot()
        assert snapshot is not None
        ledger = {symbol: one.qty for symbol, one in account.ledger.fills.positions(ACCOUNT).items()}
        book = {symbol: Decimal(qty) for symbol, qty in snapshot.positions.items() if qty}
        return Journal(
            mishap=mishap.name,
            posts=server.count("POST", ORDERS),
            lookups=server.count("GET", BY_ID),
            requests=len(server.requests),
            accepted=tuple(sorted(self._bench.exchange.accepted_per_intent().values())),
            path=self._path(ids[0]),
            tied_out="agrees" if found.agrees else found.describe(),
            held=(self._bench.exchange.positions(), ledger, book),
            foreign=len(account.ledger.externals.fills(ACCOUNT)),
        )

    def _path(self, order_id: str) -> str:
        states = [row["to_state"] for row in self._account.ledger.orders.events(order_id)]
        return " > ".join(state for at, state in enumerate(states) if state not in states[:at])


@contextmanager
def _nobody_listens() -> Iterator[None]:
    yield


@contextmanager
def _streaming(account: TradingAccount, updates: TradeUpdates) -> Iterator[None]:
    """Run the stream service, its sweeps so rare that none comes."""
    config = StreamConfig(url=updates.url, key_id=KEY_ID, secret=SECRET)
    pace = Pace(look=0.05, sweep=1e9, first_wait=0.05, longest_wait=0.2)
    read = partial(trade_update, calendar=xnys())
    service = StreamService(account, AlpacaStream(config), read, pace=pace)
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        updates.wait_for_listener()
        yield
    finally:
        service.stop()
        thread.join()


@contextmanager
def player(database_url: str, redis_url: str) -> Iterator[Player]:
    """Open an account nothing has happened to."""
    with (
        alpaca_bench(redis_url) as bench,
        trade_updates(bench.exchange) as updates,
        alpaca_account(database_url, redis_url, bench) as account,
    ):
        yield Player(bench, updates, account, database_url)


def main() -> None:
    """Play all of them and write the table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    home = Path(tempfile.mkdtemp())
    rows: list[tuple[str, ...]] = [COLUMNS, tuple("---" for _ in COLUMNS)]
    try:
        with embedded_servers(home) as urls:
            for mishap in (*MISHAPS, WASH):
                with redis.Redis.from_url(urls.redis_url) as client:
                    client.flushall()
                with fresh_database(urls) as database_url, player(database_url, urls.redis_url) as stage:
                    rows.append(stage.play(mishap).row())
    finally:
        stop_embedded(home)
    sys.stdout.write("".join(f"| {' | '.join(row)} |\n" for row in rows))


if __name__ == "__main__":
    main()

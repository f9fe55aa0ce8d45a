"""How long `clear` takes, against a PING of the same client and server, and where the time goes.

    python tests/bench/guard.py

A real Redis from the wheel, on loopback TCP with the append-only file written every second. What is compared is
measured in turns in one run. The last line is one JSON object:

    clear_over_ping_median       `RiskGuard.clear` of a new order over `PING`, one redis-py client, medians
    clear_p50_ms, clear_p99_ms   of `RiskGuard.clear`
    script_over_ping_throughput  the script alone over PING, requests a second of 16 clients: processes, each of which
                                 waits for its answer before it asks again
    script_over_ping_one_loop    the same where one process serves all 16 connections in turn: the server finds their
                                 requests together, as if they were pipelined, and a PING costs it least
    *_us                         where the time of one script goes, microseconds by the count of the server, last turn
"""

import json
import multiprocessing
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date
from decimal import Decimal
from hashlib import sha1
from multiprocessing.connection import Connection as Pipe
from multiprocessing.synchronize import Barrier
from tempfile import TemporaryDirectory

import redis
from redis.connection import Connection

from trading_pipeline.adapters.guards.asking import packed_request
from trading_pipeline.adapters.guards.book import BookState
from trading_pipeline.adapters.guards.connection import connect
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.guards.keys import book_keys
from trading_pipeline.adapters.guards.scripts import source
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import ClearanceRequest, MarketFacts
from trading_pipeline.core.risk.halts import Breaker, Gate, KillSwitch
from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.embedded.binaries import redis_server

ACCOUNT = "bench"
CLIENTS = 16
SINGLE = 5_000
ROUNDS = 9
SECONDS = 0.5
MOST = 60_000
"""Orders made for a turn: more than a server clears in its time."""

SYMBOLS = [f"SYM{number}" for number in range(500)]
WIDE = Decimal(500_000_000)
LIMITS = RiskLimits(
    max_order_adv_bps=1_000,
    max_position_equity_bps=10_000,
    max_position_shares=1_000_000,
    max_position_notional=WIDE,
    max_gross_notional=WIDE * 100,
    max_long_notional=WIDE * 100,
    max_short_notional=WIDE * 100,
    max_net_notional=WIDE * 100,
    max_orders_per_session=10**9,
    max_notional_per_session=WIDE * 1_000,
    max_orders_per_second=10**7,
    max_orders_per_minute=10**8,
    max_self_match_shares=10**9,
)
"""Every control is on and none of them refuses."""

BOOK = BookState(
    epoch=1,
    sequence=0,
    limits=LIMITS,
    kill_switch=KillSwitch.DISENGAGED,
    breaker=Breaker.OPEN,
    gate=Gate.OPEN,
    positions=dict.fromkeys(SYMBOLS, 100),
    marks=dict.fromkeys(SYMBOLS, 1_500_000),
)
"""An account that holds 500 symbols."""

FACTS = MarketFacts(
    reference_ticks=1_500_000, reference_age_seconds=60, adv_shares=50_000_000, equity_ticks=10**9 * 10_000
)


def request(number: int, prefix: str) -> ClearanceRequest:
    """Build the request of a new order."""
    return ClearanceRequest(
        client_order_id=f"{prefix}{number:016x}",
        payload_digest="0123456789abcdef" * 4,
        strategy_id="alpha_baseline",
        symbol=SYMBOLS[number % len(SYMBOLS)],
        side=Side.BUY if number % 2 else Side.SELL,
        qty=1 + number % 7,
        limit_ticks=1_501_000,
        repeat=1,
        trade_session=date(2024, 10, 17),
        flatten=False,
        market=FACTS,
        epoch=1,
        min_sequence=0,
    )


@contextmanager
def server() -> Iterator[int]:
    """Start a Redis on loopback TCP and give its port."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with TemporaryDirectory(prefix="bench-") as folder:
        command = [str(redis_server()), "--port", str(port), "--dir", folder, "--save", "", "--bind", "127.0.0.1"]
        process = subprocess.Popen(
            [*command, "--appendonly", "yes", "--appendfsync", "everysec"], stdout=subprocess.DEVNULL
        )
        try:
            yield port
        finally:
            process.kill()
            process.wait()


def wait_for(client: redis.Redis) -> None:
    """Wait until the server answers."""
    for _ in range(200):
        try:
            client.ping()
        except redis.ConnectionError:
            time.sleep(0.05)
        else:
            return
    sys.exit("redis-server did not start")


def latencies(client: redis.Redis, guard: RiskGuard) -> dict[str, float]:
    """Time PING and clear in turns, one by one, with one client."""
    pings: list[int] = []
    clears: list[int] = []
    for number in range(SINGLE):
        asked = request(number, "latency")
        started = time.perf_counter_ns()
        client.ping()
        between = time.perf_counter_ns()
        verdict = guard.clear(asked)
        clears.append(time.perf_counter_ns() - between)
        pings.append(between - started)
        if not verdict.cleared:
            sys.exit(f"not cleared: {verdict.describe()}")
    clears.sort()
    ping, clear = statistics.median(pings), statistics.median(clears)
    return {
        "ping_p50_ms": ping / 1e6,
        "clear_p50_ms": clear / 1e6,
        "clear_p99_ms": clears[len(clears) * 99 // 100] / 1e6,
        "clear_over_ping_median": clear / ping,
    }


def by_clients(port: int, requests: Sequence[bytes]) -> float:
    """Let 16 processes send a share of the requests each, one when the last is answered; requests a second."""
    fork = multiprocessing.get_context("fork")
    begin = fork.Barrier(CLIENTS)
    pipes = [fork.Pipe(duplex=False) for _ in range(CLIENTS)]
    clients = [
        fork.Process(target=_client, args=(port, requests[number::CLIENTS], begin, rate), daemon=True)
        for number, (_, rate) in enumerate(pipes)
    ]
    for one in clients:
        one.start()
    rate = sum(rate.recv() if rate.poll(10 * SECONDS) else sys.exit("a client failed") for rate, _ in pipes)
    for one in clients:
        one.join()
    return rate


def _client(port: int, requests: Sequence[bytes], begin: Barrier, rate: Pipe) -> None:
    with closing(_connected(port)) as connection:
        begin.wait()
        done, started = 0, time.perf_counter()
        while time.perf_counter() < started + SECONDS:
            connection.sendall(requests[done])
            _check(connection.recv(65536))
            done += 1
        rate.send(done / (time.perf_counter() - started))


def by_one_loop(port: int, requests: Sequence[bytes]) -> float:
    """Let one process keep 16 connections busy, each with one request under way; requests a second."""
    selector = selectors.DefaultSelector()
    connections = [_connected(port) for _ in range(CLIENTS)]
    for one, first in zip(connections, requests, strict=False):
        selector.register(one, selectors.EVENT_READ, one)
        one.sendall(first)
    done, started = 0, time.perf_counter()
    while time.perf_counter() < started + SECONDS:
        for key, _ in selector.select():
            _check(key.data.recv(65536))
            key.data.sendall(requests[CLIENTS + done])
            done += 1
    elapsed = time.perf_counter() - started
    for one in connections:
        one.close()
    return done / elapsed


def _connected(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _check(answer: bytes) -> None:
    if answer[:1] not in {b"+", b":"}:
        sys.exit(f"not cleared: {answer.decode() or 'the connection was closed'}")


def throughputs(
    port: int, client: redis.Redis, guard: RiskGuard, load: Callable[[int, Sequence[bytes]], float]
) -> tuple[list[float], list[float]]:
    """Run PING and the script in turns, the load of both made alike, and return requests a second of each turn.

    Every turn starts with a fresh book, so that none pays for what an earlier one left in it; the server's own count
    is that of the last turn.
    """
    pack, digest, keys = Connection().pack_command, sha1(source("clear").encode()).hexdigest(), book_keys(ACCOUNT)  # noqa: S324
    pings, scripts = [], []
    for turn in range(ROUNDS):
        asked = [packed_request(request(number, f"{load.__name__}{turn}")) for number in range(MOST)]
        requests = [b"".join(pack("EVALSHA", digest, 2, *keys, packed)) for packed in asked]
        guard.rebuild(BOOK)
        client.config_resetstat()
        pings.append(load(port, [b"".join(pack("PING"))] * 4 * MOST))
        scripts.append(load(port, requests))
    return pings, scripts


def server_time(client: redis.Redis) -> dict[str, float]:
    """Read from the server's own count how long each command of the scripts took, microseconds a clearance."""
    stats = client.info("commandstats")
    calls = stats["cmdstat_evalsha"]["calls"]
    inside = {name: stats[f"cmdstat_{name}"]["usec"] / calls for name in ("evalsha", "hmget", "hset", "time")}
    rest = inside["evalsha"] - inside["hmget"] - inside["hset"] - inside["time"]
    return {f"{name}_us": value for name, value in inside.items()} | {"lua_us": rest}


def main() -> None:
    """Measure and print."""
    with server() as port, closing(connect(f"redis://127.0.0.1:{port}/0")) as client:
        wait_for(client)
        guard = RiskGuard(client, ACCOUNT)
        guard.rebuild(BOOK)
        guard.clear(request(0, "warm"))
        figures = latencies(client, guard)
        for load, of in ((by_one_loop, "one_loop"), (by_clients, "throughput")):
            pings, scripts = throughputs(port, client, guard, load)
            figures |= {
                f"ping_{of}": statistics.median(pings),
                f"script_{of}": statistics.median(scripts),
                f"script_over_ping_{of}": statistics.median(
                    script / ping for script, ping in zip(scripts, pings, strict=True)
                ),
            }
        figures |= server_time(client)
    for name, value in figures.items():
        print(f"{name:28} {value:12,.3f}")
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


if __name__ == "__main__":
    main()

"""`trading-pipeline stream` as a process: killed in the middle and started anew, it loses nothing."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from support.alpaca.bench import alpaca_account, alpaca_bench, alpaca_variables
from support.alpaca.stream import trade_updates
from support.commands import PASSED_ON, run_command
from support.trading import ACCOUNT, RUN, order

from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.verification import compare

PATIENCE = 60


@contextmanager
def _process(folder: Path, variables: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    inherited = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    command = [sys.executable, "-c", "from trading_pipeline.cli import main; main()", "stream"]
    with subprocess.Popen(command, cwd=folder, env=inherited | variables) as process:
        try:
            yield process
        finally:
            process.kill()


def _wait_until_filled(account: TradingAccount, shares: int) -> None:
    ticks = threading.Event()
    for _ in range(PATIENCE * 20):
        held = account.ledger.fills.positions(ACCOUNT)
        if sum((one.qty for one in held.values()), Decimal(0)) == shares:
            return
        ticks.wait(0.05)
    raise AssertionError(f"never {shares} shares: {account.ledger.fills.positions(ACCOUNT)}")


def _closed_for(account: TradingAccount) -> list[str]:
    """Return why the gate was closed, each time."""
    history = account.ledger.books.history(ACCOUNT, 50)
    return [one["reason"] for one in history if one["action"] == "close_gate"]


def test_a_killed_stream_process_loses_nothing(database_url: str, redis_url: str, tmp_path: Path) -> None:
    """Killed, with fills meanwhile: the next process sweeps, then books what it is told; SIGTERM ends it."""
    with (
        alpaca_bench(redis_url) as bench,
        trade_updates(bench.exchange) as updates,
        alpaca_account(database_url, redis_url, bench) as account,
    ):
        variables = alpaca_variables(bench.server, database_url, redis_url) | {
            "PIPELINE_HOME": str(tmp_path / "home"),
            "ALPACA_STREAM_URL": updates.url,
        }
        sent = SubmissionService(account, RUN).submit_all([order("AAPL"), order("MSFT")])
        apple, microsoft = (one.order.client_order_id for one in sent)
        with _process(tmp_path, variables) as first:
            updates.wait_for_listener(seconds=PATIENCE)
            bench.exchange.fill(apple, 3)
            _wait_until_filled(account, 3)
            assert ["trading-pipeline stream was started: nothing is reconciled yet"] == _closed_for(account)
            first.kill()
            first.wait()
        bench.exchange.fill(apple)
        with _process(tmp_path, variables) as second:
            _wait_until_filled(account, 10)
            updates.wait_for_listener(2, seconds=PATIENCE)
            bench.exchange.fill(microsoft)
            _wait_until_filled(account, 20)
            second.send_signal(signal.SIGTERM)
            assert 0 == second.wait(PATIENCE)
        assert 2 == len(_closed_for(account))
        bench.waits.sleep(30)
        assert [] == compare(account)


def test_the_simulated_exchange_has_no_stream(tmp_path: Path) -> None:
    """It is said at once, and nothing is started."""
    ended = run_command("stream", folder=tmp_path, home=tmp_path / "home")
    assert "the simulated exchange of DRY_RUN=true has no stream" in ended.stderr
    assert 0 != ended.returncode


def test_large_orders_are_for_accounts_of_real_time(tmp_path: Path) -> None:
    """On the simulated exchange none can be sent: it is said at once, and nothing is started."""
    folder, home = tmp_path, tmp_path / "home"
    ended = run_command("slices", folder=folder, home=home)
    assert "the simulated exchange of DRY_RUN=true has no time of day" in ended.stderr

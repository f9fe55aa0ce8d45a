"""`set-risk-limits` as an operator types it, judged by what the guard clears afterwards."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.trading import ACCOUNT, intent

from trading_pipeline.adapters.guards.connection import connect
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.store.ledger import Ledger
from trading_pipeline.core.risk.clearance import ClearanceRequest, MarketFacts, Verdict, VerdictCode

Command = Callable[..., subprocess.CompletedProcess[str]]
WHO = ("--operator", "ada", "--reason", "the reason a test has to act")
MARKET = MarketFacts(reference_ticks=1_000_000, reference_age_seconds=0, adv_shares=10**6, equity_ticks=10**12)
LIMIT = "max_order_shares"


@pytest.fixture
def command(tmp_path: Path, database_url: str, redis_url: str) -> Command:
    """Run a command on the test's servers, whose account has a book."""
    inherited = {name: os.environ[name] for name in ("PATH", "LANG", "HOME", "NUMBA_CACHE_DIR") if name in os.environ}
    named = {
        "PIPELINE_HOME": str(tmp_path / ".pipeline"),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "ACCOUNT": ACCOUNT,
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from trading_pipeline.cli import main; main()", *arguments, *WHO],
            cwd=tmp_path,
            env=inherited | named,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    created = run("initialize-risk-book")
    assert 0 == created.returncode, created.stderr
    return run


@pytest.fixture
def ledger(command: Command, database_url: str) -> Iterator[Ledger]:
    """The ledger the commands write."""
    with Ledger(database_url) as opened:
        yield opened


class Desk:
    """Asks the guard for orders of eight shares, each a wanted repeat of the one before."""

    def __init__(self, ledger: Ledger, redis_url: str) -> None:
        self._ledger = ledger
        self._redis_url = redis_url
        self._asked = 0

    def ask(self, symbol: str, *, at: datetime | None = None) -> Verdict:
        """Return the verdict on eight shares, now or by a guard whose clock says `at`."""
        self._asked += 1
        book = self._ledger.books.get(ACCOUNT)
        request = ClearanceRequest.of(
            intent(symbol, qty=8, repeat=self._asked),
            market=MARKET,
            epoch=book.epoch,
            min_sequence=book.high_sequence,
        )
        clock = at and f"local function now_us() return {int(at.timestamp())} * 1000000 end"
        with closing(connect(self._redis_url)) as client:
            return RiskGuard(client, ACCOUNT, clock=clock).clear(request)


@pytest.fixture
def desk(ledger: Ledger, redis_url: str) -> Desk:
    """Whoever wants to trade."""
    return Desk(ledger, redis_url)


def test_a_symbols_own_limit_binds_until_it_inherits_again(command: Command, ledger: Ledger, desk: Desk) -> None:
    """The value binds the symbol and no other; `inherit` ends it; both rows of the log say who, why, from and to."""
    assert desk.ask("AAPL").cleared
    lowered = command("set-risk-limits", "--limit", f"{LIMIT}=7", "--symbol", "aapl")
    assert 0 == lowered.returncode, lowered.stderr
    refused = desk.ask("AAPL")
    assert (VerdictCode.ORDER_SHARES, 8, 7) == (refused.code, refused.observed, refused.limit)
    assert desk.ask("MSFT").cleared

    ended = command("set-risk-limits", "--limit", f"{LIMIT}=inherit", "--symbol", "AAPL")
    assert 0 == ended.returncode, ended.stderr
    assert desk.ask("AAPL").cleared
    newest, before = ledger.books.limit_changes(ACCOUNT, limit=2)
    told = ("limit_name", "symbol", "from_value", "to_value", "expires_at", "operator", "reason")
    assert (LIMIT, "AAPL", "7", "inherit", None, "ada", WHO[-1]) == tuple(newest[name] for name in told)
    assert (LIMIT, "AAPL", "5000", "7", None, "ada", WHO[-1]) == tuple(before[name] for name in told)


def test_a_limit_with_an_end_gives_way_at_that_instant(command: Command, ledger: Ledger, desk: Desk) -> None:
    """It binds every symbol a second before its end and none at it; the log's row names the end."""
    end = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    lowered = command("set-risk-limits", "--limit", f"{LIMIT}=3", "--until", end.isoformat())
    assert 0 == lowered.returncode, lowered.stderr

    for at in (None, end - timedelta(seconds=1)):
        refused = desk.ask("AAPL", at=at)
        assert (VerdictCode.ORDER_SHARES, 3) == (refused.code, refused.limit)
    assert desk.ask("AAPL", at=end).cleared
    (row,) = ledger.books.limit_changes(ACCOUNT, limit=1)
    assert (LIMIT, None, "5000", "3", end) == tuple(row[name] for name in list(row)[1:6])
    assert ("ada", WHO[-1]) == (row["operator"], row["reason"])


def test_a_change_that_cannot_be_is_refused_and_changes_nothing(command: Command, ledger: Ledger, desk: Desk) -> None:
    """What is no NAME=VALUE, an end without its offset, and `inherit` of the account: 3; an end that is over: 1."""
    before = ledger.books.limit_changes(ACCOUNT, limit=100)
    wrong = [
        ((LIMIT,), 3, "NAME=VALUE"),
        ((f"{LIMIT}=7", "--until", "2100-01-01T00:00:00"), 3, "offset"),
        ((f"{LIMIT}=inherit",), 3, LIMIT),
        ((f"{LIMIT}=7", "--until", "2020-01-01T00:00:00+00:00"), 1, "expired"),
    ]
    for arguments, code, part in wrong:
        refused = command("set-risk-limits", "--limit", *arguments)
        assert (code, True) == (refused.returncode, part in refused.stderr.replace("\n", " ")), refused.stderr
    assert before == ledger.books.limit_changes(ACCOUNT, limit=100)
    assert desk.ask("AAPL").cleared

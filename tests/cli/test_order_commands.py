"""The commands on one order and on large orders, as a shell starts them, on an Alpaca account on loopback."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from support.alpaca.bench import Bench, alpaca_account, alpaca_bench, alpaca_variables
from support.commands import run_command
from support.slices import Prices, request
from support.trading import ACTION, RUN, order

from trading_pipeline.core.orders.states import OrderState
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.slices import SliceService
from trading_pipeline.services.submission import SubmissionService
from trading_pipeline.services.twap import start

WHO = ("--operator", "ada", "--reason", "the reason a test has to act", "--json")
Run = Callable[..., CompletedProcess[str]]


@pytest.fixture
def bench(redis_url: str):
    """An Alpaca account on loopback."""
    with alpaca_bench(redis_url) as running:
        yield running


@pytest.fixture
def account(database_url: str, redis_url: str, bench: Bench):
    """Our account on it, with a book."""
    with alpaca_account(database_url, redis_url, bench) as opened:
        yield opened


@pytest.fixture
def run(account: TradingAccount, bench: Bench, database_url: str, redis_url: str, tmp_path: Path) -> Run:
    """Run a command on it."""
    assert account
    variables = alpaca_variables(bench.server, database_url, redis_url)
    return lambda *arguments: run_command(*arguments, folder=tmp_path, home=tmp_path / "home", **variables)


def test_one_order_is_cancelled_from_the_shell(account: TradingAccount, bench: Bench, run: Run) -> None:
    """The other works on; a change that is no number is refused before anybody is asked."""
    sent = SubmissionService(account, RUN).submit_all([order("AAPL"), order("MSFT")])
    apple, microsoft = (one.order.client_order_id for one in sent)
    misread = run("replace-order", apple, "--qty", "many", *WHO)
    assert 0 != misread.returncode
    assert "--qty must be a whole number of shares above 0, not 'many'" in " ".join(misread.stderr.split())

    done = run("cancel-order", apple, *WHO)
    assert 0 == done.returncode, done.stderr
    (row,) = json.loads(done.stdout)
    assert (apple, "canceled") == (row["client_order_id"], row["state"])
    known = account.ledger.orders.get_many([apple, microsoft])
    assert [OrderState.CANCELED, OrderState.ACCEPTED] == [known[one].state for one in (apple, microsoft)]
    assert ["MSFT"] == [one.symbol for one in bench.exchange.accepted if one.working]


def test_a_large_order_is_looked_at_and_cancelled_from_the_shell(
    account: TradingAccount, bench: Bench, run: Run
) -> None:
    """What works at the broker is cancelled there, and no slice leaves any more."""
    parent, _ = start(account, request(), ACTION, RUN)
    SliceService(account, RUN, Prices()).send_due()
    shown = json.loads(run("show-twap", "--json").stdout)
    assert [(parent.parent_id, 40, 10)] == [(one["parent_id"], one["qty"], one["ordered"]) for one in shown]

    done = run("cancel-twap", parent.parent_id, *WHO)
    assert 0 == done.returncode, done.stderr
    assert ["canceled"] == [one["state"] for one in json.loads(done.stdout)]
    bench.waits.sleep(120)
    SliceService(account, RUN, Prices()).send_due()
    assert [False] == [one.working for one in bench.exchange.accepted]

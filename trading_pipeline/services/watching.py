"""The risk monitor's whole look at an account, every 30 s in a session and after a run's orders: `monitor` judges."""

from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.monitor import Assessment, act_on, assess
from trading_pipeline.services.settlement import settle_in_lane


def watch(account: TradingAccount) -> Assessment:
    """Judge every rule, remember a new equity peak, and trip the breaker if a rule is breached.

    Where ledger, book and broker differ the broker's news is brought home first: a fill that nobody has booked yet is
    no mismatch, and one that cannot be booked is.

    Raises:
        ServerUnavailable: PostgreSQL did not answer. Of another server the assessment says so itself.
    """
    return act_on(account, assess(account, settle=lambda: _settle(account)))


def _settle(account: TradingAccount) -> None:
    session = account.broker.current_session
    if session is not None:
        settle_in_lane(account, session, must_judge=False)

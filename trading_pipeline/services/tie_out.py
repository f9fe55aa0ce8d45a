"""The end of a session: ledger, book and broker agree to the share, or the account trades no further session."""

from trading_pipeline.adapters.store.ledger.tie_outs import TieOut
from trading_pipeline.core.risk.halts import OperatorAction
from trading_pipeline.errors import OperatorError, TieOutFailed
from trading_pipeline.services.account import TradingAccount
from trading_pipeline.services.verification import verify_book


def tie_out(account: TradingAccount, action: OperatorAction) -> TieOut:
    """Compare the three and seal the answer in the ledger, for the session that profit and loss count for now.

    Raises:
        OperatorError: the account has not traded yet.
        ServerUnavailable: a server or the broker did not answer; nothing is written, and the answer before counts.
    """
    session = account.session()
    if session is None:
        raise OperatorError("the account has not traded yet: there is nothing to tie out", account=account.account)
    differences = [one.describe() for one in verify_book(account).differences]
    held = {symbol: one.qty for symbol, one in account.ledger.fills.positions(account.account).items()}
    return account.ledger.tie_outs.record(account.account, session, held, differences, action.operator)


def failed_tie_out(account: TradingAccount) -> TieOut | None:
    """Return the newest tie-out of the account if it failed: until one succeeds no order but a flatten is sent."""
    newest = account.ledger.tie_outs.newest(account.account)
    return None if newest is None or newest.agrees else newest


def require_tied_out(account: TradingAccount) -> None:
    """Check that the newest tie-out of the account did not fail.

    Raises:
        TieOutFailed: it did; orders are kept back until one succeeds.
    """
    failed = failed_tie_out(account)
    if failed is not None:
        require_agreement(failed)


def require_agreement(found: TieOut) -> None:
    """Check that a tie-out found nothing.

    Raises:
        TieOutFailed: it found differences.
    """
    if not found.agrees:
        raise TieOutFailed(
            f"{found.describe()}: reconcile, then run tie-out",
            session=found.session.isoformat(),
        )

"""Names of the Redis keys of an account: both carry one hash tag, so that a cluster keeps them on one node."""

from typing import NamedTuple

from trading_pipeline.errors import ConfigError


class BookKeys(NamedTuple):
    """Everything the guard keeps of one account: what is true now, and the ids that are over."""

    book: str
    history: str


def book_keys(account: str) -> BookKeys:
    """Return the keys of an account.

    Raises:
        ConfigError: the account is empty or holds a brace, which would move its keys to another node.
    """
    if not account.strip() or {"{", "}"} & set(account):
        raise ConfigError(f"an account must be a name without braces, not {account!r}", account=account)
    return BookKeys(book=f"guard:{{{account}}}:book", history=f"guard:{{{account}}}:history")

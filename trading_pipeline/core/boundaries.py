"""Where a process may die or be overtaken: around every commit. Production looks on from nowhere; tests do."""

from collections.abc import Callable

Observer = Callable[[str], None]
"""Is told of each boundary of a transaction as it is reached: BEGIN, COMMIT, COMMITTED. It may raise."""

BEGIN = "begin"
"""Before the first statement."""
COMMIT = "commit"
"""After the last statement, before the commit: what is raised here rolls back."""
COMMITTED = "committed"
"""The server has committed; the caller does not know it yet."""


def unobserved(boundary: str) -> None:
    """Look on from nowhere."""
    del boundary

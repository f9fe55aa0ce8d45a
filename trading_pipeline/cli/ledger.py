"""How the verification of the ledger is asked for and shown."""

from dataclasses import asdict
from typing import Any

from trading_pipeline.adapters.store.ledger.seals import Head, LedgerCheck
from trading_pipeline.errors import ConfigError

_HASH_LENGTH = 64


def parse_head(text: str) -> Head:
    """Read a head as it was printed, `SEQ:HASH`.

    Raises:
        ConfigError: it is none.
    """
    number, _, digest = text.partition(":")
    if not number.isdecimal() or len(digest) != _HASH_LENGTH or not set(digest) <= set("0123456789abcdef"):
        raise ConfigError(f"{text!r} is no head: give it as verify-ledger printed it, SEQ:HASH with 64 hex digits")
    return Head(seq=int(number), hash=digest)


def check_rows(check: LedgerCheck) -> list[dict[str, Any]]:
    """Return what was checked and the head to write down, as one row."""
    return [
        {
            "sound": check.sound,
            "links": check.links,
            "orders": check.orders,
            "positions": check.positions,
            "problems": check.problem_count,
            "head": f"{check.head.seq}:{check.head.hash}",
        }
    ]


def problem_rows(check: LedgerCheck) -> list[dict[str, Any]]:
    """Return the problems that are listed."""
    return [asdict(problem) for problem in check.problems]

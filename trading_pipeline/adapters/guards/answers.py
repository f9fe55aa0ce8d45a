"""Refusals that no script gives: of a guard that cannot decide, and of a book that forgot. A yes is not made here."""

from collections.abc import Iterable
from typing import NamedTuple

from trading_pipeline.core.risk.clearance import ClearanceRequest, Verdict, VerdictCode
from trading_pipeline.errors import ServerUnavailable, TradingHalted


def unavailable(error: ServerUnavailable | TradingHalted) -> Verdict:
    """Return the verdict of a guard that cannot decide."""
    return Verdict(code=VerdictCode.GUARD_UNAVAILABLE, epoch=None, sequence=None, detail=error.message)


class Answer(NamedTuple):
    """What was asked and answered. `is_new`: the yes is a step of the book's sequence; anything else leaves it."""

    request: ClearanceRequest
    verdict: Verdict
    is_new: bool


def in_one_book(answers: Iterable[Answer]) -> list[Verdict]:
    """Return the verdicts; from the first whose book was older than it had been for one before it, all are refused."""
    seen, forgot = 0, False
    verdicts: list[Verdict] = []
    for request, verdict, is_new in answers:
        if verdict.sequence is not None and verdict.epoch == request.epoch:
            forgot = forgot or verdict.sequence - is_new < seen
            seen = verdict.sequence
        verdicts.append(_forgotten(verdict) if forgot else verdict)
    return verdicts


def _forgotten(verdict: Verdict) -> Verdict:
    return Verdict(
        code=VerdictCode.BOOK_STALE,
        epoch=verdict.epoch,
        sequence=verdict.sequence,
        detail="the book has forgotten what it cleared right before: run rebuild_risk_book",
    )

"""How the guard is asked for one order, and what its script answers; it must not judge either."""

from dataclasses import replace

from trading_pipeline.adapters.guards.answers import unavailable
from trading_pipeline.adapters.guards.checks import label, whole, word
from trading_pipeline.adapters.guards.layouts import ABSENT, UNKNOWN
from trading_pipeline.adapters.guards.records import PAYLOAD, REQUEST, SIDES
from trading_pipeline.adapters.guards.scripts import Reply
from trading_pipeline.core.money import LARGEST_EXACT_INTEGER
from trading_pipeline.core.risk.clearance import ClearanceRequest, ReplacementRequest, Verdict, VerdictCode
from trading_pipeline.core.risk.issuing import issue_clearance
from trading_pipeline.errors import ServerUnavailable, TradingHalted


def packed_request(request: ClearanceRequest) -> bytes:
    """Return a request, its payload behind it, as `clear.lua` reads it.

    Raises:
        ValueError: an id, digest or symbol that is not one word, an empty strategy, or a number that is not whole, of
            its sign and below 2**53.
    """
    return _header(request) + _payload(request)


def packed_replacement(request: ReplacementRequest) -> tuple[bytes | str | int, ...]:
    """Return a request as `amend.lua` reads it.

    A replacement is a wanted repeat: it asks for what the order before it asked for already.

    Raises:
        ValueError: as `packed_request`.
    """
    order = request.order
    new_id, asked = word("client_order_id", order.client_order_id), order.qty
    held_by = replace(order, client_order_id=request.holder, repeat=max(order.repeat, 1))
    header, payload = _header(held_by), _payload(order)
    before = whole("replaced_qty", request.replaced_qty, at_least=1)
    difference = max(asked - before, 0), max(before - asked, 0)
    return header + payload, len(header), new_id, *difference, order.epoch, order.min_sequence


def _header(request: ClearanceRequest) -> bytes:
    market = request.market
    equity = market.equity_ticks
    figures = (
        request.flatten,
        _known("reference_ticks", market.reference_ticks, at_least=1),
        _known("reference_age_seconds", market.reference_age_seconds),
        _known("adv_shares", market.adv_shares),
        UNKNOWN if equity is None else whole("equity_ticks", equity, at_least=1 - LARGEST_EXACT_INTEGER),
        whole("repeat", request.repeat),
        whole("epoch", request.epoch),
        whole("min_sequence", request.min_sequence),
    )
    names = word("client_order_id", request.client_order_id), label("strategy_id", request.strategy_id)
    return REQUEST.packed(figures, names)


def _payload(request: ClearanceRequest) -> bytes:
    return PAYLOAD.packed(
        (
            _known("limit_ticks", request.limit_ticks, at_least=1),
            SIDES.index(request.side),
            whole("qty", request.qty, at_least=1),
        ),
        (
            request.trade_session.isoformat(),
            word("symbol", request.symbol),
            word("payload_digest", request.payload_digest),
        ),
    )


def verdict_from(request: ClearanceRequest, reply: Reply) -> Verdict:
    """Read the reply of `clear.lua` to a request, or the error in its place."""
    if isinstance(reply, (ServerUnavailable, TradingHalted)):
        return unavailable(reply)
    if isinstance(reply, int):  # a new yes, in the book the request named
        return Verdict(
            code=VerdictCode.CLEARED,
            epoch=request.epoch,
            sequence=reply,
            clearance=issue_clearance(request, epoch=request.epoch, sequence=reply),
            judged_ticks=_judged_ticks(request),
        )
    code, *figures, detail = str(reply).split(" ", 7)
    observed, limit, epoch, sequence, original, wait = (None if figure == "-" else int(figure) for figure in figures)
    clearance, judged = None, None
    if code == VerdictCode.CLEARED and epoch is not None and original is not None:
        clearance = issue_clearance(request, epoch=epoch, sequence=original)
        observed, judged = None, observed
    return Verdict(
        code=VerdictCode(code),
        epoch=epoch,
        sequence=sequence,
        observed=observed,
        limit=limit,
        detail=detail,
        clearance=clearance,
        judged_ticks=judged,
        retry_after_ms=wait,
    )


def _judged_ticks(request: ClearanceRequest) -> int | None:
    reference = request.market.reference_ticks
    return None if reference is None else max(reference, request.limit_ticks or 0)


def _known(name: str, value: int | None, *, at_least: int = 0) -> int:
    return ABSENT if value is None else whole(name, value, at_least=at_least)

"""The risk guard: the one place that says yes to an order. It decides in Redis, in one step, and never on a guess."""

from collections.abc import Iterable
from typing import cast

import redis

from trading_pipeline.adapters.guards.book import BookSnapshot, BookState
from trading_pipeline.adapters.guards.checks import filled, whole, word
from trading_pipeline.adapters.guards.connection import check_durable, require_bounded
from trading_pipeline.adapters.guards.encoding import book_fields, flat, history_fields, limit_fields, snapshot_from
from trading_pipeline.adapters.guards.scripts import BookScripts
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import ClearanceRequest, Verdict, VerdictCode
from trading_pipeline.core.risk.halts import Breaker, KillSwitch, OperatorAction
from trading_pipeline.core.risk.issuing import issue_clearance
from trading_pipeline.core.risk.limits import RiskLimits
from trading_pipeline.errors import OperatorError, OrderConflict, ServerUnavailable, TradingHalted


class RiskGuard:
    """Clears the orders of one account against its book.

    Every change returns the book's sequence number after it, for the ledger to remember. A change that finds nothing
    to do returns the number as it is. All changes but `initialise` and `rebuild` raise `TradingHalted` when the book
    is missing, and all raise `ServerUnavailable` when Redis did not answer: they may have happened then.
    """

    def __init__(self, client: redis.Redis, account: str) -> None:
        require_bounded(client)
        self._client = client
        self._account = account
        self._scripts = BookScripts(client, account)

    def check_server(self) -> None:
        """Check that Redis neither evicts nor forgets the book.

        Raises:
            ConfigError: it does; the message names the setting.
            ServerUnavailable: it did not answer.
        """
        check_durable(self._client)

    def clear(self, request: ClearanceRequest) -> Verdict:
        """Judge one order and, on a yes, hold its exposure until it is posted or voided.

        The same request again gets the same clearance. A guard that cannot decide says GUARD_UNAVAILABLE.

        Raises:
            ValueError: an empty id, a digest or symbol that is not one word, or a number that is not whole, positive
                and below 2**53.
        """
        args = _clear_args(request)
        try:
            reply = cast("str", self._scripts.run("clear", *args))
        except (ServerUnavailable, TradingHalted) as error:
            return Verdict(code=VerdictCode.GUARD_UNAVAILABLE, epoch=None, sequence=None, detail=error.message)
        return _verdict(request, reply)

    def post(
        self, *, client_order_id: str, execution_id: str, qty: int, symbol: str, side: Side, price_ticks: int
    ) -> int:
        """Move one fill from pending to position; the same execution again changes nothing.

        A fill of an order that holds nothing (late, or not ours) moves the position all the same, and so does the
        part of a fill that exceeds its order.

        Args:
            client_order_id: the order, or the broker's name for an order that is not ours.
            execution_id: the broker's id of this fill.
            qty: whole shares.
            symbol: as in the order.
            side: as in the order.
            price_ticks: fill price in 1/10,000 dollar; the symbol is judged at it if the book has no price yet.

        Raises:
            OrderConflict: the order holds a reservation for another symbol or side.
            ValueError: an empty id, a symbol that is not one word, or a number that is not whole, positive and
                below 2**53.
        """
        ids = filled("client_order_id", client_order_id), filled("execution_id", execution_id)
        numbers = whole("qty", qty, at_least=1), whole("price_ticks", price_ticks, at_least=1)
        reply = self._ask("post", *ids, word("symbol", symbol), Side(side).value, *numbers)
        if reply[0] == "conflict":
            raise OrderConflict(
                f"execution {execution_id} is a {side} of {symbol}, its order {client_order_id} is not: ask the broker",
                client_order_id=client_order_id,
                execution_id=execution_id,
            )
        return self._sequence(reply)

    def void(self, client_order_id: str) -> int:
        """End an order: release what it still holds, and never clear its id again. Ended already: nothing changes."""
        return self._sequence(self._ask("void", filled("client_order_id", client_order_id)))

    def engage_kill_switch(self, action: OperatorAction) -> int:
        """Let nothing clear but an operator's flatten.

        Raises:
            OperatorError: it is engaged already.
        """
        return self._act("engage", action, "the kill switch is engaged already")

    def disengage_kill_switch(self, action: OperatorAction) -> int:
        """Let orders clear again. The breaker stays as it is.

        Raises:
            OperatorError: it is not engaged.
        """
        return self._act("disengage", action, "the kill switch is not engaged")

    def trip(self, reason: str) -> int:
        """Let only reducing orders clear until a person resets the breaker. Tripped already: the old reason stands."""
        return self._sequence(self._ask("trip", filled("reason", reason)))

    def reset(self, action: OperatorAction) -> int:
        """Take a tripped breaker into its quiet period, after which it is open.

        Raises:
            OperatorError: the breaker is not tripped.
        """
        return self._act("reset", action, "the breaker is not tripped")

    def renew(self, *, from_epoch: int, to_epoch: int, min_sequence: int) -> int:
        """Take the book into an epoch of the ledger; with equal epochs this only checks that the book is current.

        Raises:
            TradingHalted: the book is missing, of another epoch, or has lost writes the ledger has seen: rebuild it.
        """
        numbers = whole("from", from_epoch), whole("to", to_epoch), whole("seen", min_sequence)
        reply = cast("list[object]", self._scripts.run("renew", *numbers))
        if reply[0] == "stale":
            raise TradingHalted(
                f"the risk book of {self._account} is not the one the ledger knows: run rebuild_risk_book",
                account=self._account,
                epoch=from_epoch,
                min_sequence=min_sequence,
            )
        return self._sequence(reply)

    def block(self, symbol: str) -> int:
        """Let nothing clear for one symbol but a flatten."""
        return self._sequence(self._ask("block", word("symbol", symbol)))

    def unblock(self, symbol: str) -> int:
        """Lift the block of one symbol."""
        return self._sequence(self._ask("unblock", word("symbol", symbol)))

    def set_limits(self, limits: RiskLimits) -> int:
        """Replace the limits. What is held already stays held, and reducing orders stay possible.

        Raises:
            ValueError: a limit that is not a whole number of its unit below 2**53.
        """
        return self._sequence(self._ask("set_limits", *flat(limit_fields(limits))))

    def initialise(
        self,
        *,
        epoch: int,
        limits: RiskLimits,
        kill_switch: KillSwitch,
        breaker: Breaker,
        sequence: int = 0,
        blocked: Iterable[str] = (),
    ) -> int:
        """Create the first book of the account, flat.

        Raises:
            OperatorError: there is a book; only a rebuild replaces it.
            ValueError: a number that is not whole, or a breaker in its quiet period.
        """
        state = BookState(
            epoch=epoch,
            sequence=sequence,
            limits=limits,
            kill_switch=kill_switch,
            breaker=breaker,
            blocked=frozenset(blocked),
        )
        reply = self._replace("initialise", state)
        if reply[0] == "exists":
            raise self._not_now("there is a risk book already: use rebuild_risk_book to replace it")
        return self._sequence(reply)

    def rebuild(self, book: BookState) -> int:
        """Replace the whole book in one step. No order may be in the making meanwhile: its reservation would be lost.

        Raises:
            ValueError: a limit that is not a whole number of its unit below 2**53.
        """
        return self._sequence(self._replace("rebuild", book))

    def snapshot(self) -> BookSnapshot | None:
        """Return the whole book as it is now, None when it is missing.

        Raises:
            ServerUnavailable: Redis did not answer.
            TradingHalted: the book is damaged.
        """
        reply = self._ask("snapshot")
        if reply[0] != "ok":
            return None
        _, state, breaker, pairs = cast("tuple[str, str, str, list[str]]", reply)
        return snapshot_from(state, breaker, pairs)

    def _replace(self, verb: str, state: BookState) -> list[object]:
        book = flat(book_fields(state))
        return self._ask(verb, len(book), *book, *flat(history_fields(state)))

    def _ask(self, verb: str, *args: str | int) -> list[object]:
        return cast("list[object]", self._scripts.run(verb, *args))

    def _act(self, verb: str, action: OperatorAction, refusal: str) -> int:
        reply = self._ask(verb, f"{action.operator}: {action.reason}")
        if reply[0] == "unchanged":
            raise self._not_now(refusal, operator=action.operator)
        return self._sequence(reply)

    def _sequence(self, reply: list[object]) -> int:
        if reply[0] != "ok":
            raise TradingHalted(
                f"the risk book of {self._account} is missing: run initialize_risk_book or rebuild_risk_book",
                account=self._account,
                code=VerdictCode.BOOK_MISSING.value,
            )
        return cast("int", reply[1])

    def _not_now(self, why: str, **fields: str) -> OperatorError:
        return OperatorError(f"account {self._account}: {why}", account=self._account, **fields)


def _clear_args(request: ClearanceRequest) -> tuple[str | int, ...]:
    return (
        filled("client_order_id", request.client_order_id),
        word("payload_digest", request.payload_digest),
        word("symbol", request.symbol),
        Side(request.side).value,
        request.trade_session.isoformat(),
        int(request.flatten),
        whole("qty", request.qty, at_least=1),
        whole("reference_ticks", request.reference_ticks, at_least=1),
        whole("epoch", request.epoch),
        whole("min_sequence", request.min_sequence),
    )


def _verdict(request: ClearanceRequest, reply: str) -> Verdict:
    code, *figures, detail = reply.split(" ", 6)
    observed, limit, epoch, sequence, original = (None if figure == "-" else int(figure) for figure in figures)
    clearance = None
    if code == VerdictCode.CLEARED and epoch is not None and original is not None:
        clearance = issue_clearance(request, epoch=epoch, sequence=original)
    return Verdict(
        code=VerdictCode(code),
        epoch=epoch,
        sequence=sequence,
        observed=observed,
        limit=limit,
        detail=detail,
        clearance=clearance,
    )

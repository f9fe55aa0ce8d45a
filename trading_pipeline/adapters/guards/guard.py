"""The risk guard: the one place that says yes to an order. It decides in Redis, in one step, and never on a guess."""

from collections.abc import Iterable, Sequence
from copy import copy
from datetime import date, datetime
from decimal import Decimal
from typing import cast

import redis

from trading_pipeline.adapters.guards.answers import Answer, in_one_book, unavailable
from trading_pipeline.adapters.guards.asking import packed_replacement, packed_request, verdict_from
from trading_pipeline.adapters.guards.book import BookSnapshot, BookState, EpochStep
from trading_pipeline.adapters.guards.checks import filled, whole, word
from trading_pipeline.adapters.guards.connection import check_durable, require_bounded
from trading_pipeline.adapters.guards.encoding import (
    book_fields,
    changes_text,
    flat,
    history_fields,
    milliseconds,
    snapshot_from,
)
from trading_pipeline.adapters.guards.scripts import BookScripts
from trading_pipeline.adapters.guards.telling import Lowering, Posting, Told, halted, told
from trading_pipeline.core.orders.model import Side
from trading_pipeline.core.risk.clearance import ClearanceRequest, ReplacementRequest, Verdict, VerdictCode
from trading_pipeline.core.risk.halts import Gate, OperatorAction
from trading_pipeline.core.risk.limits import LimitChange, LimitSet, RiskLimits
from trading_pipeline.errors import OperatorError, ServerUnavailable, TradingHalted

_NO_STEP = ("", "", "")


class RiskGuard:
    """Clears the orders of one account against its book.

    A change of halts, gate, limits or symbols belongs to a step between two epochs of the ledger: see `following`.
    Every change returns the book's sequence number after it, for the ledger to remember. A change that finds nothing
    to do returns the number as it is. All changes but `initialise` and `rebuild` raise `TradingHalted` when the book
    is missing, and all raise `ServerUnavailable` when Redis did not answer: they may have happened then.
    """

    def __init__(self, client: redis.Redis, account: str, *, clock: str | None = None) -> None:
        """Bind the guard to an account.

        Args:
            client: bounded in time and without retries, as `connection.connect` makes it.
            account: whose book it is.
            clock: Lua text that defines `local function now_us()` in place of Redis's clock, for simulations.
        """
        require_bounded(client)
        self._client = client
        self._account = account
        self._scripts = BookScripts(client, account, clock=clock)
        self._step: tuple[str | int, ...] = _NO_STEP

    def following(self, step: EpochStep) -> "RiskGuard":
        """Return this guard for the one change that the ledger made between two of its epochs.

        The change and the new epoch are one step in Redis. Where the book is in the later epoch already, the change was
        made; in any but the earlier one it raises `TradingHalted`, and the book counts as stale.
        """
        bound = copy(self)
        known = whole("from_epoch", step.from_epoch), whole("to_epoch", step.to_epoch)
        bound._step = (*known, whole("min_sequence", step.min_sequence))  # noqa: SLF001 - a guard of ours
        return bound

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
            ValueError: an id, digest or symbol that is not one word, an empty strategy, or a number that is not whole,
                of its sign and below 2**53.
        """
        packed = packed_request(request)
        try:
            reply = cast("str | int", self._scripts.run("clear", packed))
        except (ServerUnavailable, TradingHalted) as error:
            return unavailable(error)
        return verdict_from(request, reply)

    def clear_many(self, requests: Sequence[ClearanceRequest]) -> list[Verdict]:
        """Judge orders one after the other, each by itself, asked in one message; all know the same of the book.

        A book that becomes an older one between two of them has forgotten what it said yes to: from there on the
        verdicts are BOOK_STALE. When Redis does not answer, all are GUARD_UNAVAILABLE: what it may have cleared is
        cleared again when it is asked again.

        Raises:
            ValueError: as `clear`; nothing was asked.
        """
        packed = [(packed_request(request),) for request in requests]
        try:
            replies = self._scripts.run_each("clear", packed)
        except (ServerUnavailable, TradingHalted) as error:
            return [unavailable(error) for _ in requests]
        asked = zip(requests, replies, strict=True)
        return in_one_book(
            Answer(request, verdict_from(request, reply), isinstance(reply, int)) for request, reply in asked
        )

    def amend(self, request: ReplacementRequest) -> Verdict:
        """Judge an order that is to take another one's place, and hold on a yes the larger of what the two can fill.

        The same request again gets the same clearance. What the chain holds is lowered by `lower_many` once it is
        known which of the two lives.

        Raises:
            ValueError: as `clear`.
        """
        packed = packed_replacement(request)
        try:
            reply = cast("str | int", self._scripts.run("amend", *packed))
        except (ServerUnavailable, TradingHalted) as error:
            return unavailable(error)
        return verdict_from(request.order, reply)

    def lower_many(self, lowerings: Sequence[Lowering], *, epoch: int, min_sequence: int) -> Told:
        """Lower what chains hold to what their live orders can still fill, each by itself; nothing is ever raised.

        Told already: nothing changes. All fills of a chain must have been posted before.
        """
        known = whole("epoch", epoch), whole("min_sequence", min_sequence)
        replies = self._scripts.run_each("lower", [(*one.words(), *known) for one in lowerings])
        ids = (one.client_order_id for one in lowerings)
        return told(self._account, dict(zip(ids, replies, strict=True)), min_sequence)

    def post(
        self,
        *,
        client_order_id: str,
        execution_id: str,
        qty: Decimal | int,
        symbol: str,
        side: Side,
        price_ticks: int,
        epoch: int,
        min_sequence: int,
        trade_session: date | None = None,
        judged_ticks: int = 0,
    ) -> int:
        """Move one fill from pending to position: `post_many` of one `Posting`.

        Raises:
            OrderConflict: the order holds a reservation for another symbol or side.
            TradingHalted: the book is missing, or not the one the ledger knows.
            ValueError: an id or symbol that is not one word, or a number that is not positive and exact.
        """
        posting = Posting(
            client_order_id=client_order_id,
            execution_id=execution_id,
            qty=qty,
            symbol=symbol,
            side=side,
            price_ticks=price_ticks,
            trade_session=trade_session,
            judged_ticks=judged_ticks,
        )
        return self.post_many([posting], epoch=epoch, min_sequence=min_sequence).require()

    def post_many(self, postings: Sequence[Posting], *, epoch: int, min_sequence: int) -> Told:
        """Move fills from pending to position, each by itself; the same execution again changes nothing.

        A fill of an order that holds nothing (late, or not ours) moves the position all the same, and so does the
        part of a fill that exceeds its order; both count for the session of their order.

        Args:
            postings: each execution once.
            epoch: the ledger's.
            min_sequence: the highest sequence the ledger has seen.
        """
        known = whole("epoch", epoch), whole("min_sequence", min_sequence)
        replies = self._scripts.run_each("post", [(*one.words(), *known) for one in postings])
        ids = (one.execution_id for one in postings)
        return told(self._account, dict(zip(ids, replies, strict=True)), min_sequence, postings)

    def void(self, client_order_id: str, *, epoch: int, min_sequence: int) -> int:
        """End one order: `void_many` of one.

        Raises:
            TradingHalted: the book is missing, or not the one the ledger knows.
        """
        return self.void_many([client_order_id], epoch=epoch, min_sequence=min_sequence).require()

    def void_many(self, client_order_ids: Sequence[str], *, epoch: int, min_sequence: int) -> Told:
        """End orders, each by itself: release what it still holds, and never clear its id again.

        Ended already: nothing changes.
        """
        known = whole("epoch", epoch), whole("min_sequence", min_sequence)
        ids = [word("client_order_id", one) for one in client_order_ids]
        replies = self._scripts.run_each("void", [(one, *known) for one in ids])
        return told(self._account, dict(zip(ids, replies, strict=True)), min_sequence)

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
        return self._sequence(self._change("trip", filled("reason", reason)))

    def reset(self, action: OperatorAction, quiet_until: datetime | None = None) -> int:
        """Take a tripped breaker into its quiet period, after which it is open.

        Args:
            action: who and why.
            quiet_until: the aware instant at which it ends; None: after as long as the limits say.

        Raises:
            OperatorError: the breaker is not tripped.
        """
        return self._act("reset", action, "the breaker is not tripped", milliseconds(quiet_until))

    def close_gate(self, reason: str) -> int:
        """Let only reducing orders clear until ledger and broker were seen to agree. Closed already: unchanged."""
        return self._sequence(self._change("gate", Gate.CLOSED.value, filled("reason", reason)))

    def open_gate(self, reason: str) -> int:
        """Let orders clear again after a reconciliation. Open already: unchanged."""
        return self._sequence(self._change("gate", Gate.OPEN.value, filled("reason", reason)))

    def block(self, symbol: str) -> int:
        """Let nothing clear for one symbol but a flatten."""
        return self._restrict("blocked", symbol, 1)

    def unblock(self, symbol: str) -> int:
        """Lift the block of one symbol."""
        return self._restrict("blocked", symbol, "")

    def quarantine(self, symbol: str, until: datetime | None) -> int:
        """Let nothing clear for one symbol but a flatten, until an aware instant; None: until it is released."""
        return self._restrict("quarantined", symbol, milliseconds(until))

    def release(self, symbol: str) -> int:
        """End the quarantine of one symbol."""
        return self._restrict("quarantined", symbol, "")

    def set_limits(self, limits: RiskLimits, changes: Iterable[LimitChange] = ()) -> int:
        """Replace the limits. What is held already stays held, and reducing orders stay possible.

        Args:
            limits: those that stay.
            changes: symbols' own limits and those that expire, oldest first.

        Raises:
            ValueError: a limit that is not a whole number of its unit below 2**53.
        """
        text = changes_text(LimitSet(limits=limits, changes=tuple(changes)))
        return self._sequence(self._change("set_limits", text))

    def initialise(self, book: BookState) -> int:
        """Create the first book of the account.

        Raises:
            OperatorError: there is a book; only a rebuild replaces it.
        """
        reply = self._replace("initialise", book)
        if reply[0] == "exists":
            raise self._not_now("there is a risk book already: use rebuild_risk_book to replace it")
        return self._sequence(reply)

    def rebuild(self, book: BookState) -> int:
        """Replace the whole book in one step. No order may be in the making meanwhile: its reservation would be lost.

        Raises:
            ValueError: a limit that is not a whole number of its unit below 2**53.
        """
        return self._sequence(self._replace("rebuild", book))

    def snapshot(self, *, epoch: int | None = None, min_sequence: int = 0) -> BookSnapshot | None:
        """Return the whole book as it is now, None when it is missing.

        Args:
            epoch: the ledger's; a book that is not current shows as halted then. None asks for no comparison.
            min_sequence: the highest sequence the ledger has seen.

        Raises:
            ServerUnavailable: Redis did not answer.
            TradingHalted: the book is damaged.
        """
        reply = self._ask("snapshot", "" if epoch is None else whole("epoch", epoch), whole("sequence", min_sequence))
        if reply[0] != "ok":
            return None
        _, state, cause, breaker, pairs = cast("tuple[str, str, str, int, list[str]]", reply)
        return snapshot_from(state, cause, breaker, pairs)

    def forgotten(self, *, executions: Sequence[str], orders: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return those of these executions and of these ended orders of which the book's history knows nothing.

        Raises:
            ServerUnavailable: Redis did not answer.
        """
        fields = [*(f"execution:{one}" for one in executions), *(f"order:{one}" for one in orders)]
        known = self._scripts.remembers(fields)
        named = [one for one, is_known in zip([*executions, *orders], known, strict=True) if not is_known]
        count = len(executions) - sum(known[: len(executions)])
        return named[:count], named[count:]

    def _replace(self, verb: str, state: BookState) -> list[object]:
        book = flat(book_fields(state))
        return self._ask(verb, len(book), *book, *flat(history_fields(state)))

    def _restrict(self, how: str, symbol: str, value: str | int) -> int:
        return self._sequence(self._change("restrict", how, word("symbol", symbol), value))

    def _change(self, verb: str, *args: str | int) -> list[object]:
        return self._ask(verb, *self._step, *args)

    def _ask(self, verb: str, *args: str | int) -> list[object]:
        return cast("list[object]", self._scripts.run(verb, *args))

    def _act(self, verb: str, action: OperatorAction, refusal: str, *args: int) -> int:
        reply = self._change(verb, f"{action.operator}: {action.reason}", *args)
        if reply[0] == "unchanged":
            raise self._not_now(refusal, operator=action.operator)
        return self._sequence(reply)

    def _sequence(self, reply: list[object]) -> int:
        if reply[0] == "ok":
            return cast("int", reply[1])
        raise halted(self._account, VerdictCode(cast("str", reply[0])))

    def _not_now(self, why: str, **fields: str) -> OperatorError:
        return OperatorError(f"account {self._account}: {why}", account=self._account, **fields)

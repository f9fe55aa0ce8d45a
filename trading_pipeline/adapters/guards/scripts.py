"""Runs the Lua verbs on the keys of one account and maps Redis errors to ours; it must not judge any answer."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import cast

import redis

from trading_pipeline.adapters.guards.keys import book_keys
from trading_pipeline.adapters.guards.records import lua_names
from trading_pipeline.core.batches import batches
from trading_pipeline.errors import ServerUnavailable, TradingHalted

_BOOK = ("names", "library", "numbers", "quantities", "records", "book")
_LIMITS = (*_BOOK, "symbols", "limits", "refresh")
_CHANGE = (*_BOOK, "change")
VERBS: Mapping[str, tuple[str, ...]] = {
    "clear": ("names",),
    "post": (*_LIMITS, "orders", "settle"),
    "void": (*_LIMITS, "orders", "settle"),
    "amend": (*_LIMITS, "orders", "settle"),
    "lower": (*_LIMITS, "orders", "settle"),
    "engage": _CHANGE,
    "disengage": _CHANGE,
    "trip": (*_CHANGE, "halts"),
    "reset": (*_LIMITS, "change"),
    "gate": _CHANGE,
    "restrict": (*_CHANGE, "symbols"),
    "set_limits": (*_LIMITS, "change"),
    "initialise": (*_LIMITS, "orders", "replace"),
    "rebuild": (*_LIMITS, "orders", "replace"),
    "snapshot": (*_LIMITS, "orders", "halts"),
}
"""Every verb with the parts it needs and no others: each run makes the functions of its parts anew."""

Reply = int | str | list[str | int] | ServerUnavailable | TradingHalted
"""What one of several calls came to."""

_DAMAGE = ("DAMAGED", "data string too short")
"""What an error of a script says when a value of the book is none: our own words, and those of `struct`."""

_BAD_REQUEST = "BAD REQUEST"

_ASKED_TOGETHER = 1_000
"""Fields of the history read at once: all else waits for Redis meanwhile."""

_INCLUDE = re.compile(r"^ *--@ (\w+)$", re.MULTILINE)
_NAME = re.compile(r"\b[A-Z][A-Z0-9_]*\b")


@cache
def part(name: str) -> str:
    """Return the text of one Lua file.

    The names of `records.lua_names` are put in, so that Lua looks none of them up. A line `--@ name` is another part,
    put in where it is needed: functions, or lines that work on the locals around them, so that what is true of a
    record or an exposure is said once and costs no call.
    """
    names = lua_names()
    text = (files(__package__) / "lua" / f"{name}.lua").read_text(encoding="utf-8")
    text = _NAME.sub(lambda found: names.get(found[0], found[0]), text)
    return _INCLUDE.sub(lambda found: part(found[1]), text)


def source(verb: str, clock: str | None = None) -> str:
    """Return the Lua text of a verb, behind the parts it needs.

    Args:
        verb: one of `VERBS`.
        clock: Lua text that defines `local function now_us()`, whole microseconds; None is the clock of Redis.
    """
    return "\n".join([clock or part("time"), *map(part, VERBS[verb]), part(verb)])


class BookScripts:
    """The verbs of one account, called by digest; Redis is taught a script it does not know."""

    def __init__(self, client: redis.Redis, account: str, *, clock: str | None = None) -> None:
        self._client = client
        self._account = account
        self._keys = book_keys(account)
        self._sources = {verb: source(verb, clock) for verb in VERBS}
        self._digests = {verb: sha1(text.encode()).hexdigest() for verb, text in self._sources.items()}  # noqa: S324 - Redis names scripts so

    def run(self, verb: str, *args: bytes | str | int) -> object:
        """Run a verb and return its reply: a text, a whole number, or a list of such.

        Raises:
            TradingHalted: the book holds values that are no numbers; it must be rebuilt.
            ServerUnavailable: Redis did not answer, or refused to run the script. After a lost answer the script
                may have run.
        """
        try:
            return _plain(self._evaluate(verb, args))
        except redis.RedisError as error:
            raise self._failure(verb, error) from error

    def run_each(self, verb: str, calls: Iterable[tuple[bytes | str | int, ...]]) -> list[Reply]:
        """Run a verb once a call, in their order, and return each reply, or its error.

        They are sent as one message, not as one step: others' commands may run in between, and a call that fails keeps
        no other from running.

        Raises:
            ServerUnavailable: Redis did not answer. After a lost answer any of them may have run.
        """
        asked = list(calls)
        try:
            replies = self._evaluate_each(verb, asked)
            untaught = [isinstance(reply, redis.exceptions.NoScriptError) for reply in replies]
            if any(untaught):
                # All from the first on, also those that ran because somebody else had taught it meanwhile: they are
                # known then, and none is answered before one that was asked before it.
                first = untaught.index(True)
                self._client.script_load(self._sources[verb])
                replies[first:] = self._evaluate_each(verb, asked[first:])
        except redis.RedisError as error:
            raise self._failure(verb, error) from error
        return [self._reply(verb, reply) for reply in replies]

    def remembers(self, fields: Sequence[str]) -> list[bool]:
        """Tell for each field whether the history of the book has it.

        Raises:
            ServerUnavailable: Redis did not answer.
        """
        known: list[bool] = []
        try:
            for together in batches(fields, _ASKED_TOGETHER):
                known += [value is not None for value in self._client.hmget(self._keys.history, list(together))]
        except redis.RedisError as error:
            raise self._failure("remember", error) from error
        return known

    def _evaluate_each(self, verb: str, calls: Sequence[tuple[bytes | str | int, ...]]) -> list[object]:
        together = self._client.pipeline(transaction=False)
        for args in calls:
            together.evalsha(self._digests[verb], 2, *self._keys, *args)
        return together.execute(raise_on_error=False)

    def _reply(self, verb: str, reply: object) -> Reply:
        if isinstance(reply, redis.RedisError):
            return self._failure(verb, reply)
        return cast("int | str | list[str | int]", _plain(reply))

    def _evaluate(self, verb: str, args: tuple[bytes | str | int, ...]) -> object:
        try:
            return self._client.evalsha(self._digests[verb], 2, *self._keys, *args)
        except redis.exceptions.NoScriptError:
            return self._client.eval(self._sources[verb], 2, *self._keys, *args)

    def _failure(self, verb: str, error: redis.RedisError) -> ServerUnavailable | TradingHalted:
        if isinstance(error, redis.ResponseError) and _BAD_REQUEST in str(error):
            return ServerUnavailable(
                f"the guard's script cannot read a request of this process ({error}): both come from one release, so"
                " end the processes of another one and try again; the risk book is as it was",
                account=self._account,
                verb=verb,
            )
        if isinstance(error, redis.ResponseError) and any(sign in str(error) for sign in _DAMAGE):
            return TradingHalted(
                f"the risk book of {self._account} is damaged: {error}; rebuild it from ledger and broker",
                account=self._account,
                verb=verb,
            )
        return ServerUnavailable(
            f"Redis did not {verb} on the risk book of {self._account}: {type(error).__name__}: {error}",
            account=self._account,
            verb=verb,
        )


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value

"""Runs the Lua verbs on the keys of one account and maps Redis errors to ours; it must not judge any answer."""

import re
from collections.abc import Mapping
from functools import cache
from hashlib import sha1
from importlib.resources import files

import redis

from trading_pipeline.adapters.guards.keys import book_keys
from trading_pipeline.adapters.guards.records import lua_names
from trading_pipeline.errors import ServerUnavailable, TradingHalted

_RECORDS = ("names", "quantities", "records")
_BOOK = ("names", "numbers", "quantities", "records", "book")
_LIMITS = (*_BOOK, "symbols", "limits", "refresh")
_CHANGE = (*_BOOK, "change")
VERBS: Mapping[str, tuple[str, ...]] = {
    "clear": (*_RECORDS, "symbols", "limits", "halts"),
    "post": (*_LIMITS, "orders", "settle"),
    "void": (*_LIMITS, "orders", "settle"),
    "engage": _CHANGE,
    "disengage": _CHANGE,
    "trip": (*_CHANGE, "halts"),
    "reset": (*_LIMITS, "change"),
    "gate": _CHANGE,
    "restrict": (*_CHANGE, "symbols"),
    "set_limits": (*_LIMITS, "change"),
    "initialise": (*_LIMITS, "orders", "replace"),
    "rebuild": (*_LIMITS, "orders", "replace"),
    "snapshot": (*_LIMITS, "halts"),
}
"""Every verb with the parts it needs and no others: each run makes the functions of its parts anew."""

_INCLUDE = re.compile(r"^ *--@ (\w+)$", re.MULTILINE)
_NAME = re.compile(r"\b[A-Z][A-Z0-9_]*\b")


@cache
def part(name: str) -> str:
    """Return the text of one Lua file.

    The names of `records.lua_names` are put in, so that Lua looks none of them up; a line `--@ name` is another part,
    which is made only where it is needed.
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

    def run(self, verb: str, *args: str | int) -> object:
        """Run a verb and return its reply: a text, a whole number, or a list of such.

        Raises:
            TradingHalted: the book holds values that are no numbers; it must be rebuilt.
            ServerUnavailable: Redis did not answer, or refused to run the script. After a lost answer the script
                may have run.
        """
        try:
            return _plain(self._evaluate(verb, args))
        except redis.ResponseError as error:
            if "DAMAGED" in str(error):
                raise TradingHalted(
                    f"the risk book of {self._account} is damaged: {error}; rebuild it from ledger and broker",
                    account=self._account,
                    verb=verb,
                ) from error
            raise self._unavailable(verb, error) from error
        except redis.RedisError as error:
            raise self._unavailable(verb, error) from error

    def _evaluate(self, verb: str, args: tuple[str | int, ...]) -> object:
        try:
            return self._client.evalsha(self._digests[verb], 2, *self._keys, *args)
        except redis.exceptions.NoScriptError:
            return self._client.eval(self._sources[verb], 2, *self._keys, *args)

    def _unavailable(self, verb: str, error: redis.RedisError) -> ServerUnavailable:
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

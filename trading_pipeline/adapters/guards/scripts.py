"""Runs the Lua verbs on the keys of one account and maps Redis errors to ours; it must not judge any answer."""

from functools import cache
from importlib.resources import files

import redis

from trading_pipeline.adapters.guards.keys import book_keys
from trading_pipeline.errors import ServerUnavailable, TradingHalted

VERBS = (
    "clear",
    "post",
    "void",
    "engage",
    "disengage",
    "trip",
    "reset",
    "block",
    "unblock",
    "set_limits",
    "initialise",
    "rebuild",
    "snapshot",
    "renew",
)


@cache
def source(verb: str) -> str:
    """Return the Lua text of a verb, behind what all verbs share."""
    folder = files(__package__) / "lua"
    return "\n".join((folder / f"{name}.lua").read_text(encoding="utf-8") for name in ("common", verb))


class BookScripts:
    """The verbs of one account, called by digest; Redis is taught a script it does not know."""

    def __init__(self, client: redis.Redis, account: str) -> None:
        self._account = account
        self._keys = book_keys(account)
        self._scripts = {verb: client.register_script(source(verb)) for verb in VERBS}

    def run(self, verb: str, *args: str | int) -> object:
        """Run a verb and return its reply: a text, a whole number, or a list of such.

        Raises:
            TradingHalted: the book holds values that are no numbers; it must be rebuilt.
            ServerUnavailable: Redis did not answer, or refused to run the script. After a lost answer the script
                may have run.
        """
        try:
            reply = self._scripts[verb](keys=self._keys, args=args)
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
        return _plain(reply)

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

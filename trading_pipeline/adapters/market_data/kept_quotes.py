"""The newest quote, trade and trading state of symbols in Redis: written by one process, read by all.

What is kept counts only while the process that listens is alive: `alive` expires when it stops saying so. A halt that
was told would otherwise outlive whoever could tell of its end.
"""

import json
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, TypeAlias, TypeVar

import redis

from trading_pipeline.adapters.market_data.alpaca.ticks import halted_by, quote_of, trade_of
from trading_pipeline.core.pricing import Seen
from trading_pipeline.errors import NoPrice, ServerUnavailable

ALIVE_FOR: Final = timedelta(seconds=10)
_QUOTE, _TRADE, _STATUS = _KINDS = "q", "t", "s"
_PRICES: Final = ("bp", "ap", "p")

T = TypeVar("T")
_Field: TypeAlias = "bytes | bytearray | memoryview[int] | str | int | float"
"""What the client takes; only text is given."""


class KeptQuotes:
    """What is kept of one feed.

    Args:
        client: Redis that answers text, with a time-out.
        source: who tells, such as `alpaca/sip`; part of every price.
    """

    def __init__(self, client: redis.Redis, source: str) -> None:
        self._client, self._source = client, source
        self._key, self._alive = f"quotes:{{{source}}}", f"quotes:{{{source}}}:alive"

    def begin(self) -> None:
        """Forget everything: what a connection before has told may have changed unheard."""
        self._run(lambda: self._client.delete(self._key, self._alive))

    def listening(self) -> None:
        """Say that somebody listens now."""
        self._run(lambda: self._client.set(self._alive, "1", px=ALIVE_FOR))

    def end(self) -> None:
        """Say that nobody listens any more."""
        self._run(lambda: self._client.delete(self._alive))

    def keep(self, messages: Collection[Mapping[str, Any]]) -> None:
        """Keep messages of Alpaca's stream, numbers as Decimal or int; those that tell of no symbol are passed over."""
        fields: dict[_Field, _Field] = {}
        for one in messages:
            symbol, kind = one.get("S"), one.get("T")
            if isinstance(symbol, str) and isinstance(kind, str) and kind in _KINDS:
                if kind == _STATUS and halted_by(one) is None:
                    continue
                fields[f"{kind}:{symbol}"] = _written(one)
        if fields:
            self._run(lambda: self._client.hset(self._key, mapping=fields))

    def forget(self, symbols: Collection[str]) -> None:
        """Keep nothing of symbols that are no longer listened to."""
        fields = [f"{kind}:{symbol}" for symbol in symbols for kind in _KINDS]
        if fields:
            self._run(lambda: self._client.hdel(self._key, *fields))

    def latest(self, symbols: Collection[str]) -> dict[str, Seen]:
        """Return what is kept of symbols, nothing while nobody listens.

        Raises:
            ServerUnavailable: Redis did not answer.
        """
        names = sorted(set(symbols))
        fields = [f"{kind}:{symbol}" for symbol in names for kind in _KINDS]
        if not fields:
            return {}

        def read() -> list[Any]:
            both = self._client.pipeline(transaction=True)
            both.exists(self._alive)
            both.hmget(self._key, fields)
            return both.execute()

        alive, values = self._run(read)
        if not alive:
            return {}
        told = iter([_read(text) for text in values])
        seen = {symbol: (next(told), next(told), next(told)) for symbol in names}
        return {
            symbol: Seen(
                quote=NoPrice.EMPTY if quote is None else quote_of(quote, self._source),
                trade=NoPrice.EMPTY if trade is None else trade_of(trade, self._source),
                halted=status is not None and bool(halted_by(status)),
            )
            for symbol, (quote, trade, status) in seen.items()
            if (quote, trade, status) != (None, None, None)
        }

    def _run(self, command: Callable[[], T]) -> T:
        try:
            return command()
        except redis.RedisError as away:
            raise ServerUnavailable(f"Redis did not take or tell quotes: {away}; check REDIS_URL") from away


def _written(message: Mapping[str, Any]) -> str:
    """Write what is read again; prices as text, for JSON of ours must not make floats of them.

    A time or conditions of another form leave nothing, which is read as no quote and no trade.
    """
    conditions = message.get("c") or []
    told = [message.get("t"), *(conditions if isinstance(conditions, list) else [None])]
    if not all(isinstance(one, str) for one in told):
        return "{}"
    kept = {"t": told[0], "c": told[1:]} | ({"sc": str(message["sc"])} if "sc" in message else {})
    return json.dumps(kept | {name: _text(message[name]) for name in _PRICES if name in message})


def _read(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    kept: dict[str, Any] = json.loads(text)
    return kept | {name: Decimal(kept[name]) for name in _PRICES if kept.get(name) is not None}


def _text(value: object) -> str | None:
    """Return a price as text; what is no number is kept as nothing, and read as no quote."""
    return str(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else None

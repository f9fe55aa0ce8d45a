"""Records as bytes, for tests that put into Redis what no guard would write there."""

import struct
from collections.abc import Mapping

import redis

from trading_pipeline.adapters.guards.keys import book_keys
from trading_pipeline.adapters.guards.layouts import Layout, Width
from trading_pipeline.adapters.guards.records import ORDER, PAYLOAD


def packed(layout: Layout, values: Mapping[str, int | str]) -> bytes:
    """Pack a record as the book holds it, what may be left out among it; a number below zero where none may be, too."""
    numbers = b"".join(_number(width, int(values[name])) for name, width in layout.fields)
    words = (str(values[name]).encode() for name in layout.words)
    return bytes((layout.tag,)) + numbers + b"".join(bytes((len(word),)) + word for word in words)


def unpacked(layout: Layout, record: bytes) -> dict[str, int]:
    """Read the numbers of a record, those that it leaves out among them."""
    if len(record) != layout.numbers.size:
        usual = [(width, layout.usual[name]) for name, width in layout.fields if name in layout.usual]
        record += struct.pack("<" + "".join(width.python for width, _ in usual), *(value for _, value in usual))
    tag, *numbers = struct.unpack(_format(layout), record)
    assert layout.tag == tag
    return {name: number for (name, _), number in zip(layout.fields, numbers, strict=True)}


def change(raw: redis.Redis, account: str, field: str, layout: Layout, **values: int) -> None:
    """Change some numbers of a record in the book, with a client that does not decode."""
    key = book_keys(account).book
    raw.hset(key, field, packed(layout, unpacked(layout, raw.hget(key, field)) | values))


def _number(width: Width, value: int) -> bytes:
    letter = width.python.lower() if value < 0 else width.python
    return struct.pack("<" + letter, value)


def _format(layout: Layout) -> str:
    return "<B" + "".join(width.python for _, width in layout.fields)


def change_order(raw: redis.Redis, account: str, order_id: str, **values: int | str) -> None:
    """Change numbers and words of a reservation and its payload, with a client that does not decode."""
    key, field = book_keys(account).book, f"order:{order_id}"
    record = raw.hget(key, field)
    size = ORDER.numbers.size
    payload, words = record[size : size + PAYLOAD.numbers.size], record[size + PAYLOAD.numbers.size :]
    held: dict[str, int | str] = unpacked(ORDER, record[:size]) | unpacked(PAYLOAD, payload)
    for name in PAYLOAD.words:
        held[name], words = words[1 : 1 + words[0]].decode(), words[1 + words[0] :]
    raw.hset(key, field, packed(ORDER, held | values) + packed(PAYLOAD, held | values))

"""Records as bytes, for tests that put into Redis what no guard would write there."""

import struct

import redis

from trading_pipeline.adapters.guards.keys import book_keys
from trading_pipeline.adapters.guards.layouts import Layout


def packed(layout: Layout, values: dict[str, int]) -> bytes:
    """Pack the numbers of a record as the book holds them, those that may be left out among them."""
    return struct.pack(_format(layout), layout.tag, *(values[name] for name, _ in layout.fields))


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


def _format(layout: Layout) -> str:
    return "<B" + "".join(width.python for _, width in layout.fields)

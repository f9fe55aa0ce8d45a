"""Long work in parts."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Give the items in their order, at most `size` at a time."""
    return (items[at : at + size] for at in range(0, len(items), size))

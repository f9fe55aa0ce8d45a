"""Which symbols are listened to: those any source wants, so that none takes away what another still needs."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionChange:
    """Symbols to begin and to stop listening to, each sorted."""

    add: tuple[str, ...]
    drop: tuple[str, ...]


class Subscriptions:
    """The symbols listened to: the union of what sources want, so that a symbol goes with the last that wants it.

    Args:
        most: symbols that may be listened to at once. Of more, those of the sources named first come first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._listened: frozenset[str] = frozenset()
        self.left_out: tuple[str, ...] = ()
        """Symbols that are wanted and have no place."""

    def want(self, wanted: Mapping[str, Collection[str]]) -> SubscriptionChange:
        """Say what the sources want now, in their order, and return what is to change."""
        in_order = dict.fromkeys(symbol for symbols in wanted.values() for symbol in sorted(symbols))
        chosen = frozenset(list(in_order)[: self._most])
        self.left_out = tuple(symbol for symbol in in_order if symbol not in chosen)
        change = SubscriptionChange(
            add=tuple(sorted(chosen - self._listened)), drop=tuple(sorted(self._listened - chosen))
        )
        self._listened = chosen
        return change

    @property
    def listened(self) -> tuple[str, ...]:
        """The symbols listened to, sorted."""
        return tuple(sorted(self._listened))

"""Ledger and book side by side: each difference by its name. Compares only; reads nothing."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from trading_pipeline.adapters.guards.book import BookSnapshot, SessionCount
from trading_pipeline.adapters.guards.encoding import NO_END, milliseconds
from trading_pipeline.adapters.store.ledger import BookRecord
from trading_pipeline.core.money import from_ticks
from trading_pipeline.core.risk.halts import Breaker, KillSwitch
from trading_pipeline.core.risk.limits import LIMIT_NAMES, LimitSet, LimitValue
from trading_pipeline.services.differences import Difference, DifferenceKind, LedgerView, apart, plain, signed_sums
from trading_pipeline.services.reservations import notional_held, reservation_differences

_NONE = Decimal(0)


def book_differences(ledger: LedgerView, book: BookSnapshot) -> Iterator[Difference]:
    """Compare the ledger with the book."""
    yield from _state(ledger, book)
    yield from _limits(ledger, book)
    shares = [*reservation_differences(ledger, book), *_positions(ledger, book)]
    counted = list(_orders_counted(ledger, book))
    yield from counted
    if not shares and not counted:  # else the dollars only follow from these
        yield from _dollars_counted(ledger, book)
    yield from shares
    for row in ledger.unposted:
        yield Difference(
            kind=DifferenceKind.EXECUTION_NOT_POSTED,
            subject=row["execution_id"],
            symbol=row["symbol"],
            ledger=f"{row['side']} {plain(row['qty'])} {row['symbol']}",
            book="not told",
        )
    for order in (*ledger.unreleased, *ledger.unsettled.values()):
        yield Difference(kind=DifferenceKind.ORDER_NOT_RELEASED, subject=order, ledger="ended", book="not told")


def _positions(ledger: LedgerView, book: BookSnapshot) -> Iterator[Difference]:
    untold = signed_sums((row["symbol"], row["side"], row["qty"]) for row in ledger.unposted)
    for symbol, (held, in_book) in apart(ledger.positions, book.positions):
        if held - untold.get(symbol, _NONE) != in_book:
            yield Difference(
                kind=DifferenceKind.POSITION, subject=symbol, symbol=symbol, ledger=plain(held), book=plain(in_book)
            )


def _state(ledger: LedgerView, book: BookSnapshot) -> Iterator[Difference]:
    record = ledger.book
    if book.epoch != record.epoch:
        yield Difference(kind=DifferenceKind.EPOCH, subject="book", ledger=str(record.epoch), book=str(book.epoch))
    if book.sequence < record.high_sequence:
        yield Difference(
            kind=DifferenceKind.SEQUENCE,
            subject="book",
            ledger=f"has seen {record.high_sequence}",
            book=str(book.sequence),
        )
    if book.kill_switch is not record.kill_switch:
        yield Difference(
            kind=DifferenceKind.KILL_SWITCH, subject="kill switch", ledger=record.kill_switch, book=book.kill_switch
        )
    if book.breaker is not record.breaker:
        yield Difference(kind=DifferenceKind.BREAKER, subject="breaker", ledger=record.breaker, book=book.breaker)
    elif _ms(book.quiet_until) != _ms(record.quiet_until):
        yield Difference(
            kind=DifferenceKind.QUIET_PERIOD,
            subject="breaker",
            ledger=f"quiet until {_instant(record.quiet_until)}",
            book=f"quiet until {_instant(book.quiet_until)}",
        )
    if book.gate is not record.gate:
        yield Difference(kind=DifferenceKind.GATE, subject="gate", ledger=record.gate, book=book.gate)
    yield from _reasons(record, book)
    yield from _listed(DifferenceKind.BLOCKED_SYMBOL, "blocked", ledger.blocked, book.blocked)
    yield from _quarantines(ledger, book)


def _quarantines(ledger: LedgerView, book: BookSnapshot) -> Iterator[Difference]:
    # A quarantine ends by the clock: one whose end has come is over, whether or not it is still written down.
    shut = {name: until for name, until in book.quarantined.items() if until is None or until > ledger.book.read_at}
    yield from _listed(
        DifferenceKind.QUARANTINED_SYMBOL, "in quarantine", frozenset(ledger.quarantined), frozenset(shut)
    )
    for symbol in sorted(ledger.quarantined.keys() & shut.keys()):
        if _ms(ledger.quarantined[symbol]) != _ms(shut[symbol]):
            yield Difference(
                kind=DifferenceKind.QUARANTINE_END,
                subject=symbol,
                symbol=symbol,
                ledger=_instant(ledger.quarantined[symbol]),
                book=_instant(shut[symbol]),
            )


def _reasons(record: BookRecord, book: BookSnapshot) -> Iterator[Difference]:
    """Compare why the account is halted, where both say that it is. What a halt that is over was for, nobody reads."""
    both = {
        "kill switch": (
            record.kill_switch is book.kill_switch is KillSwitch.ENGAGED,
            record.kill_switch_reason,
            book.kill_switch_reason,
        ),
        "breaker": (record.breaker is book.breaker is Breaker.TRIPPED, record.breaker_reason, book.breaker_reason),
        "gate": (record.gate is book.gate, record.gate_reason, book.gate_reason),
    }
    for what, (halted, ledgers, books) in both.items():
        if halted and ledgers != books:
            yield Difference(kind=DifferenceKind.HALT_REASON, subject=what, ledger=ledgers, book=books)


def _listed(kind: DifferenceKind, word: str, ledger: frozenset[str], book: frozenset[str]) -> Iterator[Difference]:
    for symbol in sorted(ledger ^ book):
        said = [word if symbol in listed else "free" for listed in (ledger, book)]
        yield Difference(kind=kind, subject=symbol, symbol=symbol, ledger=said[0], book=said[1])


def _limits(ledger: LedgerView, book: BookSnapshot) -> Iterator[Difference]:
    record, wanted = ledger.book, ledger.book.limits
    there = replace(book.limits, monitor=wanted.monitor).as_text()
    named: set[tuple[str, str | None]] = set()
    for name, value in wanted.as_text().items():
        if _number(value) != _number(there[name]):
            named.add((name, None))
            yield Difference(kind=DifferenceKind.LIMIT, subject=name, ledger=value, book=there[name])
    own = [_own_limits(limits.in_force(record.read_at)) for limits in (record.limit_set, book.limit_set)]
    for subject in sorted(own[0].keys() | own[1].keys()):
        if own[0].get(subject) != own[1].get(subject):
            named.add(subject)
            said = [side.get(subject) for side in own]
            yield Difference(
                kind=DifferenceKind.LIMIT,
                subject=_named(subject),
                symbol=subject[1],
                ledger=str(said[0] if said[0] is not None else "none"),
                book=str(said[1] if said[1] is not None else "none"),
            )
    yield from _courses(record, book, named)


def _courses(record: BookRecord, book: BookSnapshot, named: Collection[tuple[str, str | None]]) -> Iterator[Difference]:
    """Compare when the limits that bind now end, and what holds then; those that differ now are named already."""
    courses = [_course(limits, record.read_at) for limits in (record.limit_set, book.limit_set)]
    for subject in sorted(courses[0].keys() | courses[1].keys(), key=lambda one: (one[0], one[1] or "")):
        said = [side.get(subject, []) for side in courses]
        if said[0] != said[1] and subject not in named:
            yield Difference(
                kind=DifferenceKind.LIMIT_END,
                subject=_named(subject),
                symbol=subject[1] or "",
                ledger=_told(said[0]),
                book=_told(said[1]),
            )


_Course = list[tuple[LimitValue, int]]
"""Values of one limit with their ends in milliseconds, 0 for none; the newest, which binds, last."""


def _course(limits: LimitSet, now: datetime) -> dict[tuple[str, str | None], _Course]:
    found: dict[tuple[str, str | None], _Course] = {
        (name, None): [(limits.limits.value(name), NO_END)] for name in LIMIT_NAMES
    }
    for one in limits.changes:
        ends = milliseconds(one.until)
        if one.limit in LIMIT_NAMES and (one.until is None or ends > milliseconds(now)):
            found.setdefault((one.limit, one.symbol), []).append((one.value, ends))
    return found


def _told(course: _Course) -> str:
    words = [f"{'off' if value is None else value}" + (f" until {_of(ends)}" if ends else "") for value, ends in course]
    return ", then ".join(reversed(words)) or "none"


def _named(subject: tuple[str, str | None]) -> str:
    return subject[0] if subject[1] is None else f"{subject[0]} of {subject[1]}"


def _own_limits(limits: LimitSet) -> dict[tuple[str, str], Decimal]:
    """Return the limits that symbols have of their own as they bind: the newest change of each wins."""
    return {
        (one.limit, one.symbol): Decimal(one.value)
        for one in limits.changes
        if one.symbol is not None and one.value is not None
    }


def _orders_counted(ledger: LedgerView, book: BookSnapshot) -> Iterator[Difference]:
    for session, cleared in ledger.cleared_by_session.items():
        counted = book.sessions.get(session, SessionCount(0)).orders
        if not cleared.orders <= counted <= cleared.orders + cleared.unrecorded:
            yield Difference(
                kind=DifferenceKind.COUNTER,
                subject=f"orders of {session}",
                ledger=str(cleared.orders),
                book=str(counted),
            )


def _dollars_counted(ledger: LedgerView, book: BookSnapshot) -> Iterator[Difference]:
    """Of what the book counts, its own reservations may still fill; all else it must have counted as filled."""
    for session, cleared in ledger.cleared_by_session.items():
        counted = book.sessions.get(session, SessionCount(0)).notional_ticks
        filled = from_ticks(counted - notional_held(session, book.reservations.values()))
        if cleared.exact and not cleared.least <= filled <= cleared.most:
            said = f"{cleared.least:.4f}" + (f" to {cleared.most:.4f}" if cleared.least != cleared.most else "")
            yield Difference(
                kind=DifferenceKind.SESSION_NOTIONAL,
                subject=f"dollars of {session}",
                ledger=f"{said} filled",
                book=f"{filled} filled",
            )


def _number(text: str) -> Decimal | str:
    return Decimal(text) if text.replace(".", "", 1).isdigit() else text


def _ms(until: datetime | None) -> int | None:
    return None if until is None else milliseconds(until)


def _instant(until: datetime | None) -> str:
    return "no end" if until is None else until.isoformat(timespec="milliseconds")


def _of(ms: int) -> str:
    return _instant(datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000))

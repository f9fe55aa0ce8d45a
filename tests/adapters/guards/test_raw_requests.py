"""Requests no Python code would make, given to the real script: none clears and none leaves a mark."""

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.adapters.guards.builders import ACCOUNT, ask, book_of
from trading_pipeline.adapters.guards.encoding import request_text
from trading_pipeline.adapters.guards.guard import RiskGuard
from trading_pipeline.adapters.guards.scripts import BookScripts
from trading_pipeline.core.risk.clearance import VerdictCode
from trading_pipeline.errors import PipelineError

WORDS = ("id", "digest", "symbol", "side", "session", "flatten")
FIGURES = ("qty", "price", "age", "adv", "equity", "limit", "repeat", "epoch", "min_sequence")
ARGUMENTS = (*WORDS, *FIGURES, "strategy")
"""What a request says, in its order."""
POSITIVE = frozenset({"qty", "price", "limit"})
REQUEST = ask("raw", qty=101, price=1_500_003, age=7, adv=5_000_011, equity=900_000_013, limit=1_500_017, repeat=3)
VALID = dict(zip(ARGUMENTS, request_text(REQUEST).split(" "), strict=True))

NO_TEXT = ("", " ", "  ", "\0", "\n", "\t", "\r\n", "\x7f")
NO_NUMBER = (
    *("NaN", "nan", "-nan", "nan(0x1)", "inf", "-inf", "Infinity", "-Infinity", "1e400", "-1e400"),
    *("0x65", "0X65", "0x1p4", "1e2", "1E2", "1.5", "0.1", "101.", ".5", "1,0", "1_0", "abc", "?1", "*1", "1?", "--1"),
    *("+101", "- 101", "-", "+", "\uff11", "\u0661"),
    *(str(2**53), str(2**63), str(2**64 + 101), "9" * 40, "9" * 400, f"-{2**53}"),
)
"""Whatever some parser of numbers would take, or would have to round."""


@pytest.mark.parametrize("argument", FIGURES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.data())
def test_figure_that_is_none_never_clears(
    guard: RiskGuard, client: redis.Redis, argument: str, drawn: st.DataObject
) -> None:
    """NaN, infinities, hex, exponents, signs, fractions and the huge pass no comparison by accident."""
    signed = ("-0", "-1", "-100") if argument != "equity" else ()
    bad = (*NO_TEXT, *NO_NUMBER, *signed, *(("0", "00") if argument in POSITIVE else ()))

    _assert_never_clears(guard, client, VALID | {argument: drawn.draw(st.sampled_from(bad))})


@pytest.mark.parametrize("argument", ARGUMENTS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.data())
def test_argument_with_a_blank_or_a_control_character_never_clears(
    guard: RiskGuard, client: redis.Redis, argument: str, drawn: st.DataObject
) -> None:
    """Emptied, or with a space, NUL, newline or the like before, within or behind it, no argument is what it was."""
    sound, blank = VALID[argument], drawn.draw(st.sampled_from(NO_TEXT))
    at = drawn.draw(st.sampled_from((0, len(sound) // 2, len(sound))))
    if argument == "strategy" and not blank.strip(" "):
        spoiled = blank  # a strategy may have spaces in its name, but must have one
    else:
        spoiled = sound[:at] + blank + sound[at:] if blank else ""

    _assert_never_clears(guard, client, VALID | {argument: spoiled})


@pytest.mark.parametrize(
    ("argument", "bad"),
    [
        ("side", ("BUY", "hold", "-", "0", "NaN", "buysell")),
        ("flatten", ("2", "-1", "true", "NaN", "00", "?")),
        ("session", ("NaN", "inf", "0", "?", "2024-10-1", "20241017", "2024-10-17T00:00", "2024-1e-17", "-024-10-17")),
    ],
)
def test_word_of_a_fixed_form_has_no_other(
    guard: RiskGuard, client: redis.Redis, argument: str, bad: tuple[str, ...]
) -> None:
    """A session nobody trades in would be a count of orders that starts at nothing."""
    for one in bad:
        _assert_never_clears(guard, client, VALID | {argument: one})


def test_request_as_python_writes_it_clears(guard: RiskGuard, client: redis.Redis) -> None:
    """What is spoiled above is a request that clears as long as nobody spoils it."""
    before = book_of(guard)

    assert VerdictCode.CLEARED.value == _code(client, request_text(REQUEST))

    assert before != book_of(guard)


def _assert_never_clears(guard: RiskGuard, client: redis.Redis, words: dict[str, str]) -> None:
    before = book_of(guard)

    assert "cleared" != _code(client, " ".join(words.values()))

    assert before == book_of(guard)


def _code(client: redis.Redis, text: str) -> str:
    try:
        return str(BookScripts(client, ACCOUNT).run("clear", text)).split(" ", 1)[0]
    except PipelineError:
        return "failed"

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

FIGURES = {"qty": 101, "price": 1_500_003, "age": 7, "adv": 5_000_011, "equity": 900_000_013, "limit": 1_500_017}
"""Each figure is found in the request by its value, wherever the layout puts it."""
VALID = request_text(ask("raw", qty=101, price=1_500_003, age=7, adv=5_000_011, equity=900_000_013, limit=1_500_017))
NEVER = ("NaN", "nan", "-nan", "inf", "-inf", "1e400", "-1e400", "1.5", "0.1", str(2**53), "9" * 40, "", "abc", "1,0")
NOT_POSITIVE = ("0", "-0", "-1", "-100")


@pytest.mark.parametrize("figure", FIGURES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.data())
def test_figure_that_is_none_never_clears(
    guard: RiskGuard, client: redis.Redis, figure: str, drawn: st.DataObject
) -> None:
    """NaN, infinities, fractions, the huge and what is no number pass no comparison by accident."""
    bad = NEVER + (NOT_POSITIVE if figure in {"qty", "price", "limit"} else ())
    words = VALID.split(" ")
    words[words.index(str(FIGURES[figure]))] = drawn.draw(st.sampled_from(bad))
    before = book_of(guard)

    assert "cleared" != _code(client, " ".join(words))

    assert before == book_of(guard)


def test_request_as_python_writes_it_clears(guard: RiskGuard, client: redis.Redis) -> None:
    """What is spoiled above is a request that clears as long as nobody spoils it."""
    before = book_of(guard)

    assert VerdictCode.CLEARED.value == _code(client, VALID)

    assert before != book_of(guard)


def _code(client: redis.Redis, text: str) -> str:
    try:
        return str(BookScripts(client, ACCOUNT).run("clear", text)).split(" ", 1)[0]
    except PipelineError:
        return "failed"

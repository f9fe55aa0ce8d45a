"""Reading expressions: what is understood, and how a mistake is reported."""

import contextlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.core.features.expression import Call, Constant, Expression, Field, fields_of
from trading_pipeline.core.features.operators import OPERATORS
from trading_pipeline.core.features.parser import MAX_DEPTH, parse
from trading_pipeline.errors import FeatureError


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("$close", "$close"),
        ("$close+$open*2", "Add($close,Mul($open,2))"),
        ("($close+$open)*2", "Mul(Add($close,$open),2)"),
        ("$close-$open-$low", "Sub(Sub($close,$open),$low)"),
        ("$high-$low+1e-12", "Add(Sub($high,$low),1e-12)"),
        ("$close>$open|$low", None),
        ("($close>$open)|($low<$open)", "Or(Gt($close,$open),Lt($low,$open))"),
        ("Ref($close, -2)", "Ref($close,-2)"),
        ("-$close", "Mul(-1,$close)"),
        ("+$close", "$close"),
        ("2**$close", "Power(2,$close)"),
        ("Quantile($close, 5, 0.8)", "Quantile($close,5,0.8)"),
        ("~($close>$open)", "Not(Gt($close,$open))"),
        ('Mask($close, "SPY")', "Mask($close,'SPY')"),
        ("CSRank($close, $sector)", "CSRank($close,$sector)"),
        ("  Mean( $close>Ref( $close , 1 ) , 5 )  ", "Mean(Gt($close,Ref($close,1)),5)"),
    ],
)
def test_reads_the_notation_with_the_precedence_of_python(text: str, canonical: str | None) -> None:
    """`&` and `|` bind tighter than comparisons, so an unbracketed one is no condition."""
    if canonical is None:
        with pytest.raises(FeatureError, match="condition"):
            parse(text)
    else:
        assert canonical == str(parse(text))


@pytest.mark.parametrize(
    ("text", "reason", "column"),
    [
        ("$close+Foo($open, 1)", "unknown operator 'Foo'", 8),
        ("$close + close", "neither a field", 10),
        ("_close", "neither a field", 1),
        ("$$close", "neither a field", 1),
        ("$close+", "invalid syntax", 8),
        ("($close", "never closed", 1),
        ("Mean($close)", "takes 2 arguments, not 1", 1),
        ("1 + Mean($close, 2.5)", "whole number of sessions from 0", 18),
        ("Mean($close, -1)", "whole number of sessions from 0", 14),
        ("Kurt($close, 3)", "of at least 4", 14),
        ("  Mean($close, x)", "neither a field", 16),
        ("Mena($close, 5)", "did you mean Mean?", 1),
        ("TResample($close, 5, 5)", "TResample is not supported", 1),
        ("$close+PRef($open, 1)", "PRef is not supported", 8),
        ("Mask($close, SPY)", "neither a field", 14),
        ("Mask($close, 5)", "a symbol in quotes", 14),
        ("CSRank($close, 5)", "a field that names groups", 16),
        ("CSRank()", "takes 1 or 2 arguments, not 0", 1),
        ("Add($close, 'x')", "argument 2 of Add", 13),
        ("Quantile($close, 5, 2)", "number from 0 to 1", 21),
        ("Not($close)", "must be a condition", 5),
        ("$low<$close<$high", "chained", 1),
        ("$close % 2", "no infix operator Mod", 1),
        ("$close.mean()", "not part of the notation", 1),
        ("Mean($close, n=5)", "not part of the notation", 1),
        ("'text'", "reads no field", 1),
        ("True", "not part of the notation", 1),
        ("1+2", "reads no field", 1),
        ("", "", 1),
        ("$close\n+1", "single line", 1),
        ("$clöse", "ASCII", 1),
        ("-" * (MAX_DEPTH + 1) + "$close", "", 0),
        ("(" * 300 + "$close" + ")" * 300, "", 0),
    ],
)
def test_a_mistake_names_its_place(text: str, reason: str, column: int) -> None:
    """The message quotes the expression, says what is wrong, and where."""
    with pytest.raises(FeatureError) as caught:
        parse(text)
    assert reason in caught.value.message
    if column:
        assert column == caught.value.fields["column"]


@given(st.text(alphabet=string.printable, max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text leads to any other error."""
    with contextlib.suppress(FeatureError):
        assert any(fields_of(parse(text)))


def _expressions() -> st.SearchStrategy[Expression]:
    leaves = st.sampled_from([Field("close"), Field("volume")])
    windows = st.integers(1, 60).map(Constant)
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(lambda name, x, n: Call(name, (x, n)), st.sampled_from(["Mean", "Std", "Ref"]), inner, windows),
            st.builds(lambda name, x, y: Call(name, (x, y)), st.sampled_from(["Add", "Greater", "Lt"]), inner, inner),
        ),
    )


@given(_expressions())
def test_the_canonical_form_reads_back_as_itself(expression: Expression) -> None:
    """What an expression prints as is an expression again, the same one."""
    assert expression == parse(str(expression))


def test_every_operator_can_be_written_as_a_call() -> None:
    """The table of operators and the reader agree on each name."""
    sample = {
        "an expression": "$close",
        "a condition": "($close>$open)",
        "a whole number of sessions from 0 (0: all history)": "5",
        "a whole number of sessions (0: the first value)": "-5",
        "a span of at least 1 session, a weight between 0 and 1, or 0 (all history)": "0.5",
        "a number from 0 to 1": "0.5",
        "a symbol in quotes": "'SPY'",
        "a field that names groups": "$sector",
    }
    for name, operator in OPERATORS.items():
        text = f"{name}({', '.join(sample[parameter] for parameter in operator.parameters)})"
        assert Call(name, parse(text).arguments) == parse(text)

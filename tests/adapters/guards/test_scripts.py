"""The text of the scripts, as far as it can be judged without running them."""

import re

import pytest

from trading_pipeline.adapters.guards.scripts import VERBS, source

_COMMENT, _TEXT, _NAME = re.compile(r"--.*"), re.compile(r"'[^'\n]*'"), re.compile(r"\b[A-Z][A-Z0-9_]*\b")
GIVEN = {"KEYS", "ARGV"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_name_in_capitals_stands_for_something(verb: str) -> None:
    """A name that records.py does not know would be nil, and show only where a rare branch compares with it."""
    code = _TEXT.sub("''", _COMMENT.sub("", source(verb)))
    declared = {name for line in re.findall(r"local ([^=\n]*)=", code) for name in _NAME.findall(line)}

    assert set() == set(_NAME.findall(code)) - declared - GIVEN


@pytest.mark.parametrize("verb", VERBS)
def test_no_part_is_missing(verb: str) -> None:
    """Every line that asks for a part has been replaced by it."""
    assert "--@" not in source(verb)

"""Arithmetic in float32 in one pass is numpy's, bit by bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trading_pipeline.core.features.elementwise import ELEMENTWISE
from trading_pipeline.core.features.kernels.arrays import Row
from trading_pipeline.core.features.kernels.float32 import FLOAT32

PAIRS = arrays(np.float64, st.tuples(st.just(2), st.integers(0, 40)), elements=st.floats())
"""Two series of one length: any double, so also missing, infinite, subnormal, and beyond the range of float32."""


@pytest.mark.parametrize("operator", sorted(FLOAT32))
@given(pair=PAIRS)
def test_arithmetic_has_the_bits_of_numpy(operator: str, pair: Row) -> None:
    """Operands are rounded first, the answer is rounded to float32 and widened."""
    found, expected = np.full(pair.shape[1], 7.0), np.full(pair.shape[1], 7.0)
    FLOAT32[operator](pair[0], pair[1], found)
    with np.errstate(all="ignore"):
        ELEMENTWISE[operator](pair[0].astype(np.float32), pair[1].astype(np.float32), out=expected)
    missing = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(found), missing)
    np.testing.assert_array_equal(found[~missing].view(np.int64), expected[~missing].view(np.int64))


def test_an_answer_may_take_the_place_of_an_operand() -> None:
    """As registers are reused when their last reader is done."""
    left, right = np.array([1.0, 4.0, np.nan]), np.array([3.0, 0.0, 1.0])
    FLOAT32["Sub"](left, right, left)
    np.testing.assert_array_equal(left, [-2.0, 4.0, np.nan])

"""The sum in one call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.errors import UnsafeParameters, UsageError
from fedpriv.secagg import secure_sum


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_signed_sums_are_exact_up_to_the_last_bit(data: st.DataObject) -> None:
    bits = data.draw(st.integers(4, 62))
    clients = data.draw(st.integers(3, 6))
    bound = (2 ** (bits - 1) - 1) // clients
    value = st.integers(-bound, bound)
    rows = data.draw(st.lists(st.lists(value, min_size=3, max_size=3), min_size=clients, max_size=clients))
    vectors = [np.array(row, dtype=np.int64) for row in rows]
    expected = [sum(column) for column in zip(*rows, strict=True)]
    assert secure_sum(vectors, bits=bits).tolist() == expected


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64])
def test_every_integer_type_and_shape(dtype: Any) -> None:
    vectors = [np.full((2, 3), value, dtype=dtype) for value in (100, 27, 0)]
    total = secure_sum(vectors, min_survivors=3)
    assert total.dtype == np.int64
    assert np.array_equal(total, np.full((2, 3), 127))


def test_the_extremes_of_the_range() -> None:
    low = [np.array([-(2**61)]), np.array([0]), np.array([0])]
    assert secure_sum(low).tolist() == [-(2**61)]
    high = [np.array([2**61 - 1]), np.array([0]), np.array([0])]
    assert secure_sum(high).tolist() == [2**61 - 1]


@pytest.mark.parametrize("value", [2**61, -(2**61) - 1, 2**63 - 1, -(2**63)])
def test_a_sum_that_could_wrap_is_refused(value: int) -> None:
    with pytest.raises(UsageError, match="wrap"):
        secure_sum([np.array([value]), np.array([0]), np.array([0])])
    with pytest.raises(UsageError, match="wrap"):
        secure_sum([np.array([100])] * 3, bits=9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_floats_are_refused_with_the_way_to_encode_them(dtype: Any) -> None:
    with pytest.raises(UsageError) as refusal:
        secure_sum([np.zeros(2, dtype=dtype)] * 3)
    assert "Encode first" in refusal.value.hint


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_are_refused(count: int) -> None:
    with pytest.raises(UnsafeParameters):
        secure_sum([np.zeros(2, dtype=np.int64)] * count)


def test_more_survivors_than_vectors_are_refused() -> None:
    with pytest.raises(UsageError, match="min_survivors"):
        secure_sum([np.zeros(2, dtype=np.int64)] * 5, min_survivors=6)


def test_a_floor_below_the_least_safe_one_is_raised_to_it() -> None:
    assert secure_sum([np.ones(2, dtype=np.int64)] * 5, min_survivors=1).tolist() == [5, 5]


@pytest.mark.parametrize(
    "vectors",
    [
        [np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64), np.zeros(3, dtype=np.int64)],
        [np.zeros(0, dtype=np.int64)] * 3,
        [np.zeros(2, dtype=bool)] * 3,
        [np.array([1, None], dtype=object)] * 3,
        [np.array(["1"])] * 3,
    ],
)
def test_what_is_no_vector_of_integers_is_refused(vectors: Any) -> None:
    with pytest.raises(UsageError):
        secure_sum(vectors)
    with pytest.raises(UsageError):
        secure_sum([np.zeros(2, dtype=np.int64)] * 3, bits=63)

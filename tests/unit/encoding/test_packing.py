"""Residues without gaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.encoding.packing import pack, packed_size, unpack
from fedpriv.errors import DecodeError, UsageError


@given(st.integers(1, 62), st.data())
def test_packing_is_the_number_whose_digits_the_values_are(bits: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(0, 2**bits - 1), max_size=150))
    packed = pack(np.array(values, dtype=np.uint64), bits)
    number = sum(value << (k * bits) for k, value in enumerate(values))
    assert packed == number.to_bytes((len(values) * bits + 7) // 8, "little")
    assert unpack(packed, bits, len(values)).tolist() == values


@pytest.mark.parametrize("bits", [1, 5, 8, 16, 20, 24, 31, 32, 33, 48, 62])
def test_vectors_longer_than_one_chunk(bits: int) -> None:
    values = np.random.default_rng(bits).integers(0, 2**bits, 100_003, dtype=np.uint64)
    packed = pack(values, bits)
    assert len(packed) == packed_size(bits, values.size)
    assert np.array_equal(unpack(packed, bits, values.size), values)


@pytest.mark.parametrize("bits", [1, 7, 8, 12, 32, 62])
@pytest.mark.parametrize("change", [-1, 1])
def test_another_length_is_refused(bits: int, change: int) -> None:
    packed = pack(np.zeros(9, dtype=np.uint64), bits)
    with pytest.raises(DecodeError):
        unpack(packed[:-1] if change < 0 else packed + b"\0", bits, 9)


@pytest.mark.parametrize(("bits", "count"), [(1, 1), (7, 9), (12, 3), (62, 1), (33, 5)])
def test_padding_bits_that_are_set_are_refused(bits: int, count: int) -> None:
    packed = pack(np.zeros(count, dtype=np.uint64), bits)
    for bit in range(bits * count % 8, 8):
        with pytest.raises(DecodeError, match="padding"):
            unpack(packed[:-1] + bytes([1 << bit]), bits, count)


@pytest.mark.parametrize("bits", [1, 8, 20, 62])
def test_a_value_that_does_not_fit_is_refused(bits: int) -> None:
    with pytest.raises(UsageError, match="does not fit"):
        pack(np.array([0, 2**bits], dtype=np.uint64), bits)


def test_other_arrays_and_widths_are_refused() -> None:
    for values in (np.zeros(3, dtype=np.int64), np.zeros((2, 2), dtype=np.uint64)):
        with pytest.raises(UsageError):
            pack(values, 8)  # type: ignore[arg-type]
    for bits in (0, 63, 64):
        with pytest.raises(UsageError):
            pack(np.zeros(1, dtype=np.uint64), bits)
        with pytest.raises(UsageError):
            unpack(b"", bits, 0)
    with pytest.raises(UsageError):
        unpack(b"", 8, -1)

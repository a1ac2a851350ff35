"""Residues without gaps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import DTypeLike

from fedpriv.encoding.packing import add_packed, pack, packed_size, unpack
from fedpriv.errors import DecodeError, UsageError

WORDS = (np.uint16, np.uint32, np.uint64)


def words_for(bits: int) -> list[type[np.unsignedinteger[Any]]]:
    return [word for word in WORDS if 8 * word().itemsize >= bits]


@given(st.integers(1, 62), st.data())
def test_packing_is_the_number_whose_digits_the_values_are(bits: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(0, 2**bits - 1), max_size=150))
    number = sum(value << (k * bits) for k, value in enumerate(values))
    expected = number.to_bytes((len(values) * bits + 7) // 8, "little")
    for word in words_for(bits):
        assert pack(np.array(values, dtype=word), bits) == expected
        unpacked = unpack(expected, bits, len(values), dtype=word)
        assert unpacked.dtype == word
        assert unpacked.tolist() == values


@pytest.mark.parametrize("bits", [1, 5, 8, 16, 20, 24, 31, 32, 33, 40, 48, 59, 61, 62])
def test_a_long_vector_is_its_parts_one_after_the_other(bits: int) -> None:
    word = words_for(bits)[0]
    values = np.random.default_rng(bits).integers(0, 2**bits, 530_003, dtype=word)
    parts = [values[start : start + 8 * 4099] for start in range(0, values.size, 8 * 4099)]
    packed = pack(values, bits)
    assert len(packed) == packed_size(bits, values.size)
    assert packed == b"".join(pack(part, bits) for part in parts)
    assert np.array_equal(unpack(packed, bits, values.size, dtype=word), values)


@given(st.integers(1, 62), st.data())
def test_reducing_is_packing_the_remainders(bits: int, data: st.DataObject) -> None:
    word = data.draw(st.sampled_from(WORDS))
    largest = int(np.iinfo(word).max)
    values = np.array(data.draw(st.lists(st.integers(0, largest), max_size=80)), dtype=word)
    remainders = values & word(min(2**bits - 1, largest))
    assert pack(values, bits, reduce=True) == pack(remainders, bits)


@pytest.mark.parametrize("bits", [1, 8, 12, 16, 20, 32, 40, 62])
def test_adding_packed_values_is_adding_the_vector(bits: int) -> None:
    rng = np.random.default_rng(bits)
    for word in words_for(bits):
        values = rng.integers(0, 2**bits, 70_001, dtype=word)
        start = rng.integers(0, np.iinfo(word).max, 70_001, dtype=word, endpoint=True)
        target = start.copy()
        add_packed(target, pack(values, bits), bits)
        assert np.array_equal(target, start + values)


def test_what_cannot_be_added_changes_nothing() -> None:
    target, packed = np.zeros(9, dtype=np.uint32), pack(np.ones(9, dtype=np.uint32), 7)
    for data in (packed[:-1], packed + b"\0", packed[:-1] + b"\xff"):
        with pytest.raises(DecodeError):
            add_packed(target, data, 7)
    assert not target.any()
    frozen = np.zeros(9, dtype=np.uint32)
    frozen.flags.writeable = False
    for other in (frozen, np.zeros(9, dtype=np.int64), np.zeros((3, 3), dtype=np.uint32)):
        with pytest.raises(UsageError):
            add_packed(other, packed, 7)
    with pytest.raises(UsageError, match="cannot be unpacked"):
        add_packed(np.zeros(9, dtype=np.uint16), bytes(20), 17)


def test_any_contiguous_bytes_can_be_unpacked() -> None:
    values = np.arange(1000, dtype=np.uint16)
    packed = pack(values, 12)
    for data in (packed, bytearray(packed), memoryview(b"x" + packed)[1:], np.frombuffer(packed, "<u4").data):
        assert np.array_equal(unpack(data, 12, 1000, dtype=np.uint16), values)
    with pytest.raises(UsageError, match="contiguous"):
        unpack(memoryview(packed)[::2], 12, 500)


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("bits", [12, 16, 20, 32, 40])
def test_a_strided_vector_is_packed_as_it_reads(word: type[np.unsignedinteger[Any]], bits: int) -> None:
    values = np.arange(3 * 64 * 20).astype(word) & word(4095)
    assert pack(values[::3], bits) == pack(values[::3].copy(), bits)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, np.float64, ">u4"])
def test_words_that_cannot_hold_the_values_are_refused(dtype: DTypeLike) -> None:
    with pytest.raises(UsageError, match="cannot be unpacked"):
        unpack(bytes(5), 20, 2, dtype=dtype)


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
    for values in (
        np.zeros(3, dtype=np.int64),
        np.zeros(3, dtype=np.float64),
        np.zeros(3, dtype=np.uint8),
        np.zeros((2, 2), dtype=np.uint64),
    ):
        with pytest.raises(UsageError):
            pack(values, 8)
    for bits in (0, 63, 64):
        with pytest.raises(UsageError):
            pack(np.zeros(1, dtype=np.uint64), bits)
        with pytest.raises(UsageError):
            unpack(b"", bits, 0)
    with pytest.raises(UsageError):
        unpack(b"", 8, -1)

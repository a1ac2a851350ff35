"""Residues as bytes: one form each, and nothing else is taken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.ckks.ring_params import RingParams
from fedpriv.ckks.wire import pack_rows, packed_rows_size, unpack_rows
from fedpriv.errors import DecodeError, UsageError

PRIMES = RingParams.of_bits(8192, 17, 48, 2, 60).key_primes


def _largest(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
    return np.repeat(np.array(PRIMES, dtype=np.uint64)[:, None] - np.uint64(1), count, axis=1)


def _bits(data: bytes, start: int, bits: int) -> int:
    return int.from_bytes(data, "little") >> start & ((1 << bits) - 1)


@pytest.mark.parametrize("count", [1, 2, 7, 8, 1001])
def test_residues_come_back_and_stand_where_the_spec_says(count: int) -> None:
    generator = np.random.default_rng(count)
    rows = np.stack([generator.integers(0, p, count, dtype=np.uint64) for p in PRIMES])
    rows[:, 0] = _largest(1)[:, 0]
    data = pack_rows(rows, PRIMES)
    assert len(data) == packed_rows_size(PRIMES, count)
    assert np.array_equal(unpack_rows(data, PRIMES, count), rows)
    start = 0
    for row, prime in zip(rows.tolist(), PRIMES, strict=True):
        bits = prime.bit_length()
        assert _bits(data[start:], (count - 1) * bits, bits) == row[-1]
        start += -(-count * bits // 8)


@pytest.mark.parametrize("row", range(len(PRIMES)))
def test_a_residue_that_is_not_below_its_prime_is_refused(row: int) -> None:
    rows = _largest(9)
    rows[row, 4] += np.uint64(1)  # the prime itself: another name for zero
    with pytest.raises(UsageError, match="not below its prime"):
        pack_rows(rows, PRIMES)
    sizes = [-(-9 * prime.bit_length() // 8) for prime in PRIMES]
    data = bytearray(pack_rows(_largest(9), PRIMES))
    start, bits = sum(sizes[:row]), PRIMES[row].bit_length()
    packed = sum(int(value) << i * bits for i, value in enumerate(rows[row].tolist()))
    data[start : start + sizes[row]] = packed.to_bytes(sizes[row], "little")
    with pytest.raises(DecodeError, match="not below its prime"):
        unpack_rows(bytes(data), PRIMES, 9)


def test_truncation_trailing_bytes_and_padding_are_refused() -> None:
    data = pack_rows(_largest(9), PRIMES)
    for wrong in (b"", data[:-1], data + b"\0", data * 2):
        with pytest.raises(DecodeError, match="bytes"):
            unpack_rows(wrong, PRIMES, 9)
    padded = bytearray(data)
    padded[-(-9 * 17 // 8) - 1] |= 0x80
    with pytest.raises(DecodeError, match="padding"):
        unpack_rows(padded, PRIMES, 9)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=120), st.integers(0, 6))
def test_whatever_bytes_come_they_are_residues_or_a_decode_error(data: bytes, count: int) -> None:
    primes = (114689, 12289)
    try:
        rows = unpack_rows(data, primes, count)
    except DecodeError:
        return
    assert rows.shape == (2, count)
    assert pack_rows(rows, primes) == data


def test_what_is_not_rows_of_words_is_not_packed() -> None:
    rows = _largest(3)
    for wrong in (rows[0], rows[:-1], rows.astype(np.int64), rows.astype(np.uint32)):
        with pytest.raises(UsageError):
            pack_rows(wrong, PRIMES)

"""Residues as bytes: each row packed in the bits of its prime, one row after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedpriv.encoding.packing import pack, packed_size, unpack
from fedpriv.errors import DecodeError, UsageError

__all__ = ["pack_rows", "packed_rows_size", "unpack_rows"]


def packed_rows_size(primes: Sequence[int], count: int) -> int:
    """Bytes of ``count`` residues modulo each prime.

    >>> packed_rows_size((7, 65537), 3)
    9
    """
    return sum(packed_size(prime.bit_length(), count) for prime in primes)


def pack_rows(rows: NDArray[np.uint64], primes: Sequence[int]) -> bytes:
    """Pack residues.

    Args:
        rows: uint64, shape (L, count), row k below ``primes[k]``.
        primes: L of them.

    Returns:
        ``packed_rows_size(primes, count)`` bytes.

    Raises:
        UsageError: another shape or dtype, or a residue that is not below its prime.

    >>> pack_rows(np.array([[6, 1], [2, 3]], np.uint64), (7, 11)).hex()
    '0e32'
    """
    if rows.ndim != 2 or rows.dtype != np.uint64 or len(rows) != len(primes):
        raise UsageError(f"Residues modulo {len(primes)} primes are packed from as many rows of uint64.")
    for row, prime in zip(rows, primes, strict=True):
        if row.size and int(row.max()) >= prime:
            raise UsageError(f"A residue to pack is not below its prime {prime}.")
    return b"".join(pack(row, prime.bit_length()) for row, prime in zip(rows, primes, strict=True))


def unpack_rows(
    data: bytes | bytearray | memoryview, primes: Sequence[int], count: int
) -> NDArray[np.uint64]:
    """The residues that were packed, each of them below its prime.

    Args:
        data: exactly ``packed_rows_size(primes, count)`` bytes.
        primes: L of them.
        count: residues in a row.

    Returns:
        uint64, shape (L, count).

    Raises:
        DecodeError: another length, padding that is not zero, or a residue that is not below its prime.

    >>> unpack_rows(bytes.fromhex("0e32"), (7, 11), 2).tolist()
    [[6, 1], [2, 3]]
    """
    raw = memoryview(data)
    size = packed_rows_size(primes, count)
    if raw.nbytes != size:
        raise DecodeError(f"Residues of this shape take {size} bytes, not {raw.nbytes}.")
    raw = raw.cast("B") if raw.format != "B" or raw.ndim != 1 else raw
    rows = np.empty((len(primes), count), dtype=np.uint64)
    start = 0
    for row, prime in zip(rows, primes, strict=True):
        end = start + packed_size(prime.bit_length(), count)
        row[:] = unpack(raw[start:end], prime.bit_length(), count)
        # Residues beyond the prime would be other bytes for the same ciphertext, and SEAL refuses them.
        if count and int(row.max()) >= prime:
            raise DecodeError(f"A residue is not below its prime {prime}.")
        start = end
    return rows

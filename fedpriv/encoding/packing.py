"""Vectors of ``bits``-bit residues as a string of bits, with nothing in between.

Value k takes the bits k·b to (k+1)·b - 1 of the stream; bit i of the stream is bit i mod 8 (from the least
significant) of byte ⌊i/8⌋.  The last byte is filled with zero bits.
"""

from __future__ import annotations

from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import DecodeError, UsageError

__all__ = ["MAX_BITS", "pack", "packed_size", "unpack"]

MAX_BITS = 62

# Values handled at a time: 256 KiB of 64-bit words, so that the passes below stay in cache.
_CHUNK = 32 * 1024


def packed_size(bits: int, count: int) -> int:
    """Bytes that ``count`` values of ``bits`` bits take: ⌈count·bits/8⌉.

    >>> packed_size(20, 3)
    8
    """
    _check_bits(bits)
    if count < 0:
        raise UsageError("A vector has no negative number of values.")
    return (count * bits + 7) // 8


def pack(values: NDArray[np.uint64], bits: int) -> bytes:
    """Pack a vector of residues modulo ``2**bits``.

    Args:
        values: shape (count,), dtype uint64, each below ``2**bits``.
        bits: 1 to 62.

    Returns:
        ``packed_size(bits, count)`` bytes.

    Raises:
        UsageError: another shape or dtype, bits out of range, or a value that does not fit.

    >>> pack(np.array([1, 2, 3], dtype=np.uint64), 4).hex()
    '2103'
    """
    _check_bits(bits)
    if values.ndim != 1 or values.dtype != np.uint64:
        raise UsageError("Only a one-dimensional uint64 vector can be packed.")
    if values.size and int(values.max()) >> bits:
        raise UsageError(f"A value to pack does not fit in {bits} bits.")
    whole = _whole_word(bits)
    if whole is not None:
        return values.astype(whole).tobytes()
    lanes, words = _shape(bits)
    pieces: list[bytes] = []
    step = _CHUNK // lanes * lanes
    for start in range(0, values.size, step):
        piece = values[start : start + step]
        groups = -(-piece.size // lanes)
        padded = np.zeros((groups, lanes), dtype=np.uint64)
        padded.reshape(-1)[: piece.size] = piece
        columns = np.ascontiguousarray(padded.T)
        packed = np.zeros((words, groups), dtype=np.uint64)
        for lane in range(lanes):
            word, shift = divmod(lane * bits, 64)
            packed[word] |= columns[lane] << np.uint64(shift)
            if shift + bits > 64:
                packed[word + 1] |= columns[lane] >> np.uint64(64 - shift)
        data = np.ascontiguousarray(packed.T).astype("<u8", copy=False).tobytes()
        pieces.append(data[: packed_size(bits, piece.size)])
    return b"".join(pieces)


def unpack(data: bytes, bits: int, count: int) -> NDArray[np.uint64]:
    """The vector that was packed.

    Args:
        data: exactly ``packed_size(bits, count)`` bytes.
        bits: 1 to 62.
        count: number of values.

    Returns:
        shape (count,), dtype uint64, each below ``2**bits``.

    Raises:
        UsageError: bits or count out of range.
        DecodeError: another length, or a padding bit that is not zero.

    >>> unpack(bytes.fromhex("2103"), 4, 3).tolist()
    [1, 2, 3]
    """
    size = packed_size(bits, count)
    if len(data) != size:
        raise DecodeError(f"{count} values of {bits} bits take {size} bytes, not {len(data)}.")
    used = count * bits % 8
    if used and data[-1] >> used:
        raise DecodeError("The padding after the last packed value is not zero.")
    whole = _whole_word(bits)
    if whole is not None:
        return np.frombuffer(data, dtype=whole).astype(np.uint64)
    lanes, words = _shape(bits)
    mask = np.uint64((1 << bits) - 1)
    values = np.empty(count, dtype=np.uint64)
    step = _CHUNK // lanes * lanes
    view = memoryview(data)
    for start in range(0, count, step):
        here = min(step, count - start)
        groups = -(-here // lanes)
        raw = np.zeros(groups * words, dtype="<u8")
        first = start * bits // 8
        piece = view[first : first + packed_size(bits, here)]
        raw.view(np.uint8)[: len(piece)] = np.frombuffer(piece, dtype=np.uint8)
        columns = np.ascontiguousarray(raw.astype(np.uint64, copy=False).reshape(groups, words).T)
        lane_values = np.empty((lanes, groups), dtype=np.uint64)
        for lane in range(lanes):
            word, shift = divmod(lane * bits, 64)
            value = columns[word] >> np.uint64(shift)
            if shift + bits > 64:
                value |= columns[word + 1] << np.uint64(64 - shift)
            lane_values[lane] = value & mask
        values[start : start + here] = lane_values.T.reshape(-1)[:here]
    return values


def _check_bits(bits: int) -> None:
    if not 1 <= bits <= MAX_BITS:
        raise UsageError(f"A packed value has 1 to {MAX_BITS} bits, not {bits}.")


def _whole_word(bits: int) -> np.dtype[Any] | None:
    """The dtype whose plain bytes are the packed form, for widths that machines have."""
    widths: dict[int, np.dtype[Any]] = {8: np.dtype("<u1"), 16: np.dtype("<u2"), 32: np.dtype("<u4")}
    return widths.get(bits)


def _shape(bits: int) -> tuple[int, int]:
    """The fewest values that fill whole 64-bit words, and how many words they fill."""
    lanes = 64 // gcd(bits, 64)
    return lanes, lanes * bits // 64

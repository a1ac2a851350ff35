"""Vectors of ``bits``-bit residues as a string of bits, with nothing in between.

Value k takes the bits k·b to (k+1)·b - 1 of the stream; bit i of the stream is bit i mod 8 (from the least
significant) of byte ⌊i/8⌋.  The last byte is filled with zero bits.

Multiples of eight values take whole bytes, so a long vector can be packed and unpacked in parts: the packed
parts, one after the other, are the packed vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fedpriv.errors import DecodeError, UsageError

__all__ = ["MAX_BITS", "add_packed", "pack", "packed_size", "unpack"]

MAX_BITS = 62

_WORDS = (np.dtype("<u2"), np.dtype("<u4"), np.dtype("<u8"))

# 64-bit words handled at a time: enough that a call costs little, few enough that the passes stay in cache
# and that their memory need not be fetched anew from the system each time.
_STEP = 16 * 1024


def packed_size(bits: int, count: int) -> int:
    """Bytes that ``count`` values of ``bits`` bits take: ⌈count·bits/8⌉.

    >>> packed_size(20, 3)
    8
    """
    _check_bits(bits)
    if count < 0:
        raise UsageError("A vector has no negative number of values.")
    return (count * bits + 7) // 8


def pack(values: NDArray[Any], bits: int, *, reduce: bool = False) -> bytes:
    """Pack a vector of residues modulo ``2**bits``.

    Beside the result it needs less than half a megabyte, however long the vector is.

    Args:
        values: shape (count,), dtype uint16, uint32 or uint64, each below ``2**bits``.
        bits: 1 to 62.
        reduce: take each value modulo ``2**bits`` instead of refusing one that does not fit.

    Returns:
        ``packed_size(bits, count)`` bytes.

    Raises:
        UsageError: another shape or dtype, bits out of range, or a value that does not fit.

    >>> pack(np.array([1, 2, 3], dtype=np.uint64), 4).hex()
    '2103'
    >>> pack(np.array([17, 2, 3], dtype=np.uint16), 4, reduce=True).hex()
    '2103'
    """
    _check_bits(bits)
    if values.ndim != 1 or values.dtype not in _WORDS:
        raise UsageError("Only a one-dimensional vector of uint16, uint32 or uint64 can be packed.")
    if not reduce and values.size and int(values.max()) >> bits:
        raise UsageError(f"A value to pack does not fit in {bits} bits.")
    layout = _layout(bits)
    if layout.width == 64:
        return values.astype(layout.word, copy=False).tobytes()
    step, room = layout.step(values.size), _Room(layout, values.size)
    stream = BytesIO()
    for first in range(0, values.size, step):
        piece = values[first : first + step]
        groups = -(-piece.size // layout.values)
        narrow = room.words.view(layout.word)[: groups * layout.values]
        np.copyto(narrow[: piece.size], piece)
        narrow[piece.size :] = 0
        words = _join(narrow, layout, room)
        if reduce:
            words &= (1 << layout.width) - 1
        _write(words.reshape(groups, layout.lanes), layout, room)
        stream.write(room.packed[: packed_size(bits, piece.size)])
    return stream.getvalue()


def unpack(
    data: bytes | bytearray | memoryview, bits: int, count: int, dtype: DTypeLike = np.uint64
) -> NDArray[Any]:
    """The vector that was packed.

    Beside the result it needs less than half a megabyte, however long the vector is.

    Args:
        data: exactly ``packed_size(bits, count)`` bytes.
        bits: 1 to 62.
        count: number of values.
        dtype: uint16, uint32 or uint64, of at least ``bits`` bits.

    Returns:
        shape (count,), of that dtype, each below ``2**bits``.

    Raises:
        UsageError: bits or count out of range, another dtype, or data that are not contiguous.
        DecodeError: another length, or a padding bit that is not zero.

    >>> unpack(bytes.fromhex("2103"), 4, 3).tolist()
    [1, 2, 3]
    >>> unpack(bytes.fromhex("2103"), 4, 3, dtype=np.uint16).dtype
    dtype('uint16')
    """
    packed = _open(data, bits, count)
    _check_word(np.dtype(dtype), bits)
    values = np.empty(count, dtype=dtype)
    for first, piece in _pieces(packed, bits, count):
        values[first : first + piece.size] = piece
    return values


def add_packed(target: NDArray[Any], data: bytes | bytearray | memoryview, bits: int) -> None:
    """Add the vector that was packed to ``target`` in place, modulo 2 to the width of its words.

    The same as ``target += unpack(data, bits, target.size, dtype=target.dtype)`` without a vector between.

    Args:
        target: shape (count,), dtype uint16, uint32 or uint64, of at least ``bits`` bits; changed in place.
        data: exactly ``packed_size(bits, count)`` bytes.
        bits: 1 to 62.

    Raises:
        UsageError: bits out of range, a target of another kind, or data that are not contiguous.
        DecodeError: another length, or a padding bit that is not zero.  Nothing has changed then.

    >>> total = np.array([1, 1, 65535], dtype=np.uint16)
    >>> add_packed(total, bytes.fromhex("2103"), 4); total.tolist()
    [2, 3, 2]
    """
    packed = _open(data, bits, target.size)
    _check_word(target.dtype, bits)
    if target.ndim != 1 or not target.flags.writeable:
        raise UsageError("Packed values are added to a one-dimensional vector that can be written.")
    for first, piece in _pieces(packed, bits, target.size):
        here = target[first : first + piece.size]
        np.add(here, piece, out=here)


@dataclass(frozen=True, slots=True)
class _Layout:
    """How values of some width are packed: in groups, each of whole bytes and of eight at least.

    Values first meet in 64-bit words, ``width`` bits in each, by operations on whole contiguous vectors; then
    ``lanes`` such words, two at least, make a group.  Width 64 is the packed form already.
    """

    word: np.dtype[Any]
    width: int
    lanes: int

    @property
    def values(self) -> int:
        """Values in a group."""
        return self.lanes * 8 // self.word.itemsize

    @property
    def size(self) -> int:
        """Bytes of a group."""
        return self.lanes * self.width // 8

    def step(self, count: int) -> int:
        """Values of ``count`` that are handled at a time: whole groups."""
        return max(min(_STEP // self.lanes, -(-count // self.values)), 1) * self.values


@cache
def _layout(bits: int) -> _Layout:
    word = np.dtype("<u1" if bits <= 8 else "<u2" if bits <= 16 else "<u4" if bits <= 32 else "<u8")
    width = bits * (8 // word.itemsize)
    lanes = 8 // gcd(width, 8)
    while lanes * width < 64:
        lanes *= 2
    return _Layout(word, width, lanes)


class _Room:
    """Memory for one step, used again for the next: words, as many to spare, and their packed bytes."""

    __slots__ = ("packed", "spare", "words")

    def __init__(self, layout: _Layout, count: int) -> None:
        groups = layout.step(count) // layout.values
        self.words, self.spare = (np.empty(groups * layout.lanes, dtype="<u8") for _ in range(2))
        self.packed = memoryview(bytearray(groups * layout.size))


def _check_bits(bits: int) -> None:
    if not 1 <= bits <= MAX_BITS:
        raise UsageError(f"A packed value has 1 to {MAX_BITS} bits, not {bits}.")


def _check_word(word: np.dtype[Any], bits: int) -> None:
    if word not in _WORDS or 8 * word.itemsize < bits:
        raise UsageError(f"Values of {bits} bits cannot be unpacked into {word}.", hint="Take a wider word.")


def _open(data: bytes | bytearray | memoryview, bits: int, count: int) -> NDArray[np.uint8]:
    """The packed bytes, once they are as many as they must be and end in zeros."""
    size = packed_size(bits, count)
    raw = memoryview(data)
    if not raw.c_contiguous:
        raise UsageError("Packed values are one contiguous piece of memory.", hint="Copy it into bytes.")
    if raw.nbytes != size:
        raise DecodeError(f"{count} values of {bits} bits take {size} bytes, not {raw.nbytes}.")
    packed = np.frombuffer(raw, dtype=np.uint8)
    used = count * bits % 8
    if used and packed[-1] >> used:
        raise DecodeError("The padding after the last packed value is not zero.")
    return packed


def _pieces(packed: NDArray[np.uint8], bits: int, count: int) -> Iterator[tuple[int, NDArray[Any]]]:
    """The values in the narrowest words, piece by piece, each with the index of its first.

    A piece is overwritten when the next is asked for.
    """
    layout = _layout(bits)
    if layout.width == 64:
        yield 0, packed.view(layout.word)
        return
    step, room = layout.step(count), _Room(layout, count)
    for first in range(0, count, step):
        here = min(step, count - first)
        start = first * bits // 8
        source = packed[start : start + packed_size(bits, here)]
        missing = -source.size % layout.size
        if missing:
            source = np.concatenate((source, np.zeros(missing, dtype=np.uint8)))
        values = _part(_read(source, layout, room), layout, room)[:here]
        values &= (1 << bits) - 1
        yield first, values


def _join(words: NDArray[Any], layout: _Layout, room: _Room) -> NDArray[Any]:
    """Values one to a narrow word become 64-bit words of ``width`` bits, the first value lowest; in place.

    Whatever stands above the bits of a value is dropped, except above the last of a word.
    """
    width = layout.width * layout.word.itemsize // 8
    while words.itemsize < 8:
        half = 8 * words.itemsize
        words = words.view(f"<u{2 * words.itemsize}")
        high = room.spare.view(words.dtype)[: words.size]
        np.right_shift(words, half, out=high)
        high <<= width
        words &= (1 << width) - 1
        words |= high
        width *= 2
    return words


def _part(words: NDArray[Any], layout: _Layout, room: _Room) -> NDArray[Any]:
    """The inverse of `_join`, in place; bits above the width may be set before and after."""
    width = layout.width
    while words.itemsize > layout.word.itemsize:
        half = 4 * words.itemsize
        width //= 2
        high = room.spare.view(words.dtype)[: words.size]
        np.right_shift(words, width, out=high)
        high <<= half
        words &= (1 << half) - 1
        words |= high
        words = words.view(f"<u{half // 8}")
    return words


def _write(lanes: NDArray[Any], layout: _Layout, room: _Room) -> None:
    """Write groups, shape (groups, lanes), into bytes, as 64-bit windows that together cover a group.

    Where the last two windows of a group overlap they write the same, so nothing has to be read back, and no
    window leaves its group.
    """
    groups = len(lanes)
    window, shifted = room.spare[:groups], room.spare[groups : 2 * groups]
    for offset in sorted({*range(0, layout.size - 7, 8), layout.size - 8}):
        first = 8 * offset // layout.width
        last = min(-(-(8 * offset + 64) // layout.width), layout.lanes)
        for lane in range(first, last):
            shift = lane * layout.width - 8 * offset
            part = window if lane == first else shifted
            if shift < 0:
                np.right_shift(lanes[:, lane], -shift, out=part)
            else:
                np.left_shift(lanes[:, lane], shift, out=part)
            if part is shifted:
                window |= shifted
        _windows(room.packed, offset, layout.size, groups)[...] = window


def _read(data: NDArray[np.uint8], layout: _Layout, room: _Room) -> NDArray[Any]:
    """Words of ``width`` bits from the bytes of whole groups; bits above the width may be set."""
    groups = data.size // layout.size
    words = room.words[: groups * layout.lanes]
    lanes = words.reshape(groups, layout.lanes)
    for lane in range(layout.lanes):
        offset = min(lane * layout.width // 8, layout.size - 8)
        shift = lane * layout.width - 8 * offset
        np.right_shift(_windows(data.data, offset, layout.size, groups), shift, out=lanes[:, lane])
        if shift + layout.width > 64:
            rest = room.spare[:groups]
            rest[:] = data[offset + 8 :: layout.size]
            rest <<= 64 - shift
            lanes[:, lane] |= rest
    return words


def _windows(data: memoryview, offset: int, stride: int, groups: int) -> NDArray[Any]:
    """The eight bytes at ``offset`` of each group, as one number a group."""
    return np.ndarray((groups,), dtype="<u8", buffer=data, offset=offset, strides=(stride,))

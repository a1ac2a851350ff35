"""AES-256 in counter mode as a pseudorandom generator, and masks added in place.

The counter starts at zero, so a key serves for one stream only: every key here comes out of HKDF with a
context of its own, or out of a seed that is used once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from fedpriv.errors import UsageError

__all__ = ["KEY_BYTES", "Keystream", "apply_mask", "word_dtype"]

KEY_BYTES = 32
MAX_BITS = 62

# Large enough that the call costs little beside AES, small enough that it stays in the second-level cache.
_BLOCK_BYTES = 128 * 1024
_ZEROS = bytes(_BLOCK_BYTES)


class Keystream:
    """The AES-256-CTR stream of one 32-byte key, from its first byte on.

    The key must serve for this stream only.  Reading in pieces gives the same bytes as reading at once.

    >>> Keystream(bytes(32)).read(4).hex()
    'dc95c078'
    >>> stream = Keystream(bytes(32)); bool(stream.read(8) == Keystream(bytes(32)).words(1).tobytes())
    True
    """

    __slots__ = ("_encryptor",)

    def __init__(self, key: bytes) -> None:
        if not isinstance(key, bytes) or len(key) != KEY_BYTES:
            raise UsageError(f"A keystream's key is {KEY_BYTES} bytes.")
        self._encryptor = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def read(self, n: int) -> bytes:
        """The next ``n`` bytes."""
        if n < 0:
            raise UsageError("A keystream gives no negative number of bytes.")
        return self._encryptor.update(bytes(n))

    def words(self, n: int) -> NDArray[np.uint64]:
        """The next ``8 n`` bytes as ``n`` little-endian 64-bit words."""
        return np.frombuffer(self.read(8 * n), dtype="<u8").astype(np.uint64, copy=False)

    def read_into(self, target: memoryview) -> None:
        """Fill a writable buffer of at most 128 KiB with the next bytes."""
        self._encryptor.update_into(memoryview(_ZEROS)[: len(target)], target)


def word_dtype(bits: int) -> np.dtype[Any]:
    """The little-endian word that holds one residue modulo ``2**bits``: 2, 4 or 8 bytes, ``bits`` in 1..62.

    >>> [word_dtype(bits).itemsize for bits in (1, 16, 17, 32, 33, 62)]
    [2, 2, 4, 4, 8, 8]
    """
    if not 1 <= bits <= MAX_BITS:
        raise UsageError(f"A modulus has 1 to {MAX_BITS} bits, not {bits}.")
    if bits <= 16:
        return np.dtype("<u2")
    return np.dtype("<u4") if bits <= 32 else np.dtype("<u8")


def apply_mask(target: NDArray[Any], key: bytes, *, subtract: bool = False) -> None:
    """Add the stream of ``key`` to ``target`` in place, word by word, or take it away.

    The stream is expanded 128 KiB at a time, so the mask never exists as a whole.  Arithmetic is modulo
    2 to the width of a word; the caller reduces modulo ``2**bits`` at the end, which gives the same as
    reducing at each step because ``2**bits`` divides the word's modulus.

    Args:
        target: one-dimensional, contiguous, of a dtype that `word_dtype` gives; changed in place.
        key: 32 bytes that serve for this mask only.
        subtract: take the stream away instead.

    Raises:
        UsageError: a target of another kind, or a key of another length.
    """
    if target.ndim != 1 or target.dtype not in _WORDS or not target.flags.c_contiguous:
        raise UsageError("A mask is added to a contiguous vector of 16-, 32- or 64-bit words.")
    stream = Keystream(key)
    scratch = np.empty(min(_BLOCK_BYTES, target.nbytes), dtype=np.uint8)
    raw = scratch.data
    masks = scratch.view(target.dtype)
    combine = np.subtract if subtract else np.add
    for start in range(0, target.size, max(masks.size, 1)):
        piece = target[start : start + masks.size]
        stream.read_into(raw[: piece.nbytes])
        combine(piece, masks[: piece.size], out=piece)


_WORDS = (np.dtype("<u2"), np.dtype("<u4"), np.dtype("<u8"))

"""AES-256 in counter mode as a pseudorandom generator, and masks added in place.

Counters start at a fixed value, so a key serves for one stream or one mask only: every key here comes out of
HKDF with a context of its own, or out of a seed that is used once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from fedpriv.errors import UsageError

__all__ = ["KEY_BYTES", "SEGMENT_BYTES", "Keystream", "add_masks", "word_dtype"]

KEY_BYTES = 32
MAX_BITS = 62

SEGMENT_BYTES = 512 * 1024
"""Of a mask, what one nonce makes (protocols/secagg/spec.md, section 2): large enough that threads seldom
wait for the interpreter's lock, which they need between two calls; small enough that a segment of a vector
and one of a mask stay in a core's cache."""

_WORDS = (np.dtype("<u2"), np.dtype("<u4"), np.dtype("<u8"))
_ZEROS = bytes(SEGMENT_BYTES)
_NONCE_BYTES = 12
_TAG_BYTES = 16

# Ciphers that are ready at once: each takes a few KiB.
_CIPHERS = 64


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
        _check_key(key)
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
        """Fill a writable buffer of bytes with the next ones."""
        zeros = memoryview(_ZEROS)
        for first in range(0, len(target), len(zeros)):
            piece = target[first : first + len(zeros)]
            self._encryptor.update_into(zeros[: len(piece)], piece)


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


def add_masks(target: NDArray[Any], masks: Sequence[tuple[bytes, bool]], *, start: int = 0) -> None:
    """Add the masks of many keys to ``target`` in place, word by word; take away those marked True.

    A mask is what AES-256-GCM makes of zeros, a segment of 512 KiB at a time whose number is the nonce; the
    tags are dropped.  This is counter mode, by the fastest code that
    OpenSSL has for it where there is vector AES.  So a vector can be
    masked segment by segment in any order, which gives what masking the whole gives.  Arithmetic is modulo 2
    to the width of a word; the caller reduces modulo ``2**bits`` at the end, which gives the same as reducing
    at each step because ``2**bits`` divides the word's modulus.

    No mask exists as a whole.  A segment of the target stays in the cache while that of each mask is expanded
    beside it and added; the target goes through memory once for every 64 masks.

    Args:
        target: shape (count,), contiguous, of a dtype that `word_dtype` gives; changed in place.
        masks: of each mask the key, 32 bytes that serve for this mask only, and whether to subtract it.
        start: index of ``target[0]`` in the whole vector; ``start`` words are a multiple of `SEGMENT_BYTES`.

    Raises:
        UsageError: a target of another kind, a key of another length, or a start inside a segment.  Nothing
            has changed then.

    >>> whole = np.zeros(8, dtype="<u4")
    >>> add_masks(whole, [(bytes(32), False)]); whole[:1].tobytes().hex()
    'cea7403d'
    >>> add_masks(whole, [(bytes(32), True)]); whole.tolist()
    [0, 0, 0, 0, 0, 0, 0, 0]
    """
    check_masks(target, masks, start)
    segment = start * target.itemsize // SEGMENT_BYTES
    step = SEGMENT_BYTES // target.itemsize
    scratch = np.empty(min(SEGMENT_BYTES, target.nbytes) + _TAG_BYTES, dtype=np.uint8)
    zeros = memoryview(_ZEROS)
    for group in range(0, len(masks), _CIPHERS):
        ciphers = [
            (AESGCM(key).encrypt_into, np.subtract if minus else np.add)
            for key, minus in masks[group : group + _CIPHERS]
        ]
        for number, first in enumerate(range(0, target.size, step), segment):
            piece = target[first : first + step]
            nonce, silence = number.to_bytes(_NONCE_BYTES, "big"), zeros[: piece.nbytes]
            mask, sealed = (
                scratch[: piece.nbytes].view(target.dtype),
                scratch[: piece.nbytes + _TAG_BYTES].data,
            )
            for encrypt_into, combine in ciphers:
                encrypt_into(nonce, silence, None, sealed)
                combine(piece, mask, piece)


def check_masks(target: NDArray[Any], masks: Sequence[tuple[bytes, bool]], start: int) -> None:
    """Refuse what `add_masks` cannot do, before anything has changed.

    Raises:
        UsageError: as `add_masks` says.
    """
    if target.ndim != 1 or target.dtype not in _WORDS or not target.flags.c_contiguous:
        raise UsageError("A mask is added to a contiguous vector of 16-, 32- or 64-bit words.")
    if not target.flags.writeable:
        raise UsageError("A mask is added in place, and this vector cannot be written.", hint="Copy it.")
    if start < 0 or start * target.itemsize % SEGMENT_BYTES:
        raise UsageError(
            f"A piece that starts at word {start} does not start with a segment of the mask.",
            hint=f"Cut the vector at multiples of {SEGMENT_BYTES // target.itemsize} words.",
        )
    for key, _ in masks:
        _check_key(key)


def _check_key(key: bytes) -> None:
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        raise UsageError(f"A keystream's key is {KEY_BYTES} bytes.")

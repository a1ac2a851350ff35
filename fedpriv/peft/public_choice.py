"""Choices that every party makes alike from the public seed: which coordinates a round is about.

As for initial weights (:mod:`.public_init`) a library's own generator is no basis: two parties that chose
differently would add vectors of different meaning.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UsageError

_DOMAIN = b"fedpriv/peft/choice/1"


def public_words(seed: int, name: str, round_: int, count: int) -> NDArray[np.uint64]:
    """Uniform 64-bit words, shape (count,), that depend on the arguments only: SHAKE-256 over the domain,
    the seed and the round (8 bytes each, little-endian) and the UTF-8 name.

    >>> one, two = public_words(7, "rand-k", 1, 3), public_words(7, "rand-k", 2, 3)
    >>> one.tolist() == public_words(7, "rand-k", 1, 3).tolist(), one.tolist() == two.tolist()
    (True, False)

    Raises ``UsageError`` where the seed does not fit 64 bits.
    """
    if not 0 <= seed < 2**64:
        raise UsageError(f"the public seed must be between 0 and 2**64 - 1, not {seed}")
    said = _DOMAIN + seed.to_bytes(8, "little") + round_.to_bytes(8, "little") + name.encode()
    return np.frombuffer(hashlib.shake_256(said).digest(8 * count), dtype="<u8").astype(np.uint64)


def public_bits(seed: int, name: str, round_: int, count: int) -> NDArray[np.uint8]:
    """Uniform bits, shape (count,), by the same rule: the lowest bit of each byte first.

    >>> public_bits(7, "directions/0", 1, 5).tolist()
    [0, 0, 1, 1, 1]
    """
    words = public_words(seed, name, round_, -(-count // 64))
    return np.unpackbits(words.astype("<u8").view(np.uint8), count=count, bitorder="little")


def smallest(words: NDArray[np.uint64], count: int) -> NDArray[np.int64]:
    """The places of the ``count`` smallest words, ascending: a uniformly random set, if the words are.

    >>> smallest(np.array([5, 1, 9, 3], dtype=np.uint64), 2)
    array([1, 3])
    """
    if count >= words.size:
        return np.arange(words.size, dtype=np.int64)
    return np.sort(np.argpartition(words, count)[:count]).astype(np.int64)

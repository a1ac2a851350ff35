"""The randomness that SEAL 4.1 draws for one encryption under a fixed seed, written from its definition.

With it the textbook encryption of `ckks` and SEAL's are the same to the bit, which says that SEAL encrypts as
section 4 of protocols/ckks/spec.md has it.  No part of the protocol: in a run SEAL's seed is the system's.
BLAKE2b is that of RFC 7693; BLAKE2Xb, "BLAKE2X" (Aumasson et al. 2016), whose leaves hashlib cannot make.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator

_IV = struct.unpack(">8Q", b"".join(word.to_bytes(8, "big") for word in (
    0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
    0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
)))  # fmt: skip
_SIGMA = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)
_LANES = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
          (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))  # fmt: skip
_WORD = 2**64 - 1
_BUFFER = 4096


def _leaf(parameters: bytes, data: bytes) -> bytes:
    """BLAKE2b of one block under a parameter block."""
    start = [a ^ b for a, b in zip(_IV, struct.unpack("<8Q", parameters), strict=True)]
    v = [*start, *_IV]
    v[12] ^= len(data)
    v[14] ^= _WORD
    m = struct.unpack("<16Q", data.ljust(128, b"\0"))
    for number in range(12):
        order = _SIGMA[number % 10]
        for lane, (a, b, c, d) in enumerate(_LANES):
            for word, first, second in ((m[order[2 * lane]], 32, 24), (m[order[2 * lane + 1]], 16, 63)):
                v[a] = (v[a] + v[b] + word) & _WORD
                v[d] = _rotated(v[d] ^ v[a], first)
                v[c] = (v[c] + v[d]) & _WORD
                v[b] = _rotated(v[b] ^ v[c], second)
    return struct.pack("<8Q", *(x ^ y ^ z for x, y, z in zip(start, v[:8], v[8:], strict=True)))


def _rotated(x: int, by: int) -> int:
    return (x >> by | x << (64 - by)) & _WORD


def _blake2xb(key: bytes, data: bytes, length: int) -> bytes:
    root = hashlib.blake2b(data, key=key, digest_size=64, node_offset=length << 32).digest()
    leaves = []
    for number in range(length // 64):
        head = struct.pack("<BBBBIIIBB", 64, 0, 0, 0, 64, number, length, 0, 64)
        leaves.append(_leaf(head.ljust(64, b"\0"), root))
    return b"".join(leaves)


def _bytes(seed: bytes) -> Iterator[int]:
    counter = 0
    while True:
        yield from _blake2xb(seed, counter.to_bytes(8, "little"), _BUFFER)
        counter += 1


def encryption_randomness(seed: bytes, degree: int) -> tuple[list[int], list[list[int]]]:
    """u, and (e_0, e_1), from 64 bytes."""
    stream = _bytes(seed)
    u = [_below_three(stream) - 1 for _ in range(degree)]
    return u, [[_binomial(stream) for _ in range(degree)] for _ in range(2)]


def _below_three(stream: Iterator[int]) -> int:
    """std::uniform_int_distribution of libstdc++: 32 bits over a third of their range, the last left out."""
    third = (2**32 - 1) // 3
    while True:
        value = int.from_bytes(bytes(next(stream) for _ in range(4)), "little")
        if value < 3 * third:
            return value // third


def _binomial(stream: Iterator[int]) -> int:
    """The difference of two counts among 21 bits: variance 10.5."""
    x = [next(stream) for _ in range(6)]
    x[2], x[5] = x[2] % 32, x[5] % 32
    ones = [byte.bit_count() for byte in x]
    return sum(ones[:3]) - sum(ones[3:])

"""Section 2 of protocols/secagg/spec.md, line by line: Python integers, one function for one line."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from reference.secagg_wire import require

N = "fedpriv secagg v2"
P = 2**256 + 297


def u32(x: int) -> bytes:
    return x.to_bytes(4, "big")


def u64(x: int) -> bytes:
    return x.to_bytes(8, "big")


def frame(*parts: bytes) -> bytes:
    return b"".join(u64(len(part)) + part for part in parts)


def hash_(domain: str, *parts: bytes) -> bytes:
    return hashlib.sha256(frame(domain.encode(), *parts)).digest()


def sign(seed: bytes, domain: str, message: bytes) -> bytes:
    signed = frame(b"fedpriv signature v1", domain.encode(), message)
    return Ed25519PrivateKey.from_private_bytes(seed).sign(signed)


def is_signed(public: bytes, domain: str, message: bytes, signature: bytes) -> bool:
    signed = frame(b"fedpriv signature v1", domain.encode(), message)
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, signed)
    except (InvalidSignature, ValueError):
        return False
    return True


def identity_public(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def x25519_public(seed: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def dh(seed: bytes, public: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(seed).exchange(X25519PublicKey.from_public_bytes(public))


def is_good_key(public: bytes) -> bool:
    """Below 2^255 - 19, and agreement with it does not give zero."""
    if int.from_bytes(public, "little") >= 2**255 - 19:
        return False
    try:
        dh(bytes(range(32)), public)
    except ValueError:
        return False
    return True


def kdf(secret: bytes, salt: bytes, *parts: bytes) -> bytes:
    """HKDF-SHA256 of RFC 5869, written out for one block of output."""
    extracted = hmac.new(salt, secret, hashlib.sha256).digest()
    return hmac.new(extracted, frame(*parts) + b"\x01", hashlib.sha256).digest()


def keystream(key: bytes, length: int) -> bytes:
    return Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(length))


def mask_blocks(key: bytes, count: int) -> bytes:
    """The first blocks of 16 bytes of Mask(key)."""
    counters = ((i // 2**15).to_bytes(12, "big") + u32(2 + i % 2**15) for i in range(count))
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(b"".join(counters))


def mask(key: bytes, b: int, d: int) -> list[int]:
    w = 2 if b <= 16 else 4 if b <= 32 else 8
    stream = mask_blocks(key, -(-w * d // 16))
    return [int.from_bytes(stream[w * k : w * k + w], "little") % 2**b for k in range(d)]


def pack(values: list[int], b: int) -> bytes:
    """The bits of eight values are b bytes: so many at a time, as one integer of all takes minutes."""
    eights = (values[first : first + 8] for first in range(0, len(values), 8))
    integers = (sum(value << (k * b) for k, value in enumerate(eight)) for eight in eights)
    return b"".join(bits.to_bytes(b, "little") for bits in integers)[: (len(values) * b + 7) // 8]


def unpack(data: bytes, b: int, d: int) -> list[int]:
    require(len(data) == (d * b + 7) // 8, "SA-8")
    integers = (int.from_bytes(data[first : first + b], "little") for first in range(0, len(data), b))
    values = [(bits >> (k * b)) % 2**b for bits in integers for k in range(8)]
    require(not any(values[d:]), "SA-8")
    return values[:d]


def set_bytes(members: list[int], n: int) -> bytes:
    return sum(1 << (i - 1) for i in members).to_bytes((n + 7) // 8, "little")


def set_members(data: bytes, n: int) -> list[int]:
    bits = int.from_bytes(data, "little")
    require(len(data) == (n + 7) // 8 and bits < 2**n, "decode")
    return [i for i in range(1, n + 1) if bits >> (i - 1) & 1]


def tree_levels(leaves: list[bytes]) -> list[list[bytes]]:
    """The leaves, filled up, and each level above them, up to the root alone."""
    size = 1
    while size < len(leaves):
        size *= 2
    levels = [leaves + [bytes(32)] * (size - len(leaves))]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([hash_(f"{N} node", below[r], below[r + 1]) for r in range(0, len(below), 2)])
    return levels


def tree(leaves: list[bytes]) -> bytes:
    return tree_levels(leaves)[-1][0]


def tree_path(leaves: list[bytes], r: int) -> bytes:
    return b"".join(level[(r >> height) ^ 1] for height, level in enumerate(tree_levels(leaves)[:-1]))


def tree_root(leaf: bytes, r: int, count: int, path: bytes) -> bytes:
    """The root that a leaf, its place among ``count`` and its path lead to."""
    height = (count - 1).bit_length()
    require(len(path) == 32 * height, "SA-17")
    for level in range(height):
        sibling = path[32 * level : 32 * level + 32]
        pair = (sibling, leaf) if r >> level & 1 else (leaf, sibling)
        leaf = hash_(f"{N} node", *pair)
    return leaf


def share_secret(secret: bytes, t: int, points: list[int], rand: Callable[[int], bytes]) -> dict[int, int]:
    coefficients = [int.from_bytes(secret, "big")]
    coefficients += [int.from_bytes(rand(48), "big") % P for _ in range(t - 1)]
    return {x: sum(c * x**k for k, c in enumerate(coefficients)) % P for x in points}


def recover(shares: dict[int, int]) -> int:
    total = 0
    for i, value in shares.items():
        numerator = denominator = 1
        for j in shares:
            if j != i:
                numerator *= -j
                denominator *= i - j
        total += value * numerator * pow(denominator, -1, P)
    return total % P

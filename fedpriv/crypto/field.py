"""The prime field in which secrets are shared.

The prime is the smallest above 2**256, so 32 secret bytes are one element and any client identifier is a
point of its own.  Arithmetic is on Python integers and does not run in constant time.
"""

from __future__ import annotations

from collections.abc import Callable

from fedpriv.errors import DecodeError, UsageError

__all__ = ["ELEMENT_BYTES", "PRIME", "decode_element", "encode_element", "uniform_element"]

PRIME = 2**256 + 297
ELEMENT_BYTES = 33
# 384 bits reduced modulo a 257-bit prime: within 2**-127 of uniform, and always the same number of bytes.
UNIFORM_BYTES = 48


def encode_element(element: int) -> bytes:
    """An element as 33 bytes, big-endian."""
    if not 0 <= element < PRIME:
        raise UsageError("A field element lies between zero and the prime.")
    return element.to_bytes(ELEMENT_BYTES, "big")


def decode_element(data: bytes) -> int:
    """The element that 33 bytes stand for.

    Raises:
        DecodeError: another length, or a number that is not below the prime.
    """
    if len(data) != ELEMENT_BYTES:
        raise DecodeError(f"A field element is {ELEMENT_BYTES} bytes, not {len(data)}.")
    element = int.from_bytes(data, "big")
    if element >= PRIME:
        raise DecodeError("A field element is not below the prime.")
    return element


def uniform_element(rand: Callable[[int], bytes]) -> int:
    """An element within 2**-127 of uniform, from 48 bytes of ``rand``."""
    return int.from_bytes(rand(UNIFORM_BYTES), "big") % PRIME

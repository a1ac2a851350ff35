"""Injective encodings and domain-separated SHA-256."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from typing import Any

from fedpriv.errors import UsageError

__all__ = ["canonical_json", "digest", "frame"]

DIGEST_BYTES = 32

_LENGTH = struct.Struct(">Q")


def frame(*parts: bytes) -> bytes:
    """Join byte strings so that they can be told apart again: each after its length as 8 bytes, big-endian.

    Two different sequences of parts never give the same bytes, which plain concatenation does not promise.

    >>> frame(b"a", b"bc").hex()
    '00000000000000016100000000000000026263'
    >>> frame(b"ab", b"c") == frame(b"a", b"bc")
    False
    """
    return b"".join([piece for part in parts for piece in (_LENGTH.pack(len(part)), part)])


def digest(domain: str, *parts: bytes) -> bytes:
    """SHA-256 (32 bytes) of ``frame(domain, *parts)``: one value for one domain and one sequence of parts.

    >>> digest("example", b"ab", b"c") == digest("example", b"a", b"bc")
    False
    >>> len(digest("example"))
    32
    """
    return hashlib.sha256(frame(domain.encode("utf-8"), *parts)).digest()


def canonical_json(value: Any) -> bytes:
    """One byte string for one JSON value: keys sorted, no spaces, UTF-8, no floating-point number.

    Numbers are integers, or decimal strings where they are not whole: how a float is printed is not the same
    in every language, and what is signed must be.

    Args:
        value: ``None``, bool, int, str, a list or tuple of such, or a mapping from str to such.

    Returns:
        The UTF-8 bytes.

    Raises:
        UsageError: a float, a key that is not a string, or any other type.

    >>> canonical_json({"b": [1, True, None], "a": "é"}).decode()
    '{"a":"é","b":[1,true,null]}'
    """
    return json.dumps(
        _plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True
    ).encode("utf-8")


def _plain(value: Any) -> Any:
    """The same value in plain containers, once every part of it is allowed."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        if any(0xD800 <= ord(character) <= 0xDFFF for character in value):
            raise UsageError("Canonical JSON holds no lone surrogate: it has no UTF-8 form.")
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise UsageError("Canonical JSON takes only strings as keys.")
        return {_plain(key): _plain(item) for key, item in value.items()}
    raise UsageError(
        f"Canonical JSON holds no {type(value).__name__}.",
        hint="Write a number that is not whole as a decimal string.",
    )

"""Keys and digests of 32 bytes as text: one form for one value."""

from __future__ import annotations

import re
from typing import Any, Final

from fedpriv.errors import UsageError

__all__ = ["from_hex"]

_DIGITS: Final = re.compile(r"[0-9a-f]{64}")


def from_hex(name: str, value: Any) -> bytes:
    """The 32 bytes that 64 hexadecimal digits in lower case stand for.

    Raises:
        UsageError: ``value``, called ``name``, is something else.

    >>> from_hex("server", "00" * 32) == bytes(32)
    True
    >>> from_hex("server", "AB" * 32)
    Traceback (most recent call last):
    fedpriv.errors.UsageError: server must be 64 hexadecimal digits in lower case.
    """
    if not isinstance(value, str) or not _DIGITS.fullmatch(value):
        raise UsageError(f"{name} must be 64 hexadecimal digits in lower case.")
    return bytes.fromhex(value)

"""Short digests that people compare by eye and by telephone."""

from __future__ import annotations

from fedpriv.crypto import digest

__all__ = ["fingerprint"]

_GROUP = 4


def fingerprint(domain: str, *parts: bytes, digits: int) -> str:
    """The first ``digits`` hexadecimal digits of a domain-separated SHA-256, in groups of four.

    How many there must be depends on what an adversary can choose.  To pass for a given key of somebody else
    it has to try 16**digits keys; of a text that it writes itself it can make two that agree after about
    16**(digits / 2).

    >>> fingerprint("example", b"key", digits=12)
    'cfc2 f25d 4265'
    """
    text = digest(domain, *parts).hex()[:digits]
    return " ".join(text[start : start + _GROUP] for start in range(0, digits, _GROUP))

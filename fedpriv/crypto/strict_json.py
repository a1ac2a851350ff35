"""JSON from somebody who is not trusted: one value, or one :class:`DecodeError`."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from fedpriv.errors import DecodeError

__all__ = ["parse"]

_MOST_LEVELS: Final = 64
_MOST_DIGITS: Final = 100


def parse(text: bytes | str) -> Any:
    """The value of a JSON text (RFC 8259), where every reader would read the same one.

    Refused beside what is no JSON: bytes that are not UTF-8, a key that stands twice in an object, numbers
    that are not finite or have more than 100 digits, more than 64 levels, half of a surrogate pair.

    Raises:
        DecodeError: the text is none of these; the message goes on after "… is not valid JSON: ".

    >>> parse(b'{"a": [1, 0.5]}')
    {'a': [1, 0.5]}
    >>> parse('{"a": 1, "a": 2}')
    Traceback (most recent call last):
    fedpriv.errors.DecodeError: the key 'a' stands twice in one object
    """
    try:
        value = json.loads(
            text if isinstance(text, str) else text.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_real,
            parse_int=_whole,
        )
        _check(value)
    except RecursionError:
        raise DecodeError(f"it is nested deeper than {_MOST_LEVELS} levels") from None
    except UnicodeError:
        raise DecodeError("it is not UTF-8") from None
    except ValueError as error:
        raise DecodeError(str(error)) from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:60]!r} stands twice in one object")
    return value


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _real(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value) or len(digits) > _MOST_DIGITS:
        raise ValueError(f"the number {digits[:20]} is too large")
    return value


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"the number {digits[:20]}… is too large")
    return int(digits)


def _check(value: Any) -> None:
    """Levels and texts, without recursion: the value may be built to exhaust it."""
    level, depth = [value], 0
    while level:
        if depth > _MOST_LEVELS:
            raise ValueError(f"it is nested deeper than {_MOST_LEVELS} levels")
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                item.encode("utf-8")  # fails on half of a surrogate pair, which has no UTF-8 form
            elif isinstance(item, list):
                below += item
            elif isinstance(item, dict):
                below += item
                below += item.values()
        level, depth = below, depth + 1

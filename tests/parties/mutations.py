"""Bytes that are almost messages: changed at random, cut up, put together wrongly, or changed as values."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

_EXTREMES = (0, 1, -1, 127, 128, 255, 256, 2**16, 2**31 - 1, 2**32, 2**53, 2**63 - 1, 2**64 - 1, -(2**63))
_STRANGERS = (
    None,
    True,
    False,
    "",
    "seed",
    "key",
    0.0,
    float("nan"),
    float("inf"),
    b"",
    [],
    {},
    [[]],
    {"": 0},
)
# Heads of strings, byte strings, arrays, maps and extensions that claim to be four thousand million long.
_HUGE = tuple(bytes([head]) + b"\xff\xff\xff\xff" for head in (0xDB, 0xC6, 0xDD, 0xDF, 0xC9))
_NESTS = (b"\x91", b"\x81", b"\x81\xa0", b"\xdc\x00\x01", b"\xdd\x00\x00\x00\x01", b"\xdf\x00\x00\x00\x01")


class Mutator:
    """Makes junk out of valid messages.

    Args:
        rng: the source of all choices.
        corpus: valid messages, whose parts are put into others.
    """

    def __init__(self, rng: random.Random, corpus: Sequence[bytes]) -> None:
        self.rng = rng
        self.corpus = corpus
        # Any value that stands under a key somewhere, to be put under the same key elsewhere.
        self._values: dict[str, list[Any]] = {}
        for message in corpus:
            self._collect(msgspec.msgpack.decode(message))
        self._coarse = (self._flip, self._overwrite, self._cut, self._insert, self._repeat, self._splice)
        self._rare = (self._random, self._huge, self._nest, self._truncate)

    def mutate(self, data: bytes) -> bytes:
        """Something near to ``data``, or not so near."""
        kind = self.rng.random()
        if kind < 0.75:
            changed = self._structured(data)
            return changed if kind < 0.55 else self._structured(changed)
        if kind < 0.8:
            return self._loosely(data)
        if kind < 0.87:
            return self.rng.choice(self._rare)(data)
        for _ in range(self.rng.choice((1, 1, 1, 2, 4))):
            data = self.rng.choice(self._coarse)(data)
        return data

    def _collect(self, value: Any) -> None:
        for key, child in value.items() if isinstance(value, dict) else ():
            self._values.setdefault(key, []).append(child)
            self._collect(child)
        for child in value if isinstance(value, list) else ():
            self._collect(child)

    def _bytes(self, most: int) -> bytes:
        return self.rng.randbytes(self.rng.randint(0, most))

    def _place(self, data: bytes) -> int:
        return self.rng.randint(0, len(data))

    def _flip(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self.rng.choice((1, 1, 2, 8)) if data else 0):
            changed[self.rng.randrange(len(changed))] ^= 1 << self.rng.randrange(8)
        return bytes(changed)

    def _overwrite(self, data: bytes) -> bytes:
        at, new = self._place(data), self._bytes(4)
        return data[:at] + new + data[at + len(new) :]

    def _cut(self, data: bytes) -> bytes:
        at = self._place(data)
        return data[:at] + data[at + self.rng.choice((1, 2, 4, 33, 94)) :]

    def _insert(self, data: bytes) -> bytes:
        at = self._place(data)
        return data[:at] + self._bytes(6) + data[at:]

    def _repeat(self, data: bytes) -> bytes:
        at, to = sorted((self._place(data), self._place(data)))
        return data[:to] + data[at:]

    def _splice(self, data: bytes) -> bytes:
        other = self.rng.choice(self.corpus)
        return data[: self._place(data)] + other[self._place(other) :]

    def _random(self, data: bytes) -> bytes:
        return self._bytes(200)

    def _truncate(self, data: bytes) -> bytes:
        return data[: self._place(data)]

    def _huge(self, data: bytes) -> bytes:
        at = self._place(data)
        return data[:at] + self.rng.choice(_HUGE) + data[at + self.rng.choice((0, 1, 5)) :]

    def _nest(self, data: bytes) -> bytes:
        nest = self.rng.choice(_NESTS) * self.rng.choice((1, 2, 40, 300))
        at = self._place(data)
        return self.rng.choice((nest, data[:at] + nest, data[:at] + nest + data[at:]))

    def _loosely(self, data: bytes) -> bytes:
        """The same message with a number, string, array or map in a longer form than the shortest."""
        try:
            tree = msgspec.msgpack.decode(data)
        except (ValueError, RecursionError):
            return self._flip(data)
        return _pack(tree, lambda: self.rng.random() < 0.2)

    def _structured(self, data: bytes) -> bytes:
        """The message with one of its values replaced, moved, doubled or left out; canonical again."""
        try:
            tree = msgspec.msgpack.decode(data)
            root = [tree]
            self._change(*self._choose(root))
            return msgspec.msgpack.encode(root[0]) if root else b""
        except (ValueError, TypeError, RecursionError, OverflowError):
            return self._flip(data)

    def _choose(self, root: list[Any]) -> tuple[Any, Any]:
        """A container and a key or index in it, any depth; seldom what all messages have in common."""
        container: Any = root
        while True:
            keys = list(container) if isinstance(container, dict) else range(len(container))
            if isinstance(container, dict) and self.rng.random() < 0.8:
                keys = [key for key in keys if key not in ("type", "session", "version")] or keys
            key = self.rng.choice(keys)
            child = container[key]
            if not isinstance(child, dict | list) or not child or self.rng.random() < 0.15:
                return container, key
            container = child

    def _change(self, container: Any, key: Any) -> None:
        """Mostly what leaves the form of the message as it is, and sometimes what does not."""
        rng, value = self.rng, container[key]
        step = rng.randrange(20)
        if step == 0:
            container[key] = rng.choice(_STRANGERS)
        elif step == 1:
            container[key] = rng.choice(_EXTREMES)
        elif step == 2:
            self._move(container, key)
        elif step == 3:
            del container[key]
        elif step == 4 and isinstance(container, list):
            container.insert(rng.randint(0, len(container)), value)
        elif step == 4:
            container[rng.choice((f"{key}_", "sender", "session", ""))] = value
        elif step == 5 and isinstance(value, bytes):
            container[key] = rng.choice((value[1:], value * 2, b""))
        elif step < 12 and isinstance(key, str):
            container[key] = rng.choice(self._alike(key, value))
        elif isinstance(value, bytes):
            container[key] = self._flip(value)
        elif isinstance(value, bool):
            container[key] = not value
        elif isinstance(value, int):
            container[key] = value + rng.choice((-1, 1, 2))
        elif isinstance(value, list) and value:
            del value[rng.randrange(len(value))]
        else:
            container[key] = rng.choice(_STRANGERS)

    def _alike(self, key: str, value: Any) -> list[Any]:
        """Values that stand under this key in some message, of the same kind and length if there are such."""
        found = self._values.get(key, [value])
        alike = [other for other in found if type(other) is type(value) and other != value]
        if isinstance(value, bytes):
            alike = [other for other in alike if len(other) == len(value)] or alike
        return alike or found

    def _move(self, container: Any, key: Any) -> None:
        """Two values change places; or, of a map, the keys do."""
        other = self.rng.choice(list(container) if isinstance(container, dict) else range(len(container)))
        if isinstance(container, list) or self.rng.random() < 0.5:
            container[key], container[other] = container[other], container[key]
        else:
            container[key] = container.pop(key)


def _pack(value: Any, longer: Callable[[], bool]) -> bytes:
    """MessagePack in which any head may be wider than it need be."""
    if not longer() and not isinstance(value, dict | list):
        return msgspec.msgpack.encode(value)
    if isinstance(value, bool) or value is None:
        return msgspec.msgpack.encode(value)
    if isinstance(value, int):
        return (
            b"\xcf" + value.to_bytes(8, "big")
            if value >= 0
            else b"\xd3" + value.to_bytes(8, "big", signed=True)
        )
    if isinstance(value, str):
        return b"\xdb" + len(value.encode()).to_bytes(4, "big") + value.encode()
    if isinstance(value, bytes):
        return b"\xc6" + len(value).to_bytes(4, "big") + value
    if isinstance(value, list):
        head = b"\xdd" + len(value).to_bytes(4, "big") if longer() else _short(0x90, 0xDC, len(value))
        return head + b"".join(_pack(child, longer) for child in value)
    if isinstance(value, dict):
        head = b"\xdf" + len(value).to_bytes(4, "big") if longer() else _short(0x80, 0xDE, len(value))
        return head + b"".join(_pack(part, longer) for pair in value.items() for part in pair)
    return msgspec.msgpack.encode(value)


def _short(tiny: int, wide: int, count: int) -> bytes:
    return bytes([tiny + count]) if count < 16 else bytes([wide]) + count.to_bytes(2, "big")

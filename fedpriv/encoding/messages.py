"""Messages on the wire: MessagePack maps with a type tag, decoded strictly.

A byte string is a message only if encoding that message gives it back: maps in another order, numbers in
another width, repeated or unknown keys and trailing bytes are all refused, so every message has one form.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final, TypeVar

import msgspec

from fedpriv.errors import DecodeError

__all__ = ["VERSION", "Message", "check_ascending", "decode", "encode"]

VERSION: Final = 1

_T = TypeVar("_T")


class Message(msgspec.Struct, frozen=True, tag_field="type", forbid_unknown_fields=True):
    """What all messages have: the session identifier that both sides compute, and the protocol version."""

    session: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ValueError(f"protocol version {self.version}; this side speaks version {VERSION}")

    def __repr__(self) -> str:
        """The type only: payloads are long, or secret, or both."""
        return f"<{type(self).__name__}>"


def encode(message: Message) -> bytes:
    """The one byte string of a message."""
    return msgspec.msgpack.encode(message)


def decode(decoder: msgspec.msgpack.Decoder[_T], data: bytes, limit: int) -> _T:
    """The message that ``data`` is.

    Args:
        decoder: of the messages that may come.
        data: what came.
        limit: bytes that no message of the session is longer than.

    Raises:
        DecodeError: it is none of them, it is not in its one form, or it is longer.
    """
    if not isinstance(data, bytes):
        raise DecodeError(f"A message is bytes, not {type(data).__name__}.")
    if len(data) > limit:
        raise DecodeError(f"A message of {len(data)} bytes is longer than any of this session, {limit}.")
    try:
        message = decoder.decode(data)
    except (ValueError, RecursionError) as fault:
        raise DecodeError(f"Not a message of the protocol: {fault}") from None
    if msgspec.msgpack.encode(message) != data:
        raise DecodeError("A message is not in its canonical form.")
    return message


def check_ascending(parties: Iterable[int]) -> None:
    """That numbers of parties, none of them negative, go up.

    Raises:
        ValueError: they do not; `decode` makes a DecodeError of it.
    """
    last = -1
    for party in parties:
        if party <= last:
            raise ValueError("parties not in ascending order, or one named twice")
        last = party

"""The wire format: one form for each message."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from parties.secagg import Parties

from fedpriv.errors import DecodeError
from fedpriv.secagg.messages import AdvertiseRequest, ConsistencyRequest, UnmaskReply, encode


def _all_messages(parties: Parties) -> list[tuple[bool, bytes]]:
    """Every message of one round with a dropout; with each, whether it is a reply."""
    messages = []
    while not parties.server.finished:
        for client, request in parties.server.requests().items():
            messages.append((False, request))
            if (parties.server.stage, client) != ("upload", 2):
                reply = parties.clients[client].handle(request)
                parties.server.receive(client, reply)
                messages.append((True, reply))
        parties.server.advance()
    return messages


def test_every_message_survives_decoding_and_none_passes_for_the_other_direction() -> None:
    parties = Parties(4)
    for is_reply, data in _all_messages(parties):
        right, wrong = parties.read_reply, parties.read_request
        if not is_reply:
            right, wrong = wrong, right
        assert encode(right(data)) == data
        with pytest.raises(DecodeError):
            wrong(data)


def test_cutting_or_lengthening_any_message_is_refused() -> None:
    parties = Parties(3, dimension=2)
    for is_reply, data in _all_messages(parties):
        read = parties.read_reply if is_reply else parties.read_request
        for end in range(len(data)):
            with pytest.raises(DecodeError):
                read(data[:end])
        with pytest.raises(DecodeError):
            read(data + b"\0")


def _as_map(message: Any) -> dict[str, Any]:
    return msgspec.msgpack.decode(encode(message))  # type: ignore[no-any-return]


def test_other_encodings_of_the_same_message_are_refused() -> None:
    parties = Parties(3)
    plain = _as_map(ConsistencyRequest(session=bytes(32), survivors=(1, 2, 3)))
    parties.read_request(msgspec.msgpack.encode(plain))
    reordered = dict(reversed(plain.items()))
    for other in (reordered, {**plain, "extra": 0}, {**plain, "survivors": [1.0, 2, 3]}):
        with pytest.raises(DecodeError):
            parties.read_request(msgspec.msgpack.encode(other))
    # 3 as an 8-bit and as a signed 8-bit integer
    for number in (b"\xcc\x03", b"\xd0\x03"):
        with pytest.raises(DecodeError, match="canonical"):
            parties.read_request(msgspec.msgpack.encode(plain)[:-1] + number)


@pytest.mark.parametrize("survivors", [(2, 1), (1, 1), (0, 1), (1, 1001), (-1,)])
def test_lists_ascend_and_hold_possible_clients(survivors: tuple[int, ...]) -> None:
    plain = {**_as_map(ConsistencyRequest(session=bytes(32), survivors=())), "survivors": survivors}
    with pytest.raises(DecodeError):
        Parties(3).read_request(msgspec.msgpack.encode(plain))


def test_a_reply_cannot_carry_both_kinds_of_share_of_one_client() -> None:
    with pytest.raises(ValueError, match="twice"):
        UnmaskReply(session=bytes(32), sender=1, shares=((2, "key", bytes(33)), (2, "seed", bytes(33))))


def test_another_version_is_refused() -> None:
    plain = {**_as_map(AdvertiseRequest(session=bytes(32))), "version": 2}
    with pytest.raises(DecodeError, match="version 2"):
        Parties(3).read_request(msgspec.msgpack.encode(plain))


def test_a_message_longer_than_any_is_refused_unread() -> None:
    with pytest.raises(DecodeError, match="longer"):
        Parties(3).read_request(bytes(100_000))


def test_what_is_not_bytes_is_refused() -> None:
    for data in (None, "text", bytearray(3)):
        with pytest.raises(DecodeError):
            Parties(3).read_request(data)  # type: ignore[arg-type]


def test_messages_do_not_print_what_they_carry() -> None:
    assert repr(UnmaskReply(session=bytes(32), sender=1, shares=((2, "key", b"k" * 33),))) == "<UnmaskReply>"

"""Messages: one form each, limits on every length, and decoding that is total."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from parties.ckks import Parties, params

from fedpriv.ckks import messages
from fedpriv.ckks.messages import Seal, decode_reply, decode_request, encode, reply_bytes, request_bytes
from fedpriv.errors import DecodeError

COMMITTEE = params("threshold", 4)


@pytest.fixture(scope="module")
def traffic() -> tuple[list[bytes], list[bytes]]:
    """All requests and replies of party 1 in a round."""
    parties = Parties(COMMITTEE)
    requests, replies = [], []
    while not parties.server.finished:
        for party in parties.server.asked:
            requests.append(parties.server.request(party))
            answer = parties.answer(party)
            replies += answer
            parties.deliver(party, answer)
        parties.server.advance()
    return requests, replies


def test_every_message_has_one_form(traffic: tuple[list[bytes], list[bytes]]) -> None:
    for all_of, decode in zip(traffic, (decode_request, decode_reply), strict=True):
        kinds = set()
        for data in all_of:
            message = decode(data, COMMITTEE)
            kinds.add(type(message))
            assert encode(message) == data
            assert repr(message) == f"<{type(message).__name__}>"
            values: dict[str, Any] = msgspec.msgpack.decode(data)
            swapped = msgspec.msgpack.encode(dict(reversed(values.items())))
            unknown = msgspec.msgpack.encode({**values, "extra": 1})
            less = msgspec.msgpack.encode({key: values[key] for key in list(values)[:-1]})
            versioned = msgspec.msgpack.encode({**values, "version": 2})
            short = msgspec.msgpack.encode({**values, "session": b"short"})
            for wrong in (data + b"\0", data[:-1], swapped, unknown, less, versioned, short, b""):
                with pytest.raises(DecodeError):
                    decode(wrong, COMMITTEE)
        assert len(kinds) == 7 if decode is decode_request else 8


def test_requests_are_no_replies(traffic: tuple[list[bytes], list[bytes]]) -> None:
    requests, replies = traffic
    for data in requests:
        with pytest.raises(DecodeError):
            decode_reply(data, COMMITTEE)
    for data in replies:
        with pytest.raises(DecodeError):
            decode_request(data, COMMITTEE)


@pytest.mark.parametrize("mode", ["authority", "threshold", "shared-key"])
@pytest.mark.parametrize("malicious", [True, False])
def test_the_limits_let_every_honest_message_through(mode: str, malicious: bool) -> None:
    chosen = params(mode, 4, dimension=5000, malicious=malicious)
    parties = Parties(chosen)
    parties.finish_exactly()
    for limit in (request_bytes(chosen), reply_bytes(chosen)):
        assert limit < 8 * messages.EXCHANGE_BYTES


def test_what_is_longer_than_any_message_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "EXCHANGE_BYTES", 2**16)
    for decode, limit in ((decode_request, request_bytes), (decode_reply, reply_bytes)):
        with pytest.raises(DecodeError, match="longer than any"):
            decode(bytes(limit(COMMITTEE) + 1), COMMITTEE)


@pytest.mark.parametrize("junk", [None, "text", 7, bytearray(b"\x80"), memoryview(b"\x80"), [], {}])
def test_what_is_not_bytes_is_no_message(junk: Any) -> None:
    for decode in (decode_request, decode_reply):
        with pytest.raises(DecodeError, match="bytes"):
            decode(junk, COMMITTEE)


def test_lists_of_parties_ascend(traffic: tuple[list[bytes], list[bytes]]) -> None:
    requests, replies = traffic
    seen = 0
    for all_of, decode in ((requests, decode_request), (replies, decode_reply)):
        for data in all_of:
            values = msgspec.msgpack.decode(data)
            key = values.get("key")
            places = [values] + ([key] if isinstance(key, dict) else [])
            for place in places:
                for name in ("members", "shares", "keys", "commitments", "parts", "signatures"):
                    entries = place.get(name)
                    if not entries:
                        continue
                    seen += 1
                    for wrong in (entries[::-1], [entries[0], *entries]):
                        place[name] = wrong
                        with pytest.raises(DecodeError):
                            decode(msgspec.msgpack.encode(values), COMMITTEE)
                    place[name] = entries
    assert seen > 20


def test_numbers_stay_in_their_ranges() -> None:
    session = bytes(32)
    for changes in ({"round": -1}, {"round": 2**63 - 1}, {"chunk": -1}, {"chunk": 2**31}):
        request = messages.OpenRequest(
            **{
                "session": session,
                "round": 1,
                "key": session,
                "seals": (),
                "chunk": 0,
                "chunks": (),
                **changes,
            }
        )
        with pytest.raises(DecodeError):
            decode_request(encode(request), COMMITTEE)
    for number in (0, -1, 2**63 - 1):
        with pytest.raises(DecodeError):
            decode_request(encode(messages.AdvertiseRequest(session=session, number=number)), COMMITTEE)
    for party in (-1, 2**20 + 1):
        seal = Seal(party, b"", bytes(64))
        with pytest.raises(DecodeError):
            decode_reply(
                encode(messages.UploadSeal(session=session, sender=1, round=1, seal=seal)), COMMITTEE
            )

"""The wire format: one form for each message."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from parties.secagg import Parties, sparse_params

from fedpriv.crypto.merkle import path_length
from fedpriv.errors import DecodeError
from fedpriv.secagg import SecAggParams, Vector
from fedpriv.secagg.messages import (
    SEALED_BYTES,
    AdvertiseRequest,
    Bundle,
    ConsistencyRequest,
    Reply,
    Request,
    UnmaskReply,
    UnmaskRequest,
    UploadHeader,
    UploadPart,
    UploadRequest,
    View,
    control_bytes,
    encode,
)

SMALL = SecAggParams.for_cohort(3, vectors=[Vector("update", 5, 2)])
LEVELS = SecAggParams.for_cohort(4, vectors=[Vector("update", 5, 2)], min_survivors=3, levels=(4,))
SPARSE = sparse_params(8, degree=4, threshold=3, min_survivors=7)


def _messages(parties: Parties) -> Iterator[tuple[bool, bytes]]:
    """Every message of a round in which client 2 drops before its upload, and whether it is a reply."""
    while not parties.server.finished:
        for client in parties.server.asked:
            yield False, parties.server.request(client)
            if (parties.server.stage, client) != ("upload", 2):
                for message in parties.answer(client):
                    yield True, message
                    parties.server.receive(client, message)
        parties.server.advance()


def _all_messages() -> list[tuple[Parties, bool, bytes]]:
    """Of a round that prepares the next, of that one, and of a sparse one."""
    prepared = Parties(params=SMALL, prepare=True)
    found = [(prepared, *message) for message in _messages(prepared)]
    prepared.open(4, invite={2})
    found += [(prepared, *message) for message in _messages(prepared)]
    for params in (SPARSE, LEVELS):
        others = Parties(params=params)
        found += [(others, *message) for message in _messages(others)]
    return found


def test_every_message_survives_decoding_and_none_passes_for_the_other_direction() -> None:
    types = set()
    for parties, is_reply, data in _all_messages():
        right, wrong = parties.read_reply, parties.read_request
        if not is_reply:
            right, wrong = wrong, right
        message = right(data)
        types.add(type(message))
        assert encode(message) == data
        assert not is_reply or len(data) <= max(control_bytes(parties.params), 2**21 + 256)
        assert is_reply or len(data) <= control_bytes(parties.params)
        with pytest.raises(DecodeError):
            wrong(data)
    assert types == {*Request.__args__, *Reply.__args__}


def test_cutting_or_lengthening_any_message_is_refused() -> None:
    shown = set()
    for parties, is_reply, data in _all_messages():
        read = parties.read_reply if is_reply else parties.read_request
        kind = (parties, type(read(data)))
        if kind in shown:
            continue
        shown.add(kind)
        for end in range(len(data)):
            with pytest.raises(DecodeError):
                read(data[:end])
        with pytest.raises(DecodeError):
            read(data + b"\0")


def _as_map(message: Any) -> dict[str, Any]:
    return msgspec.msgpack.decode(encode(message))  # type: ignore[no-any-return]


def _unmask_request() -> dict[str, Any]:
    """A message with a list of pairs, as a map."""
    signatures = ((1, bytes(64)), (3, bytes(64)))
    return _as_map(UnmaskRequest(session=bytes(32), survivors=b"\x07", dropped=b"\0", signatures=signatures))


@pytest.mark.parametrize(
    "change",
    [
        lambda plain: dict(reversed(plain.items())),
        lambda plain: {**plain, "extra": 0},
        lambda plain: {name: value for name, value in plain.items() if name != "dropped"},
        lambda plain: {**plain, "dropped": None},
        lambda plain: {**plain, "dropped": "\0"},
        lambda plain: {**plain, "session": bytes(31)},
        lambda plain: {**plain, "session": bytes(33)},
        lambda plain: {**plain, "version": 2},
        lambda plain: {**plain, "version": 1.0},
        lambda plain: {**plain, "version": True},
        lambda plain: {**plain, "type": "unmask-reply"},
        lambda plain: {**plain, "type": "no such type"},
        lambda plain: {**plain, "signatures": [[1, bytes(64)], [1, bytes(64)]]},
        lambda plain: {**plain, "signatures": [[3, bytes(64)], [1, bytes(64)]]},
        lambda plain: {**plain, "signatures": [[0, bytes(64)]]},
        lambda plain: {**plain, "signatures": [[-1, bytes(64)]]},
        lambda plain: {**plain, "signatures": [[1_000_001, bytes(64)]]},
        lambda plain: {**plain, "signatures": [[1.0, bytes(64)]]},
        lambda plain: {**plain, "signatures": [[1, bytes(63)]]},
        lambda plain: {**plain, "signatures": [[1, bytes(65)]]},
        lambda plain: {**plain, "signatures": [[1, bytes(64), 0]]},
        lambda plain: {**plain, "signatures": [[1]]},
        lambda plain: {**plain, "signatures": {1: bytes(64)}},
        lambda plain: list(plain.values()),
    ],
)
def test_another_form_of_a_message_is_refused(change: Callable[[dict[str, Any]], Any]) -> None:
    parties, plain = Parties(params=SMALL), _unmask_request()
    parties.read_request(msgspec.msgpack.encode(plain))
    with pytest.raises(DecodeError):
        parties.read_request(msgspec.msgpack.encode(change(plain)))


def test_longer_forms_of_the_same_number_or_string_are_refused() -> None:
    parties, data = Parties(params=SMALL), encode(AdvertiseRequest(session=bytes(32)))
    assert data.endswith(b"\xa7version\x01")
    for version in (b"\xcc\x01", b"\xcd\0\x01", b"\xce\0\0\0\x01", b"\xd0\x01", b"\xd3" + bytes(7) + b"\x01"):
        with pytest.raises(DecodeError, match="canonical"):
            parties.read_request(data[:-1] + version)
    with pytest.raises(DecodeError, match="canonical"):
        parties.read_request(data[:-9] + b"\xd9\x07version\x01")
    # A map that says it has three entries in a longer form, and one that names a field twice.
    with pytest.raises(DecodeError, match="canonical"):
        parties.read_request(b"\xde\0\x03" + data[1:])
    with pytest.raises(DecodeError):
        parties.read_request(b"\x84" + data[1:] + b"\xa7version\x01")


@pytest.mark.parametrize("order", [(2, 1), (1, 1)], ids=["descending", "twice"])
def test_clients_are_listed_in_ascending_order_and_once(order: tuple[int, int]) -> None:
    bundle = Bundle(1, bytes(32), bytes(32), bytes(32), bytes(32), bytes(64))
    bundles = tuple(msgspec.structs.replace(bundle, client=client) for client in order)
    with pytest.raises(ValueError, match="ascending"):
        View(b"\x07", bundles, ())
    parties = Parties(3, prepare=True)
    checked = set()
    for is_reply, data in _messages(parties):
        plain = msgspec.msgpack.decode(data)
        for field in ("shares", "early", "signatures"):
            if len(plain.get(field, ())) > 1:
                entries = plain[field]
                plain[field] = [[order[0], *entries[0][1:]], [order[1], *entries[1][1:]], *entries[2:]]
                with pytest.raises(DecodeError):
                    (parties.read_reply if is_reply else parties.read_request)(msgspec.msgpack.encode(plain))
                plain[field] = entries
                checked.add((plain["type"], field))
    assert checked == {
        ("share-reply", "shares"),
        ("upload-request", "shares"),
        ("upload-header", "shares"),
        ("unmask-request", "signatures"),
        ("unmask-reply", "shares"),
    }


def test_a_reply_cannot_carry_both_kinds_of_share_of_one_client() -> None:
    with pytest.raises(ValueError, match="twice"):
        UnmaskReply(session=bytes(32), sender=1, shares=((2, "key", bytes(33)), (2, "seed", bytes(33))))


def test_another_version_is_refused() -> None:
    plain = {**_as_map(AdvertiseRequest(session=bytes(32))), "version": 2}
    with pytest.raises(DecodeError, match="version 2"):
        Parties(3).read_request(msgspec.msgpack.encode(plain))


def test_a_message_longer_than_any_is_refused_unread() -> None:
    params = Parties(3).params
    limit = control_bytes(params)
    assert limit == 2048 + 2 * 1 + (512 + 32 * 2) * 3  # spec, section 7
    with pytest.raises(DecodeError, match="longer"):
        Parties(3).read_request(bytes(limit + 1))
    with pytest.raises(DecodeError, match="Not a message"):
        Parties(3).read_request(bytes(limit))
    with pytest.raises(DecodeError, match="longer"):
        Parties(3).read_reply(bytes(2**21 + 257))
    with pytest.raises(DecodeError, match="Not a message"):
        Parties(3).read_reply(bytes(2**21 + 256))


@pytest.mark.parametrize(
    "params",
    [
        SecAggParams.for_cohort(1000, vectors=[Vector("update", 5, 2)]),
        sparse_params(70_000, degree=20, threshold=11, min_survivors=69_990),
    ],
    ids=["complete", "sparse"],
)
def test_the_largest_messages_stay_within_the_limit(params: SecAggParams) -> None:
    session, everyone = b"\xff" * 32, b"\xff" * params.set_bytes
    members = range(params.clients - params.degree, params.clients + 1)
    path = () if params.complete else (bytes(32 * path_length(params.clients)),) * len(members)
    bundles = [Bundle(member, session, session, session, session, bytes(64)) for member in members]
    view = View(everyone, tuple(bundles), path)
    sealed = tuple((member, bytes(SEALED_BYTES)) for member in members)
    signatures = tuple((member, bytes(64)) for member in members)
    shares = tuple((member, "seed", bytes(33)) for member in members)
    sender = params.clients
    largest = [
        UploadRequest(session=session, view=view, sharers=everyone, shares=sealed, early=(), prepare=True),
        ConsistencyRequest(session=session, survivors=everyone, uploads=signatures),
        UnmaskRequest(session=session, survivors=everyone, dropped=everyone, signatures=signatures),
        UploadHeader(session=session, sender=sender, bundle=bundles[-1], shares=sealed, signature=bytes(64)),
        UnmaskReply(session=session, sender=sender, shares=shares),
    ]
    assert all(len(encode(message)) <= control_bytes(params) for message in largest)
    part = UploadPart(session=session, sender=sender, part=2**17 - 1, data=bytes(2**21))
    assert len(encode(part)) <= 2**21 + 256


def test_a_deep_nest_is_refused() -> None:
    with pytest.raises(DecodeError):
        Parties(3).read_request(b"\x91" * 2000)


@pytest.mark.parametrize("data", [None, "text", bytearray(3), memoryview(b"abc"), 7])
def test_what_is_not_bytes_is_refused(data: Any) -> None:
    parties = Parties(3)
    for read in (parties.read_request, parties.read_reply):
        with pytest.raises(DecodeError):
            read(data)


def test_messages_do_not_print_what_they_carry() -> None:
    assert repr(UnmaskReply(session=bytes(32), sender=1, shares=((2, "key", b"k" * 33),))) == "<UnmaskReply>"

"""Random and mutated bytes at every decoder and in every state: typed errors, and nothing changed."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parties.secagg import Parties

from fedpriv.encoding.packing import unpack
from fedpriv.errors import DecodeError, PeerFault
from fedpriv.secagg.messages import encode


# All three must take part (t = 3), so that no list with an entry cut out is a legal one.
def _parties() -> Parties:
    return Parties(3, dimension=2, seed=1, max_colluders=1)


STAGES = ("advertise", "share", "upload", "consistency", "unmask")


@cache
def _recorded() -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """All requests to and replies of client 1 in one round."""
    parties = _parties()
    requests, replies = [], []
    while not parties.server.finished:
        for client, request in parties.server.requests().items():
            reply = parties.clients[client].handle(request)
            parties.server.receive(client, reply)
            if client == 1:
                requests.append(request)
                replies.append(reply)
        parties.server.advance()
    return tuple(requests), tuple(replies)


@st.composite
def _mutated(draw: st.DrawFn, messages: tuple[bytes, ...]) -> bytes:
    """A message with some bytes changed, cut out, or put in."""
    data = bytearray(draw(st.sampled_from(messages)))
    for _ in range(draw(st.integers(1, 4))):
        position = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["set", "cut", "insert"]))
        if kind == "insert":
            data[position:position] = draw(st.binary(min_size=1, max_size=6))
        elif kind == "cut":
            del data[position : position + draw(st.integers(1, 6))]
        elif position < len(data):
            data[position] = draw(st.integers(0, 255))
    return bytes(data)


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(STAGES))
def test_a_client_in_any_state_answers_its_request_or_refuses(data: st.DataObject, stage: str) -> None:
    requests, _ = _recorded()
    parties = _parties()
    parties.run_until(stage)
    client = parties.clients[1]
    junk = data.draw(st.one_of(st.binary(max_size=200), _mutated(requests)))
    if junk in requests:
        return
    state = client.state
    with pytest.raises(PeerFault):
        client.handle(junk)
    assert client.state == state
    assert np.array_equal(parties.finish().total, parties.plain_sum({1, 2, 3}))


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from(STAGES))
def test_a_server_in_any_stage_takes_a_message_or_refuses(data: st.DataObject, stage: str) -> None:
    _, replies = _recorded()
    parties = _parties()
    parties.run_until(stage)
    junk = data.draw(st.one_of(st.binary(max_size=200), _mutated(replies)))
    reply = parties.clients[1].handle(parties.server.requests()[1])
    # What no signature or tag covers can be changed into another valid message: the upload, and the boxes and
    # shares that only their receivers can check.  Everything else must be refused.
    culprit: int | None = 0
    try:
        parties.server.receive(1, junk)
    except PeerFault as fault:
        culprit = fault.party
    if culprit == 0:
        assert junk == reply or stage in ("share", "upload", "unmask")
        return
    assert culprit == 1
    assert junk != reply
    parties.server.receive(1, reply)


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_decoders_are_total(data: st.DataObject) -> None:
    requests, replies = _recorded()
    parties = _parties()
    junk = data.draw(st.one_of(st.binary(max_size=400), _mutated(requests + replies)))
    for read in (parties.read_request, parties.read_reply):
        try:
            message = read(junk)
        except DecodeError:
            continue
        assert encode(message) == junk


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=64), st.integers(1, 62), st.integers(0, 40))
def test_unpacking_is_total_and_gives_residues(data: bytes, bits: int, count: int) -> None:
    try:
        values = unpack(data, bits, count)
    except DecodeError:
        return
    assert len(values) == count
    assert not count or int(values.max()) < 2**bits


def test_nesting_as_deep_as_the_message_is_long() -> None:
    parties = Parties(3)
    for byte in (b"\x91", b"\x81", b"\xdc\x00\x01", b"\xdf\x00\x00\x00\x01"):
        with pytest.raises(DecodeError):
            parties.clients[1].handle(byte * 300)
        with pytest.raises(DecodeError):
            parties.clients[1].handle(b"\x82\xa4type" + byte * 300)

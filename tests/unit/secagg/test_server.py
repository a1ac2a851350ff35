"""What the server refuses, and that refusing leaves the round as it was."""

from __future__ import annotations

import numpy as np
import pytest
from parties.secagg import Parties

from fedpriv.errors import DecodeError, ProtocolViolation
from fedpriv.secagg import Client


def test_a_reply_twice_late_or_in_another_name_is_refused_and_the_round_goes_on() -> None:
    parties = Parties(4)
    first = parties.clients[1].handle(parties.server.requests()[1])
    with pytest.raises(ProtocolViolation, match="SA-15") as refusal:
        parties.server.receive(2, first)
    assert refusal.value.party == 2
    parties.server.receive(1, first)
    with pytest.raises(ProtocolViolation, match="twice"):
        parties.server.receive(1, first)
    for client in (2, 3):
        parties.server.receive(client, parties.clients[client].handle(parties.server.requests()[client]))
    late = parties.clients[4].handle(parties.server.requests()[4])
    parties.server.advance()
    with pytest.raises(ProtocolViolation, match="SA-15"):
        parties.server.receive(4, late)
    assert np.array_equal(parties.finish().total, parties.plain_sum({1, 2, 3}))


def test_a_client_that_dropped_out_cannot_come_back_in_the_round() -> None:
    parties = Parties(4)
    request = parties.server.requests()[4]
    parties.step({4})
    reply = parties.clients[4].handle(request)
    shared = parties.clients[1].handle(parties.server.requests()[1])
    with pytest.raises(ProtocolViolation, match="SA-15"):
        parties.server.receive(4, reply)
    with pytest.raises(ProtocolViolation, match="not asked"):
        parties.server.receive(4, parties.forge_reply(shared, sender=4))


def test_bytes_that_are_no_reply_name_the_client_and_it_may_still_answer() -> None:
    parties = Parties(3)
    with pytest.raises(DecodeError, match="client 2") as refusal:
        parties.server.receive(2, b"\xc1")
    assert refusal.value.party == 2
    assert np.array_equal(parties.finish().total, parties.plain_sum({1, 2, 3}))


def test_a_refused_upload_leaves_no_trace_in_the_sum() -> None:
    parties = Parties(4)
    requests = parties.run_until("upload")
    reply = parties.clients[2].handle(requests[2])
    vector = parties.read_reply(reply).vector
    for other in (vector[:-1], vector + b"\0", b""):
        with pytest.raises(DecodeError):
            parties.server.receive(2, parties.forge_reply(reply, vector=other))
    parties.server.receive(2, reply)
    for client in (1, 3, 4):
        parties.server.receive(client, parties.clients[client].handle(requests[client]))
    parties.server.advance()
    assert np.array_equal(parties.finish().total, parties.plain_sum({1, 2, 3, 4}))


def test_a_client_that_shares_with_too_few_is_refused() -> None:
    parties = Parties(4)
    requests = parties.run_until("share")
    reply = parties.clients[1].handle(requests[1])
    shares = parties.read_reply(reply).shares
    with pytest.raises(ProtocolViolation, match="SA-16"):
        parties.server.receive(1, parties.forge_reply(reply, shares=shares[:-1]))


def test_the_server_keeps_one_vector_however_many_upload() -> None:
    parties = Parties(8, dimension=50_000, bits=30)
    parties.run_until("upload")
    size = parties.server._sum._words.nbytes
    parties.step()
    assert parties.server._sum._words.nbytes == size == 4 * 50_000
    held = [value for value in vars(parties.server).values() if isinstance(value, (bytes, np.ndarray))]
    assert all(len(value) < 1000 for value in held)


def test_a_client_made_with_another_roster_order_is_the_same() -> None:
    parties = Parties(3)
    reversed_roster = dict(reversed(parties.roster.items()))
    client = Client(
        parties.params, parties.session, 1, parties.identities[1], reversed_roster, parties.stream.read
    )
    client.set_vector(parties.vectors[1])
    parties.clients[1] = client
    assert np.array_equal(parties.finish().total, parties.plain_sum({1, 2, 3}))

"""Attacks on what was agreed beforehand: another run, round, model, threshold, or a group too small."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from parties.secagg import Parties

from fedpriv.encoding.packing import pack
from fedpriv.errors import DecodeError, ProtocolViolation, UnsafeParameters, UsageError
from fedpriv.secagg import SecAggParams, Server, run_in_process
from fedpriv.secagg.keys import Cohort, session_id


@pytest.mark.parametrize(
    "changes", [{"run_id": b"another run ...."}, {"round": 4}, {"round": 2}, {"context": bytes(32)}]
)
def test_a_message_of_another_run_round_or_model(changes: dict[str, Any]) -> None:
    # Round 2 is a replay of an earlier one, round 4 a message ahead of its time.
    parties = Parties(4)
    other = Server(parties.params, replace(parties.session, **changes), parties.roster)
    with pytest.raises(ProtocolViolation, match="SA-4"):
        parties.clients[1].handle(other.requests()[1])
    reply = parties.clients[1].handle(parties.server.requests()[1])
    with pytest.raises(ProtocolViolation, match="SA-4"):
        other.receive(1, reply)
    parties.server.receive(1, reply)


def test_a_round_that_is_replayed_to_a_client_that_has_finished_it() -> None:
    parties = Parties(4)
    recorded = []
    while not parties.server.finished:
        recorded.append(parties.server.requests()[1])
        parties.step()
    for request in recorded:
        with pytest.raises(ProtocolViolation, match="SA-15"):
            parties.clients[1].handle(request)


def test_inconsistent_models_are_refused_by_the_clients_themselves() -> None:
    # The server gives client 2 another model.  It speaks to each client under that client's own session, and
    # passes the bundles on: their signatures cover the context, so client 1 refuses client 2's.
    parties = Parties(4)
    poisoned = replace(parties.session, context=b"p" * 32)
    parties.clients[2] = parties.client(2, session=poisoned)
    other_id = session_id(parties.params, poisoned, parties.roster)
    bundles = []
    for client, request in parties.server.requests().items():
        own = parties.forge_request(request, session=other_id) if client == 2 else request
        bundles.append(parties.read_reply(parties.clients[client].handle(own)).bundle)
    template = Parties(4).run_until("share")[1]
    for client in parties.roster:
        session = other_id if client == 2 else parties.server._session_id
        request = parties.forge_request(template, session=session, bundles=tuple(bundles))
        with pytest.raises(ProtocolViolation, match="SA-1") as violation:
            parties.clients[client].handle(request)
        assert violation.value.party == (1 if client == 2 else 2)


def test_masks_of_different_models_do_not_cancel() -> None:
    # Even where no signature is looked at: the same key pairs under another context give other masks.
    parties = Parties(3)
    bundles = parties.read_request(parties.run_until("share")[1]).bundles
    keys = parties.clients[1]._memory.keys
    assert keys is not None
    poisoned = replace(parties.session, context=b"p" * 32)
    ours, theirs = (
        Cohort.of(session_id(parties.params, session, parties.roster), bundles)
        for session in (parties.session, poisoned)
    )
    assert ours.pair_mask_key(keys.mask, 1, 2) != theirs.pair_mask_key(keys.mask, 1, 2)
    assert ours.self_mask_key(keys.seed, 1) != theirs.self_mask_key(keys.seed, 1)


def test_threshold_downgrade_by_the_server() -> None:
    # The clients insist on 6 of 7; the server says 4.  It is in no message, so all it can do is pretend.
    strict = SecAggParams(7, 6, 20, 7)
    lax = SecAggParams(7, 4, 20, 7)
    parties = Parties(7)
    parties.params = strict
    parties.clients = {client: parties.client(client) for client in parties.roster}
    with pytest.raises(ProtocolViolation, match="SA-4"):
        run_in_process(Server(lax, parties.session, parties.roster), parties.clients)


@pytest.mark.parametrize("stage", ["share", "upload", "consistency"])
def test_a_server_that_goes_on_below_the_clients_floor(stage: str) -> None:
    parties = Parties(7)
    request = parties.run_until(stage)[1]
    message = parties.read_request(request)
    field = {"share": "bundles", "upload": "shares", "consistency": "survivors"}[stage]
    few = parties.params.threshold - (2 if stage == "upload" else 1)
    with pytest.raises(ProtocolViolation, match="SA-9"):
        parties.clients[1].handle(parties.forge_request(request, **{field: getattr(message, field)[:few]}))
    assert np.array_equal(parties.finish().total, parties.plain_sum(parties.roster))


@pytest.mark.parametrize("clients", [0, 1, 2])
def test_fewer_than_three_clients(clients: int) -> None:
    with pytest.raises(UnsafeParameters, match="protects nobody"):
        SecAggParams(clients, max(clients, 1), 20, 7)
    with pytest.raises(UnsafeParameters):
        SecAggParams.for_cohort(clients, bits=20, dimension=7)


@pytest.mark.parametrize("threshold", [1, 2, 50])
def test_a_low_threshold_of_a_large_group(threshold: int) -> None:
    with pytest.raises(UnsafeParameters, match="two different sums"):
        SecAggParams(100, threshold, 20, 7)


def test_a_vector_that_overflows() -> None:
    parties = Parties(3, bits=20)
    with pytest.raises(UsageError, match="20 bits"):
        parties.clients[1].set_vector(np.full(7, 2**20, dtype=np.uint64))
    assert np.array_equal(parties.finish().total, parties.plain_sum({1, 2, 3}))


def test_an_upload_with_more_bits_than_agreed() -> None:
    parties = Parties(3, bits=20)
    request = parties.run_until("upload")[2]
    reply = parties.clients[2].handle(request)
    wider = pack(np.full(7, 2**21 - 1, dtype=np.uint64), 21)
    with pytest.raises(DecodeError):
        parties.server.receive(2, parties.forge_reply(reply, vector=wider))


def test_the_roster_of_one_client_differs() -> None:
    # Someone gave client 1 another key for client 3: it agrees with nobody, instead of trusting that key.
    parties = Parties(4)
    parties.roster = {**parties.roster, 3: Parties(4, seed=5).roster[3]}
    parties.clients[1] = parties.client(1)
    with pytest.raises(ProtocolViolation, match="SA-4"):
        parties.clients[1].handle(parties.server.requests()[1])

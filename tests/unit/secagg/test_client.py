"""How a client is set up and what its caller may get wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from parties.secagg import CONTEXT, RUN_ID, Parties, remembered

from fedpriv.crypto import MaskWorkers
from fedpriv.errors import DecodeError, ProtocolViolation, UsageError
from fedpriv.secagg import Client, Floors, Roster, SecAggParams, Server, Vector
from fedpriv.secagg.client_memory import Earlier


def test_an_identity_that_the_roster_does_not_list_is_refused() -> None:
    parties = Parties(3)
    for client in (2, 4):
        with pytest.raises(UsageError, match="does not list"):
            Client(parties.params, RUN_ID, client, parties.identities[1], parties.roster, bytes)


def _without_one(roster: dict[int, bytes]) -> dict[int, bytes]:
    return {client: key for client, key in roster.items() if client != 3}


@pytest.mark.parametrize(
    "change",
    [
        _without_one,
        lambda roster: {**roster, 4: bytes(32)},
        lambda roster: {client - 1: key for client, key in roster.items()},
        lambda roster: {**roster, 3: bytes(31)},
        lambda roster: {**roster, 3: "0" * 32},
        lambda roster: {**roster, 3: roster[2]},
        lambda roster: {},
    ],
)
def test_a_roster_that_does_not_fit_is_refused(
    change: Callable[[dict[int, bytes]], dict[int, bytes]],
) -> None:
    parties = Parties(3)
    changed = change(dict(parties.roster))
    with pytest.raises(UsageError, match="roster"):
        Server(parties.params, RUN_ID, changed)
    with pytest.raises(UsageError, match="roster"):
        Client(parties.params, RUN_ID, 1, parties.identities[1], changed, bytes)


def test_a_roster_is_the_same_in_any_order_and_does_not_follow_later_changes() -> None:
    parties = Parties(3)
    keys = {client: parties.roster[client] for client in (3, 1, 2)}
    roster = Roster(keys)
    keys[1] = bytes(32)
    assert dict(roster) == dict(parties.roster)
    assert roster.digest == parties.roster.digest
    parties.clients[1] = parties.client(1, roster=roster)
    parties.clients[1].open_round(parties.round, CONTEXT)
    parties.clients[1].set_vectors(parties.vectors[1])
    parties.assert_exact(parties.finish())


@pytest.mark.parametrize("run_id", [b"", bytes(15), bytes(17), "0" * 16, bytearray(16)])
def test_a_run_identifier_of_another_form_is_refused(run_id: Any) -> None:
    parties = Parties(3)
    with pytest.raises(UsageError, match="16 bytes"):
        Server(parties.params, run_id, parties.roster)


@pytest.mark.parametrize(
    ("round_", "context"),
    [(-1, CONTEXT), (2**63 - 1, CONTEXT), (4.0, CONTEXT), (True, CONTEXT), (4, bytes(31)), (4, "0" * 32)],
)
def test_a_round_or_context_of_another_form_is_refused(round_: Any, context: Any) -> None:
    parties = Parties(3)
    for party in (parties.clients[1], parties.server):
        with pytest.raises(UsageError):
            party.open_round(round_, context)
    parties.assert_exact(parties.finish())


@pytest.mark.parametrize("prepare", [True, False])
def test_the_last_round_of_all(prepare: bool) -> None:
    parties = Parties(3, round_=2**63 - 2, prepare=prepare)
    parties.assert_exact(parties.finish())


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros(6, dtype=np.uint64),
        np.zeros((7, 1), dtype=np.uint64),
        np.zeros(7, dtype=np.int64),
        np.zeros(7, dtype=np.float64),
        [0] * 7,
        {"other": np.zeros(7, dtype=np.uint64)},
        {"update": np.zeros(7, dtype=np.uint64), "weight": np.zeros(1, dtype=np.uint64)},
        {},
    ],
)
def test_a_vector_of_another_kind_is_refused_and_the_one_before_stays(vector: Any) -> None:
    parties = Parties(3)
    before = remembered(parties.clients[1])
    with pytest.raises(UsageError):
        parties.clients[1].set_vectors(vector)
    assert remembered(parties.clients[1]) == before
    parties.assert_exact(parties.finish())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64, ">u4"])
def test_a_vector_of_any_unsigned_type(dtype: Any) -> None:
    parties = Parties(3)
    parties.vectors[1] = {"update": np.arange(7, dtype=np.uint64)}
    parties.clients[1].set_vectors(np.arange(7).astype(dtype))
    parties.assert_exact(parties.finish())


def test_a_vector_is_copied_when_it_is_given() -> None:
    parties = Parties(3)
    vector = parties.vectors[1]["update"].copy()
    parties.clients[1].set_vectors(vector)
    vector[:] = 0
    parties.assert_exact(parties.finish())


def test_a_vector_can_be_replaced_until_the_upload_and_not_after() -> None:
    parties = Parties(3)
    client = parties.clients[1]
    parties.run_until("upload")
    parties.vectors[1] = {"update": np.arange(7, dtype=np.uint64)}
    client.set_vectors(parties.vectors[1])
    messages = client.handle(parties.server.request(1))
    with pytest.raises(UsageError, match="uploaded"):
        client.set_vectors(parties.vectors[2])
    parties.deliver(1, messages)
    parties.step()
    for state in ("signed", "answered"):
        parties.step()
        assert client.state == state
        with pytest.raises(UsageError, match=state):
            client.set_vectors(parties.vectors[2])
    parties.assert_exact(parties.server.result())


def test_vectors_without_a_round_are_refused() -> None:
    parties = Parties(3)
    with pytest.raises(UsageError, match="idle"):
        parties.client(1).set_vectors(parties.vectors[1])


def test_vectors_of_one_round_are_not_uploaded_in_the_next() -> None:
    parties = Parties(3)
    parties.server.open_round(4, CONTEXT)
    for client in parties.clients.values():
        client.open_round(4, CONTEXT)
    parties.run_until("upload")
    with pytest.raises(UsageError, match="no vectors"):
        parties.answer(1)


def test_a_client_without_vectors_says_so_and_can_go_on() -> None:
    parties = Parties(3)
    late = parties.client(1)
    late.open_round(parties.round, CONTEXT)
    parties.clients[1] = late
    request = parties.run_until("upload")[1]
    before = remembered(late)
    with pytest.raises(UsageError, match="no vectors"):
        late.handle(request)
    assert remembered(late) == before
    late.set_vectors(parties.vectors[1])
    parties.assert_exact(parties.finish())


@pytest.mark.parametrize(
    ("rand", "fault"),
    [
        (bytes, "repeats itself"),
        (lambda count: b"x", "did not give 32 bytes"),
        (lambda count: os.urandom(count - 1), "did not give 32 bytes"),
        (lambda count: os.urandom(count).hex()[:count], "did not give 32 bytes"),
        (lambda count: bytearray(os.urandom(count)), "did not give 32 bytes"),
    ],
)
def test_randomness_that_is_plainly_none_is_refused(rand: Any, fault: str) -> None:
    parties = Parties(3)
    client = parties.client(1, rand=rand)
    client.open_round(parties.round, CONTEXT)
    before = remembered(client)
    with pytest.raises(UsageError, match=fault):
        client.handle(parties.server.request(1))
    assert remembered(client) == before


def test_a_request_before_a_round_is_refused() -> None:
    parties = Parties(3)
    with pytest.raises(ProtocolViolation, match="SA-4"):
        parties.client(1).handle(parties.server.request(1))
    with pytest.raises(DecodeError):
        parties.client(1).handle(b"")


def test_each_answer_is_a_step_and_nothing_else_is() -> None:
    parties = Parties(3)
    client, seen = parties.clients[1], [parties.clients[1].sequence]
    assert seen == [1]
    while not parties.server.finished:
        client.save()
        parties.refuses(1, parties.forge_request(parties.server.request(1), session=bytes(32)), "SA-4")
        parties.step()
        seen.append(client.sequence)
    assert seen == [1, 2, 3, 4, 5, 6]
    client.open_round(9, CONTEXT)
    assert client.sequence == 7


def test_the_step_is_taken_before_the_answer_is_read() -> None:
    # Whoever saves after `handle` returned, and before it sends anything, saves the step.
    parties = Parties(3)
    for state in ("advertised", "shared", "uploaded", "signed", "answered"):
        answer = parties.clients[1].handle(parties.server.request(1))
        assert parties.clients[1].state == state
        assert parties.client(1).sequence < parties.clients[1].sequence
        parties.deliver(1, answer)
        parties.step()


def test_secrets_are_forgotten_when_they_have_served() -> None:
    parties = Parties(3)
    client = parties.clients[1]
    parties.run_until("consistency")
    memory = client._memory
    assert (memory.secrets, memory.bundle, memory.cohort, memory.ahead) == (None,) * 4
    assert memory.earlier is not None
    assert memory.earlier.cipher == b""
    assert client._inputs is None
    assert sorted(memory.held) == [1, 2, 3]
    parties.finish()
    assert client._memory.held == {}
    assert client._memory.holders == ()
    assert client.state == "answered"


def test_of_a_round_that_prepared_the_next_only_what_the_next_needs_is_kept() -> None:
    parties = Parties(3, prepare=True)
    client = parties.clients[1]
    parties.run_until("upload")
    cipher = client._secrets().cipher
    parties.finish()
    memory = client._memory
    assert memory.earlier is not None
    assert memory.earlier.cipher == cipher
    assert memory.secrets is None
    assert memory.held == {}
    parties.open(4, invite=())
    assert client.state == "prepared"
    parties.run_until("consistency")
    after = client._memory
    assert after.earlier is not None
    assert after.earlier.cipher == b""  # the c of round 3 has served, and that of round 4 will not
    assert after.earlier.round == 4
    assert after.ahead is None
    parties.assert_exact(parties.finish())


def test_of_keys_for_a_round_that_did_not_reach_the_client_only_c_is_kept_and_for_one_round_only() -> None:
    parties = Parties(3, prepare=True)
    parties.finish()
    client, ahead = parties.clients[1], parties.clients[1]._memory.ahead
    assert ahead is not None
    client.open_round(5, CONTEXT)
    memory = client._memory
    assert memory.earlier == Earlier(4, b"", ahead.secrets.cipher)
    assert (memory.state, memory.secrets, memory.bundle, memory.ahead) == ("new", None, None, None)
    assert memory.held == {}
    client.open_round(6, CONTEXT)
    assert client._memory.earlier is None
    parties.clients[2].open_round(6, CONTEXT)
    assert parties.clients[2]._memory.earlier is None


def test_nothing_secret_is_printed() -> None:
    parties = Parties(3, prepare=True)
    parties.finish()
    parties.open(4, invite=())
    client = parties.clients[1]
    secrets = client._secrets()
    before = client._memory
    messages = parties.answer(1)
    after = client._memory
    printed = "".join(map(repr, (client, before, after, secrets, parties.server, parties.server._record)))
    printed += "".join(repr(parties.read_reply(message)) for message in messages)
    held = [share for each in after.held.values() for share in (each.seed, each.key)]
    for secret in (secrets.seed, secrets.mask, secrets.cipher, parties.identities[1].seed, *held):
        assert secret.hex() not in printed
        assert repr(secret)[2:-1] not in printed
    assert repr(client) == "<secagg Client 1, round 4, uploaded>"


def test_floors_that_a_plan_meets_change_nothing() -> None:
    parties = Parties(5)
    floors = Floors(survivors=3, threshold=3, colluders=0)
    careful = Client(
        parties.params, RUN_ID, 1, parties.identities[1], parties.roster, parties.stream.read, floors=floors
    )
    careful.open_round(parties.round, CONTEXT)
    careful.set_vectors(parties.vectors[1])
    parties.clients[1] = careful
    parties.assert_exact(parties.finish())


def test_masks_by_several_workers_are_the_same() -> None:
    params = SecAggParams.for_cohort(3, vectors=[Vector("update", 32, 2**17)])
    uploads = []
    for count in (1, 2):
        parties = Parties(params=params, seed=8)
        with MaskWorkers(count) as workers:
            parties.clients[2]._add_masks = workers.add_masks
            parties.server._add_masks = workers.add_masks
            parties.run_until("upload")
            uploads.append(messages := parties.answer(2))
            parties.deliver(2, messages)
            parties.assert_exact(parties.finish())
    assert uploads[0] == uploads[1]

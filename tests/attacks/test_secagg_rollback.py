"""Attacks on a stored state: an older one put back, another client's, a changed one (SA-6)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from parties.attackers import opens, recovered, uploaded
from parties.secagg import Parties, remembered

from fedpriv.encoding.packing import unpack
from fedpriv.errors import IntegrityError
from fedpriv.keystore import StateFile
from fedpriv.secagg import Client, Server

KEY = b"the server's own key, 32 bytes.."
STAGES = ("advertise", "share", "upload", "consistency", "unmask")


@pytest.mark.parametrize("stage", STAGES)
def test_a_rolled_back_client_state_is_refused(stage: str) -> None:
    parties = Parties(4)
    parties.run_until(stage)
    client = parties.clients[1]
    old = client.save()
    parties.deliver(1, parties.answer(1))
    before = remembered(client)
    for place in (client, parties.client(1)):
        untouched = remembered(place)
        with pytest.raises(IntegrityError, match="went back in time"):
            place.restore(old, least_sequence=client.sequence)
        assert remembered(place) == untouched
    assert remembered(client) == before
    parties.assert_exact(parties.finish())


def test_a_state_from_before_the_round_is_refused() -> None:
    # Opening a round is a step: otherwise a round could be opened again with another model.
    parties = Parties(4)
    parties.finish()
    old = parties.clients[1].save()
    parties.open(4)
    with pytest.raises(IntegrityError, match="went back in time"):
        parties.clients[1].restore(old, least_sequence=parties.clients[1].sequence)
    parties.assert_exact(parties.finish())


def test_a_rolled_back_state_answers_twice_and_two_answers_open_a_vector() -> None:
    # Where nobody keeps the sequence number: three clients are set back to before they signed.
    parties = Parties(5)
    parties.run_until("upload")
    messages = parties.answer(5)
    parties.deliver(5, messages)
    first = parties.run_until("consistency")
    old = {client: parties.clients[client].save() for client in (1, 2, 3)}
    request = parties.run_until("unmask")[1]
    seeds = _given(parties, dict.fromkeys(old, request), owner=5)

    without_5 = {"survivors": parties.members({1, 2, 3, 4})}
    signatures = []
    for client, saved in old.items():
        parties.clients[client].restore(saved, least_sequence=0)
        reply = parties.answer(client, parties.forge_request(first[client], **without_5))[0]
        signatures.append((client, parties.read_reply(reply).signature))
    second = parties.forge_request(
        request, **without_5, dropped=parties.members({5}), signatures=tuple(signatures)
    )
    keys = _given(parties, dict.fromkeys(old, second), owner=5)
    assert opens(parties, 5, uploaded(parties, messages), seed=recovered(seeds), mask=recovered(keys))


def _given(parties: Parties, requests: dict[int, bytes], owner: int) -> dict[int, bytes]:
    """The shares of one owner that clients give."""
    return {
        client: {name: share for name, _, share in parties.read_reply(parties.answer(client, r)[0]).shares}[
            owner
        ]
        for client, r in requests.items()
    }


def test_a_rolled_back_state_uploads_twice_and_the_difference_is_in_the_open() -> None:
    # Two vectors under the same masks: the server subtracts one upload from the other.
    parties = Parties(4)
    parties.run_until("upload")
    client = parties.clients[1]
    old = client.save()
    first = uploaded(parties, parties.answer(1))[0]
    with pytest.raises(IntegrityError):
        client.restore(old, least_sequence=client.sequence)
    client.restore(old, least_sequence=0)
    other = np.arange(7, dtype=np.uint64)
    client.set_vectors(other)
    second = uploaded(parties, parties.answer(1))[0]
    difference = (unpack(first, 20, 7) - unpack(second, 20, 7)) % 2**20
    assert np.array_equal(difference, (parties.vectors[1]["update"] - other) % 2**20)


def test_the_state_of_another_client_run_or_identity() -> None:
    parties = Parties(4)
    parties.run_until("upload")
    saved = parties.clients[1].save()
    others = [parties.clients[2], Parties(4, run_id=b"another run ....").clients[1], Parties(5).clients[1]]
    others.append(Parties(4, seed=1).clients[1])
    for other in others:
        before = remembered(other)
        with pytest.raises(IntegrityError, match="not that of client"):
            other.restore(saved, least_sequence=0)
        assert remembered(other) == before
    parties.assert_exact(parties.finish())


@pytest.mark.parametrize("position", [0, 12, 40, -16, -1])
def test_a_stored_state_is_changed_cut_or_lengthened(position: int) -> None:
    parties = Parties(4)
    parties.run_until("upload")
    client, before = parties.clients[1], remembered(parties.clients[1])
    saved = client.save()
    changed = bytearray(saved)
    changed[position] ^= 1
    for wrong in (bytes(changed), saved[:position], saved + b"\0", b""):
        with pytest.raises(IntegrityError):
            client.restore(wrong, least_sequence=0)
    assert remembered(client) == before
    parties.assert_exact(parties.finish())


def test_a_stored_state_shows_nothing_to_whoever_finds_it() -> None:
    parties = Parties(4, prepare=True)
    parties.run_until("upload")
    client = parties.clients[1]
    secrets = client._secrets()
    saved = client.save()
    hidden = [secrets.cipher, secrets.mask, secrets.seed, parties.identities[1].seed]
    parties.run_until("unmask")
    memory = client._memory
    assert memory.ahead is not None
    hidden += [memory.ahead.secrets.mask, *(held.seed for held in memory.held.values())]
    saved += client.save()
    saved += parties.server.save(KEY, parties.stream.read)
    assert all(secret not in saved for secret in hidden)
    assert client.save() != client.save()  # under fresh nonces


def test_a_rolled_back_server_state_is_refused() -> None:
    parties = Parties(4)
    old = parties.server.save(KEY, parties.stream.read)
    reached = parties.server.sequence
    parties.step()
    parties.server.restore(old, KEY, least_sequence=reached)
    parties.open(4)
    parties.step()
    new = parties.server.save(KEY, parties.stream.read)
    for wrong, key in ((old, KEY), (new[:-1], KEY), (new, bytes(32))):
        with pytest.raises(IntegrityError):
            parties.server.restore(wrong, key, least_sequence=parties.server.sequence)
    other = Server(parties.params, b"another run ....", parties.roster)
    with pytest.raises(IntegrityError):
        other.restore(new, KEY, least_sequence=0)
    parties.assert_exact(parties.finish())


def _stored(parties: Parties, client: int, files: StateFile) -> None:
    files.store(parties.clients[client].save(), parties.clients[client].sequence)


def _loaded(parties: Parties, client: int, files: StateFile) -> Client:
    fresh = parties.client(client)
    stored = files.load()
    assert stored is not None
    fresh.restore(stored[0], least_sequence=stored[1])
    return fresh


def test_an_older_file_is_put_in_the_place_of_a_clients_state(tmp_path: Path) -> None:
    parties = Parties(4)
    parties.run_until("unmask")
    path = tmp_path / "client.state"
    with StateFile(path) as files:
        _stored(parties, 1, files)
        older = path.read_bytes()
        answer = parties.answer(1)
        _stored(parties, 1, files)
        assert _loaded(parties, 1, files).state == parties.clients[1].state == "answered"
    parties.deliver(1, answer)
    path.write_bytes(older)
    with StateFile(path) as files, pytest.raises(IntegrityError, match="went back in time"):
        _loaded(parties, 1, files)
    parties.assert_exact(parties.finish())


def test_an_older_state_is_given_a_newer_number_in_its_file(tmp_path: Path) -> None:
    # Who may write the file can write any number beside the state; the one inside it is sealed.
    parties = Parties(4)
    parties.run_until("unmask")
    older = parties.clients[1].save()
    parties.deliver(1, parties.answer(1))
    with StateFile(tmp_path / "client.state") as files:
        files.store(older, parties.clients[1].sequence)
        with pytest.raises(IntegrityError, match="went back in time"):
            _loaded(parties, 1, files)


def test_a_client_that_was_stopped_between_its_step_and_its_answer_does_not_answer_twice(
    tmp_path: Path,
) -> None:
    parties = Parties(4)
    parties.run_until("unmask")
    request = parties.server.request(1)
    with StateFile(tmp_path / "client.state") as files:
        parties.clients[1].handle(request)  # the answer is never sent
        _stored(parties, 1, files)
        parties.clients[1] = _loaded(parties, 1, files)
    parties.refuses(1, request, "SA-15")
    parties.step({1})
    parties.assert_exact(parties.finish())

"""State that is saved and restored between any two messages: nothing of a round notices it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from parties.secagg import Parties, remembered, sparse_params

from fedpriv.errors import IntegrityError, UsageError
from fedpriv.keystore import StateFile
from fedpriv.secagg import Client, SecAggParams, Vector

KEY = b"the server's own key, 32 bytes.."
VECTORS = [Vector(f"v{bits:02}", bits, 5) for bits in (1, 16, 20, 33, 62)]


def _round_with_new_processes(parties: Parties, drops: Mapping[str, Iterable[int]]) -> list[str]:
    """The open round; each party's place is taken by a new process after every single message."""
    gone: set[int] = set()
    exchanges = []
    while not parties.server.finished:
        exchanges.append(stage := parties.server.stage)
        gone |= set(drops.get(stage, ()))
        parties.restart_server()
        for client in parties.server.asked:
            if client in gone:
                continue
            parties.restart_client(client)
            answer = parties.clients[client].handle(parties.server.request(client))
            parties.restart_client(client)
            for message in answer:
                parties.server.receive(client, message)
                parties.restart_server()
            parties.restart_client(client)
        parties.server.advance()
        parties.restart_server()
    parties.assert_exact(parties.server.result())
    return exchanges


@pytest.mark.parametrize("malicious", [True, False])
def test_every_party_is_a_new_process_for_every_message_of_several_rounds(malicious: bool) -> None:
    params = SecAggParams.for_cohort(4, vectors=VECTORS, malicious=malicious)
    parties = Parties(params=params, prepare=True)
    first = list(params.stages)
    assert _round_with_new_processes(parties, {"upload": {4}}) == first
    for lost, invite in (((), {4}), ({1}, ())):
        parties.restart_server()
        parties.open(parties.round + 1, prepare=True, invite=invite)
        exchanges = _round_with_new_processes(parties, {"upload": lost})
        assert exchanges == (first if invite else first[2:])


def test_every_party_is_a_new_process_for_every_message_on_a_sparse_graph() -> None:
    params = sparse_params(8, degree=4, threshold=3, min_survivors=7, vectors=VECTORS[:2])
    parties = Parties(params=params)
    _round_with_new_processes(parties, {"upload": {3}})


def test_an_upload_is_interrupted_on_both_sides() -> None:
    # The server stops between two parts and goes on with the third; a client that stops has dropped out.
    params = SecAggParams.for_cohort(4, vectors=[Vector("a", 3, 2**18 + 1), Vector("b", 20, 3)])
    parties = Parties(params=params, prepare=True)
    parties.run_until("upload")
    answer = parties.clients[1].handle(parties.server.request(1))
    for message in answer:
        parties.server.receive(1, message)
        parties.restart_server()
    lost = parties.clients[2].handle(parties.server.request(2))
    for _ in range(2):
        parties.server.receive(2, next(lost))
    parties.restart_client(2)
    assert parties.clients[2].state == "uploaded"
    assert parties.server.waiting == (2, 3, 4)
    parties.refuses(2, parties.server.request(2), "SA-15")
    parties.step({2})
    result = parties.finish()
    assert result.survivors == (1, 3, 4)
    parties.assert_exact(result)
    # Its keys for the next round did not come through; it is invited anew.
    parties.open(4, invite={2})
    assert parties.server.asked == (2,)
    parties.assert_exact(parties.finish())


def test_vectors_that_were_set_are_not_part_of_the_state() -> None:
    parties = Parties(4)
    parties.run_until("upload")
    saved, sequence = parties.clients[1].save(), parties.clients[1].sequence
    parties.clients[1] = parties.client(1)
    parties.clients[1].restore(saved, least_sequence=sequence)
    with pytest.raises(UsageError, match="no vectors"):
        parties.answer(1)
    parties.clients[1].set_vectors(parties.vectors[1])
    parties.assert_exact(parties.finish())


def test_saving_is_no_step_and_a_state_survives_any_number_of_times() -> None:
    parties = Parties(4, prepare=True)
    while not parties.server.finished:
        client = parties.clients[1]
        before = (client.sequence, remembered(client)[0])
        for _ in range(2):
            saved = client.save()
            client = parties.client(1)
            client.restore(saved, least_sequence=before[0])
            assert (client.sequence, remembered(client)[0]) == before
        key_before = parties.server.sequence
        parties.restart_server()
        assert parties.server.sequence == key_before
        parties.step()


def test_a_state_at_or_above_the_known_step_is_taken_and_one_below_is_not() -> None:
    parties = Parties(4)
    client, sequence = parties.clients[1], parties.clients[1].sequence
    saved = client.save()
    for least in (0, sequence):
        client.restore(saved, least_sequence=least)
    with pytest.raises(IntegrityError) as refusal:
        client.restore(saved, least_sequence=sequence + 1)
    assert "SA-6" in str(refusal.value)
    assert refusal.value.hint


def test_the_state_of_a_party_that_has_not_begun() -> None:
    parties = Parties(3)
    fresh = parties.client(1)
    other = parties.client(1)
    other.restore(fresh.save(), least_sequence=0)
    assert (other.state, other.sequence) == ("idle", 0)
    server = type(parties.server)(parties.params, parties.run_id, parties.roster)
    saved = server.save(KEY, parties.stream.read)
    server.restore(saved, KEY, least_sequence=0)
    assert (server.stage, server.sequence) == ("idle", 0)


def test_the_sum_is_part_of_the_servers_state_also_after_the_end() -> None:
    parties = Parties(4)
    parties.finish()
    parties.restart_server()
    parties.assert_exact(parties.server.result())
    parties.open(4)
    parties.assert_exact(parties.finish())


def _in_a_new_process(parties: Parties, client: int, path: Path, request: bytes) -> list[bytes]:
    """What a client does that lives for one message: load, answer, store, send."""
    with StateFile(path) as files:
        place: Client = parties.client(client)
        stored = files.load()
        if stored is None:
            place.open_round(parties.round, parties.context)
        else:
            place.restore(stored[0], least_sequence=stored[1])
        if place.state in {"new", "prepared", "advertised", "shared"}:
            place.set_vectors(parties.vectors[client])
        answer = place.handle(request)
        files.store(place.save(), place.sequence)
    return list(answer)


def test_clients_that_live_for_one_message_with_their_state_in_a_file(tmp_path: Path) -> None:
    parties = Parties(3)
    while not parties.server.finished:
        for client in parties.server.asked:
            request = parties.server.request(client)
            parties.deliver(client, _in_a_new_process(parties, client, tmp_path / f"{client}", request))
        parties.server.advance()
    parties.assert_exact(parties.server.result())

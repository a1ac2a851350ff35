"""Attacks on what was agreed beforehand: another run, round, model, threshold, or a group too small."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from parties.attackers import opens, recovered, uploaded, without_masks
from parties.secagg import CONTEXT, Parties, sparse_params

from fedpriv.errors import ProtocolViolation, TooFewParties, UnsafeParameters
from fedpriv.secagg import Client, Floors, SecAggParams, Server, Vector
from fedpriv.secagg.cohort import Cohort
from fedpriv.secagg.messages import View, encode

POISONED = b"digest of another model ........"
UPDATE = (Vector("update", 20, 7),)


@pytest.mark.parametrize(
    "changes", [{"run_id": b"another run ...."}, {"round_": 4}, {"round_": 2}, {"context": POISONED}]
)
def test_a_message_of_another_run_round_or_model(changes: dict[str, Any]) -> None:
    # Round 2 is a replay of an earlier one, round 4 a message ahead of its time.
    parties = Parties(4)
    other = Server(parties.params, changes.get("run_id", parties.run_id), parties.roster)
    other.open_round(changes.get("round_", parties.round), changes.get("context", CONTEXT))
    parties.refuses(1, other.request(1), "SA-4")
    reply = parties.answer(1)[0]
    with pytest.raises(ProtocolViolation, match="SA-4"):
        other.receive(1, reply)
    parties.deliver(1, [reply])
    parties.assert_exact(parties.finish())


def test_a_round_that_is_replayed_to_a_client_that_has_finished_it() -> None:
    parties = Parties(4)
    recorded = []
    while not parties.server.finished:
        recorded.append(parties.server.request(1))
        parties.step()
    for request in recorded:
        parties.refuses(1, request, "SA-15")
    parties.open(4)
    for request in recorded:
        parties.refuses(1, request, "SA-4")
    parties.assert_exact(parties.finish())


@pytest.mark.parametrize("stage", ["share", "upload", "consistency", "unmask"])
def test_each_request_of_an_earlier_round_in_its_own_stage_of_the_next(stage: str) -> None:
    parties = Parties(4)
    recorded = parties.run_until(stage)[1]
    parties.finish()
    parties.open(4)
    parties.run_until(stage)
    parties.refuses_and_goes_on(1, recorded, "SA-4")


class _TwoModels:
    """A server that gives client 1 the true model and all others one for which their updates are zero
    (Pasquini et al., 2111.07380), and speaks to client 1 in the session of whatever it told it."""

    def __init__(self, told: bytes) -> None:
        self.parties = parties = Parties(5)
        self.sessions = dict.fromkeys(parties.roster, parties.session)
        self.sessions[1] = parties.group.session(parties.round, told)
        for client in parties.roster:
            parties.clients[client] = parties.client(client)
            parties.clients[client].open_round(parties.round, told if client == 1 else CONTEXT)
            if client > 1:
                parties.vectors[client] = {"update": np.zeros(7, np.uint64)}
            parties.clients[client].set_vectors(parties.vectors[client])
        self.uploads: dict[int, list[bytes]] = {}

    def request(self, client: int) -> bytes:
        """The server's request, in the client's own session."""
        return self.parties.forge_request(self.parties.server.request(client), session=self.sessions[client])

    def run_until(self, stage: str) -> None:
        """All stages before this one."""
        parties = self.parties
        while parties.server.stage != stage:
            for client in parties.server.asked:
                answer = parties.answer(client, self.request(client))
                if parties.server.stage == "upload":
                    self.uploads[client] = uploaded(parties, answer)
                session = parties.session
                parties.deliver(client, [parties.forge_reply(message, session=session) for message in answer])
            parties.server.advance()


@pytest.mark.parametrize("told", [CONTEXT, POISONED])
def test_inconsistent_models_give_noise_and_not_the_victims_update(told: bytes) -> None:
    # The digest of the model is in the key of every mask.  If it were not (as if client 1 had been told the
    # others' digest) the sum would be its update, because all others' are zero.
    attack = _TwoModels(told)
    parties = attack.parties
    attack.run_until("consistency")
    total = np.zeros(7, np.uint64)
    for client, parts in attack.uploads.items():
        seed = recovered(_enough_shares(parties, client))  # what everybody would reveal
        own_view = Cohort(parties.clients[client]._memory.cohort_hash, b"", parties.register.bundles)
        total += without_masks(parties, client, parts, seed=seed, cohort=own_view)["update"]
    assert np.array_equal(total % 2**20, parties.vectors[1]["update"]) == (told == CONTEXT)


def test_inconsistent_models_end_with_the_signatures() -> None:
    attack = _TwoModels(POISONED)
    parties = attack.parties
    attack.run_until("consistency")
    signatures = {}
    for client in parties.roster:
        reply = parties.answer(client, attack.request(client))[0]
        signatures[client] = parties.read_reply(reply).signature
        if client > 1:
            parties.deliver(client, [reply])
    with pytest.raises(ProtocolViolation, match="SA-2"):
        parties.deliver(1, [parties.forge_reply(reply, sender=1, signature=signatures[1])])
    parties.server.advance()
    # Neither the others' signatures nor its own bring the victim to reveal anything.
    template = parties.read_request(parties.server.request(2))
    for signed in (template.signatures, tuple(sorted(signatures.items()))):
        request = msgspec.structs.replace(template, session=attack.sessions[1], signatures=signed)
        parties.refuses(1, encode(request), "SA-2")


def _enough_shares(parties: Parties, owner: int) -> dict[int, bytes]:
    """The threshold's number of shares of a client's b, out of memories."""
    holders = sorted(parties.clients)[: parties.params.threshold]
    return {holder: parties.clients[holder]._memory.held[owner].seed for holder in holders}


def test_threshold_downgrade_by_the_server() -> None:
    # The clients insist on 6 of 7; the server says 4.  It is in no message, so all it can do is pretend.
    parties = Parties(7, max_colluders=4)
    assert parties.params.threshold == 6
    lax = SecAggParams.for_cohort(7, vectors=UPDATE)
    server = Server(lax, parties.run_id, parties.roster)
    server.open_round(parties.round, CONTEXT)
    for client in parties.roster:
        parties.refuses(client, server.request(client), "SA-4")
    parties.assert_exact(parties.finish())


@pytest.mark.parametrize("withstands", [0, 2])
def test_two_colluders_open_a_vector_if_the_threshold_is_two(withstands: int) -> None:
    # Planned for none, semi-honest mode lets two shares open a secret; planned for two, it takes three.
    parties = Parties(5, malicious=False, max_colluders=withstands)
    parties.run_until("upload")
    messages = parties.answer(5)
    parties.deliver(5, messages)
    parties.step()
    held = [parties.clients[colluder]._memory.held[5] for colluder in (1, 2)]
    seed = recovered({colluder: share.seed for colluder, share in zip((1, 2), held, strict=True)})
    mask = recovered({colluder: share.key for colluder, share in zip((1, 2), held, strict=True)})
    known = {} if mask is None else {"mask": mask}
    assert opens(parties, 5, uploaded(parties, messages), seed=seed, **known) == (withstands == 0)


def _few(parties: Parties, stage: str, request: bytes) -> bytes:
    """A request that goes on with one client fewer than the floor, client 1 among them."""
    few = set(range(1, parties.params.min_survivors))
    message = parties.read_request(request)
    if stage == "share":
        bundles = tuple(bundle for bundle in message.view.bundles if bundle.client in few)
        return parties.forge_request(request, view=View(parties.members(few), bundles, ()))
    if stage == "upload":
        shares = tuple((source, sealed) for source, sealed in message.shares if source in few)
        return parties.forge_request(request, sharers=parties.members(few), shares=shares)
    if stage == "consistency":
        return parties.forge_request(request, survivors=parties.members(few))
    dropped = parties.members(set(parties.roster) - few)
    return parties.forge_request(request, survivors=parties.members(few), dropped=dropped)


@pytest.mark.parametrize("stage", ["share", "upload", "consistency", "unmask"])
def test_a_server_that_goes_on_below_the_clients_floor(stage: str) -> None:
    parties = Parties(7, min_survivors=6)
    request = parties.run_until(stage)[1]
    parties.refuses_and_goes_on(1, _few(parties, stage, request), "SA-9")


@pytest.mark.parametrize("clients", [0, 1, 2])
def test_fewer_than_three_clients(clients: int) -> None:
    with pytest.raises(UnsafeParameters, match="protects nobody"):
        SecAggParams.for_cohort(clients, vectors=UPDATE)
    with pytest.raises(UnsafeParameters, match="protects nobody"):
        SecAggParams(clients, 1, UPDATE, 0, True, 1, max(clients - 1, 0))


def test_two_survivors_learn_each_others_vector_and_a_floor_of_three_prevents_it() -> None:
    parties = Parties(3)
    parties.run_until("upload")
    parties.step({3})
    total = parties.finish().vectors["update"]
    others = (total - parties.vectors[1]["update"]) % 2**20
    assert np.array_equal(others, parties.vectors[2]["update"])

    careful = Parties(3, min_survivors=3)
    careful.run_until("upload")
    with pytest.raises(TooFewParties):
        careful.step({3})
    with pytest.raises(UnsafeParameters, match="takes part from 3"):
        _client_with(parties, Floors(survivors=3))


@pytest.mark.parametrize("threshold", [1, 2, 50])
def test_a_low_threshold_of_a_large_group(threshold: int) -> None:
    with pytest.raises(UnsafeParameters, match="two different sums"):
        SecAggParams(100, threshold, UPDATE, 0, True, 60, 99)


@pytest.mark.parametrize("malicious", [True, False])
def test_a_low_threshold_of_a_semi_honest_or_a_sparse_group(malicious: bool) -> None:
    with pytest.raises(UnsafeParameters, match=r"colluders open secrets|two different sums"):
        SecAggParams(10, 3, UPDATE, 3, malicious, 6, 9)
    with pytest.raises(UnsafeParameters, match="does not protect every client"):
        sparse_params(
            threshold=4 if malicious else 3, malicious=malicious, max_colluders=0 if malicious else 3
        )


def test_all_but_one_collude() -> None:
    with pytest.raises(UnsafeParameters, match="fewer than two are honest"):
        SecAggParams.for_cohort(5, vectors=UPDATE, max_colluders=4)


def _client_with(parties: Parties, floors: Floors) -> Client:
    return Client(
        parties.params, parties.run_id, 1, parties.identities[1], parties.roster, bytes, floors=floors
    )


def test_a_plan_below_the_floors_of_a_client() -> None:
    parties = Parties(7, max_colluders=1)  # threshold and fewest survivors are 5
    _client_with(parties, Floors(survivors=5, threshold=5, colluders=1))
    for floors in (Floors(survivors=6), Floors(threshold=6), Floors(colluders=2)):
        with pytest.raises(UnsafeParameters) as refusal:
            _client_with(parties, floors)
        assert "SA-9" in refusal.value.hint


def test_the_roster_of_one_client_differs() -> None:
    # Someone gave client 1 another key for client 3: it agrees with nobody, instead of trusting that key.
    parties = Parties(4)
    roster = {**parties.roster, 3: Parties(4, seed=5).roster[3]}
    parties.clients[1] = parties.client(1, roster=roster)
    parties.clients[1].open_round(parties.round, CONTEXT)
    parties.refuses(1, parties.server.request(1), "SA-4")
    parties.step({1})
    parties.assert_exact(parties.finish())


def test_a_client_is_told_of_another_width_or_name_for_its_vector() -> None:
    # In a wider modulus a sum that wraps for the client would not wrap for the server, and the reverse.
    parties = Parties(4)
    for vector in (Vector("update", 21, 7), Vector("weight", 20, 7), Vector("update", 20, 8)):
        server = Server(SecAggParams.for_cohort(4, vectors=[vector]), parties.run_id, parties.roster)
        server.open_round(parties.round, CONTEXT)
        parties.refuses(1, server.request(1), "SA-4")


def test_two_sums_over_groups_that_differ_by_one_client_give_its_vector() -> None:
    # What the protocol does not stop (SA-11): noise on the sum, or groups that stay, have to.
    parties = Parties(4)
    same = dict(parties.vectors)
    first = parties.finish().vectors["update"]
    parties.open(4)
    for client, vectors in same.items():
        parties.clients[client].set_vectors(vectors)
    parties.step({4})
    while not parties.server.finished:
        parties.step()
    second = parties.server.result().vectors["update"]
    assert np.array_equal((first - second) % 2**20, same[4]["update"])

"""The cohort's hash, who is whose neighbour, and the keys of masks."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from parties.attackers import SPARSE
from parties.secagg import Parties, sparse_params

from fedpriv.crypto import AgreementKey, derive_key, digest, frame
from fedpriv.errors import ProtocolViolation
from fedpriv.secagg.cohort import (
    Cohort,
    Register,
    consistency_statement,
    pair_mask_keys,
    self_mask_keys,
    sharers_statement,
)
from fedpriv.secagg.keys import bundle_leaf
from fedpriv.secagg.messages import View

NAME = "fedpriv secagg v2"


def _shared(parties: Parties) -> Register:
    parties.run_until("share")
    return parties.register


def _read(parties: Parties, client: int, view: View) -> Cohort:
    return Cohort.of_view(
        view,
        parties.group,
        parties.round,
        parties.session,
        client,
        parties.params,
        parties.roster,
    )


@pytest.mark.parametrize("sparse", [False, True])
def test_every_client_finds_the_servers_cohort_and_its_own_neighbours(sparse: bool) -> None:
    parties = Parties(params=SPARSE) if sparse else Parties(5)
    register = _shared(parties)
    for client in parties.roster:
        cohort = _read(parties, client, register.view(client))
        assert cohort.hash == register.hash
        assert cohort.neighbours(client) == register.neighbours(client)
        assert len(cohort.bundles) == parties.params.degree + 1
        holders = register.holders(client)
        assert (client in holders) == (not sparse)
        assert set(holders) - {client} == set(cohort.neighbours(client))
        for peer in cohort.neighbours(client):
            assert client in register.neighbours(peer)


@pytest.mark.parametrize("away", [(), (12,), (1, 5), (2, 3, 4)])
def test_the_graph_is_over_those_that_are_there(away: tuple[int, ...]) -> None:
    parties = Parties(params=SPARSE)
    parties.step(away)
    register = parties.register
    assert tuple(register.members) == tuple(sorted(set(parties.roster) - set(away)))
    for client in register.members:
        neighbours = register.neighbours(client)
        assert len(neighbours) == 4
        assert client not in neighbours
        assert set(neighbours) <= set(register.members)
        assert _read(parties, client, register.view(client)).hash == register.hash


def test_the_hash_is_that_of_the_spec() -> None:
    parties = Parties(5)
    register = _shared(parties)
    leaves = []
    for client, bundle in sorted(register.bundles.items()):
        number, round_bytes = client.to_bytes(4, "big"), parties.round.to_bytes(8, "big")
        keys = (bundle.cipher_key, bundle.mask_key, bundle.seed_commitment, bundle.previous)
        statement = frame(parties.group.id, round_bytes, number, *keys)
        leaves.append(digest(f"{NAME} leaf", statement))
        assert leaves[-1] == bundle_leaf(parties.group, parties.round, bundle)
    leaves += [bytes(32)] * 3
    while len(leaves) > 1:
        leaves = [digest(f"{NAME} node", *leaves[i : i + 2]) for i in range(0, len(leaves), 2)]
    members = b"\x1f"
    assert register.hash == digest(f"{NAME} cohort", parties.session, members, leaves[0])


def test_every_part_of_a_bundle_and_of_the_session_changes_the_hash() -> None:
    parties = Parties(3)
    register = _shared(parties)
    group, session, bundles = parties.group, parties.session, register.bundles

    def hash_of(changed: dict[int, object], round_: int = 3, of: bytes = session) -> bytes:
        return Register(parties.params, group, round_, of, {**bundles, **changed}).hash  # type: ignore[dict-item]

    hashes = {register.hash, hash_of({}, round_=4), hash_of({}, of=bytes(32))}
    for field in ("cipher_key", "mask_key", "seed_commitment", "previous"):
        hashes.add(hash_of({2: msgspec.structs.replace(bundles[2], **{field: b"x" * 32})}))
    without = Register(parties.params, group, 3, session, {1: bundles[1], 2: bundles[2]})
    hashes.add(without.hash)
    assert len(hashes) == 8
    # A signature says nothing that the statement does not, and is not part of it.
    assert hash_of({2: msgspec.structs.replace(bundles[2], signature=bytes(64))}) == register.hash


def test_both_ends_of_a_pair_derive_the_same_keys_and_nobody_else_does() -> None:
    parties = Parties(4)
    register = _shared(parties)
    names = ["a", "b"]
    own = {
        client: AgreementKey.from_seed(parties.clients[client]._secrets().mask) for client in parties.roster
    }
    cohorts = {client: _read(parties, client, register.view(client)) for client in parties.roster}
    keys: list[bytes] = []
    for low in parties.roster:
        for high in range(low + 1, 5):
            one = pair_mask_keys(cohorts[low].hash, own[low], low, cohorts[low].bundles[high], names)
            assert one == pair_mask_keys(
                cohorts[high].hash, own[high], high, cohorts[high].bundles[low], names
            )
            keys += one
    for client in parties.roster:
        keys += self_mask_keys(cohorts[client].hash, parties.clients[client]._secrets().seed, client, names)
    assert len(set(keys)) == len(keys) == 2 * (6 + 4)


def test_mask_keys_are_those_of_the_spec() -> None:
    parties = Parties(4)
    register = _shared(parties)
    cohort = _read(parties, 3, register.view(3))
    secrets = parties.clients[3]._secrets()
    own = AgreementKey.from_seed(secrets.mask)
    two, three = (2).to_bytes(4, "big"), (3).to_bytes(4, "big")
    info = (NAME.encode(), b"pair mask", two, three, b"update")
    agreed = own.agree(register.bundles[2].mask_key)
    assert pair_mask_keys(cohort.hash, own, 3, cohort.bundles[2], ["update"]) == [
        derive_key(agreed, salt=register.hash, info=info)
    ]
    info = (NAME.encode(), b"self mask", three, b"update")
    assert self_mask_keys(cohort.hash, secrets.seed, 3, ["update"]) == [
        derive_key(secrets.seed, salt=register.hash, info=info)
    ]


def test_statements_that_are_signed_cannot_be_taken_for_each_other() -> None:
    parts = [hashlib.sha256(bytes([i])).digest() for i in range(4)]
    statements = {consistency_statement(*parts), sharers_statement(*parts[:3])}
    for i in range(4):
        changed = list(parts)
        changed[i] = changed[i][:-1]
        statements.add(consistency_statement(*changed))
    statements.add(consistency_statement(parts[0], parts[1], parts[2] + parts[3][:1], parts[3][1:]))
    assert len(statements) == 7


def test_as_many_members_as_neighbours_have_no_graph() -> None:
    parties = Parties(params=sparse_params(12, degree=4, threshold=3, min_survivors=9))
    register = _shared(parties)
    few = {client: bundle for client, bundle in register.bundles.items() if client <= 4}
    small = Register(parties.params, parties.group, parties.round, bytes(32), few)
    with pytest.raises(ProtocolViolation, match="too few for a graph") as violation:
        small.neighbours(1)
    assert violation.value.clause == "SA-9"


def test_the_cohorts_that_keys_made_ahead_name() -> None:
    parties = Parties(3, prepare=True)
    register = _shared(parties)
    assert Cohort(b"", b"", register.bundles).previous() == set()
    parties.finish()
    parties.open(4, invite=())
    ahead = parties.register.bundles
    assert Cohort(b"", b"", ahead).previous() == {register.hash}

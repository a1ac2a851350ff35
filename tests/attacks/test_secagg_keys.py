"""Attacks on the keys: a server, or a client in league with it, that wants a pair's mask (SA-1, SA-7)."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from parties.secagg import Parties

from fedpriv.crypto import AgreementKey
from fedpriv.errors import ProtocolViolation
from fedpriv.secagg.keys import RoundKeys
from fedpriv.secagg.messages import Bundle

ATTACKER = AgreementKey.from_seed(b"attacker's key, known to server!")


def _refused(parties: Parties, victim: int, request: bytes, clause: str) -> ProtocolViolation:
    """The victim refuses, stays where it was, and still answers the honest request."""
    before = parties.clients[victim].state
    with pytest.raises(ProtocolViolation) as violation:
        parties.clients[victim].handle(request)
    assert violation.value.clause == clause
    assert parties.clients[victim].state == before
    assert np.array_equal(parties.finish().total, parties.plain_sum(parties.roster))
    return violation.value


def _with_bundle(parties: Parties, request: bytes, owner: int, **changes: Any) -> bytes:
    bundles = list(parties.read_request(request).bundles)
    bundles[owner - 1] = msgspec.structs.replace(bundles[owner - 1], **changes)
    return parties.forge_request(request, bundles=tuple(bundles))


def _signed_bundle(parties: Parties, owner: int, cipher: AgreementKey, mask: AgreementKey) -> Bundle:
    """What client ``owner`` would sign if it worked for the attacker."""
    keys = RoundKeys(cipher, mask, b"s" * 32)
    return keys.bundle(parties.server._session_id, owner, parties.identities[owner])


@pytest.mark.parametrize("field", ["mask_key", "cipher_key", "seed_commitment"])
def test_key_substitution_by_the_server(field: str) -> None:
    parties = Parties(4)
    request = parties.run_until("share")[1]
    forged = _with_bundle(parties, request, 3, **{field: ATTACKER.public})
    assert _refused(parties, 1, forged, "SA-1").party == 3


def test_keys_signed_by_another_identity_of_the_roster() -> None:
    parties = Parties(4)
    request = parties.run_until("share")[1]
    signature = _signed_bundle(parties, 2, ATTACKER, ATTACKER).signature
    forged = _with_bundle(parties, request, 3, mask_key=ATTACKER.public, signature=signature)
    _refused(parties, 1, forged, "SA-1")


def test_keys_of_an_earlier_round_replayed() -> None:
    earlier, parties = Parties(4), Parties(4, round_=4)
    request = parties.run_until("share")[1]
    bundles = list(parties.read_request(request).bundles)
    bundles[2] = earlier.read_request(earlier.run_until("share")[1]).bundles[2]
    _refused(parties, 1, parties.forge_request(request, bundles=tuple(bundles)), "SA-1")


@pytest.mark.parametrize(
    "public",
    [
        bytes(32),
        b"\x01" + bytes(31),
        (2**255 - 20).to_bytes(32, "little"),
        bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        (2**255 - 19).to_bytes(32, "little"),
        (2**255 - 18).to_bytes(32, "little"),
    ],
)
@pytest.mark.parametrize("place", ["mask", "cipher"])
def test_low_order_key_from_a_colluding_client(public: bytes, place: str) -> None:
    parties = Parties(4)
    request = parties.run_until("share")[1]
    weak, good = AgreementKey(bytes(32), public), ATTACKER
    bundle = _signed_bundle(parties, 3, *((good, weak) if place == "mask" else (weak, good)))
    bundles = list(parties.read_request(request).bundles)
    bundles[2] = bundle
    _refused(parties, 1, parties.forge_request(request, bundles=tuple(bundles)), "SA-1")


def test_a_colluding_client_copies_the_key_of_an_honest_one() -> None:
    parties = Parties(4)
    request = parties.run_until("share")[1]
    bundles = list(parties.read_request(request).bundles)
    copied = AgreementKey(bytes(32), bundles[1].mask_key)
    bundles[2] = _signed_bundle(parties, 3, ATTACKER, copied)
    _refused(parties, 1, parties.forge_request(request, bundles=tuple(bundles)), "SA-1")


def test_a_key_in_a_second_encoding() -> None:
    parties = Parties(4)
    request = parties.run_until("share")[1]
    bundles = list(parties.read_request(request).bundles)
    key = bundles[1].mask_key
    second = AgreementKey(bytes(32), key[:31] + bytes([key[31] | 0x80]))
    bundles[2] = _signed_bundle(parties, 3, ATTACKER, second)
    _refused(parties, 1, parties.forge_request(request, bundles=tuple(bundles)), "SA-1")


def test_one_key_for_masks_and_for_shares() -> None:
    parties = Parties(4)
    request = parties.run_until("share")[1]
    bundles = list(parties.read_request(request).bundles)
    bundles[2] = _signed_bundle(parties, 3, ATTACKER, ATTACKER)
    _refused(parties, 1, parties.forge_request(request, bundles=tuple(bundles)), "SA-1")


def test_a_client_that_the_server_invents() -> None:
    parties = Parties(4)
    request = parties.run_until("share")[1]
    bundles = parties.read_request(request).bundles
    invented = msgspec.structs.replace(bundles[3], client=5)
    _refused(parties, 1, parties.forge_request(request, bundles=(*bundles, invented)), "SA-1")


def test_the_victim_is_left_out_of_its_own_cohort() -> None:
    parties = Parties(4)
    request = parties.run_until("share")[1]
    bundles = parties.read_request(request).bundles
    _refused(parties, 1, parties.forge_request(request, bundles=bundles[1:]), "SA-1")


def test_the_victims_own_keys_are_changed() -> None:
    parties = Parties(4)
    request = parties.run_until("share")[1]
    _refused(parties, 1, _with_bundle(parties, request, 1, signature=bytes(64)), "SA-1")


def test_the_server_itself_refuses_forged_keys_when_they_come() -> None:
    parties = Parties(4)
    reply = parties.clients[3].handle(parties.server.requests()[3])
    bundle = parties.read_reply(reply).bundle
    for forged in (
        msgspec.structs.replace(bundle, mask_key=ATTACKER.public),
        msgspec.structs.replace(bundle, client=2),
    ):
        with pytest.raises(ProtocolViolation, match="SA-1"):
            parties.server.receive(3, parties.forge_reply(reply, bundle=forged))
    parties.server.receive(3, reply)


def test_shares_are_altered_on_the_way() -> None:
    parties = Parties(4)
    request = parties.run_until("upload")[1]
    shares = list(parties.read_request(request).shares)
    source, sealed = shares[1]
    shares[1] = (source, sealed[:40] + bytes([sealed[40] ^ 1]) + sealed[41:])
    assert _refused(parties, 1, parties.forge_request(request, shares=tuple(shares)), "SA-7").party == source


def test_shares_are_delivered_to_the_wrong_client_or_in_the_wrong_name() -> None:
    parties = Parties(4)
    requests = parties.run_until("upload")
    mine = dict(parties.read_request(requests[1]).shares)
    theirs = dict(parties.read_request(requests[2]).shares)
    for swapped in ({**mine, 3: theirs[3]}, {**mine, 3: mine[4]}):
        forged = parties.forge_request(requests[1], shares=tuple(sorted(swapped.items())))
        with pytest.raises(ProtocolViolation, match="SA-7"):
            parties.clients[1].handle(forged)
    forged = parties.forge_request(requests[1], shares=((1, mine[3]), *sorted(mine.items())))
    _refused(parties, 1, forged, "SA-1")


def test_clients_shown_different_cohorts_cannot_read_each_others_shares() -> None:
    # The server hides client 4 from client 1 only: the cohorts' hashes differ, and with them every key.
    parties = Parties(5)
    requests = parties.run_until("share")
    bundles = parties.read_request(requests[1]).bundles
    fewer = parties.forge_request(requests[1], bundles=tuple(b for b in bundles if b.client != 4))
    odd = dict(parties.read_reply(parties.clients[1].handle(fewer)).shares)
    parties.clients[2].handle(requests[2])
    upload = parties.read_reply(parties.clients[3].handle(requests[3]))
    shares = tuple(sorted({1: odd[2], 3: dict(upload.shares)[2]}.items()))
    template = Parties(5).run_until("upload")[2]
    forged = parties.forge_request(template, shares=shares)
    with pytest.raises(ProtocolViolation, match="SA-7") as violation:
        parties.clients[2].handle(forged)
    assert violation.value.party == 1


def test_a_client_passes_off_the_signed_keys_of_another_as_its_own() -> None:
    parties = Parties(4)
    requests = parties.server.requests()
    theirs = parties.read_reply(parties.clients[2].handle(requests[2])).bundle
    own = parties.clients[3].handle(requests[3])
    with pytest.raises(ProtocolViolation, match="SA-1") as violation:
        parties.server.receive(3, parties.forge_reply(own, bundle=theirs))
    assert violation.value.party == 3

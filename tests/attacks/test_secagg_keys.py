"""Attacks on the keys: a server, or a client in league with it, that wants a pair's mask (SA-1)."""

from __future__ import annotations

import msgspec
import pytest
from parties.attackers import (
    believe_any_view,
    careless,
    opens,
    recovered,
    shown,
    signed_bundle,
    uploaded,
)
from parties.secagg import Parties

from fedpriv.crypto import AgreementKey
from fedpriv.errors import DecodeError, ProtocolViolation
from fedpriv.secagg.cohort import Register
from fedpriv.secagg.dealing import deal, draw_secrets, open_shares, seal_shares
from fedpriv.secagg.keys import NO_PREVIOUS, Secrets, make_bundle
from fedpriv.secagg.messages import View

ATTACKER = AgreementKey.from_seed(b"attacker's key, known to server!")
SECOND = AgreementKey.from_seed(b"attacker's second key, known too")


@pytest.mark.parametrize("field", ["mask_key", "cipher_key", "seed_commitment", "previous"])
def test_key_substitution_by_the_server(field: str) -> None:
    parties = Parties(4)
    request = parties.run_until("share")[1]
    bundle = parties.server._record.bundles[3]
    forged = shown(parties, request, msgspec.structs.replace(bundle, **{field: ATTACKER.public}))
    assert parties.refuses_and_goes_on(1, forged, "SA-1").party == 3


def _impostors(parties: Parties, victim: int) -> tuple[dict[int, Secrets], Register, bytes, bytes]:
    """A cohort in which everybody but the victim is the server itself: their secrets, what they are, and the
    requests that show them to the victim."""
    draw = parties.stream.read
    secrets = {client: draw_secrets(parties.round, draw) for client in parties.roster if client != victim}
    bundles = {victim: parties.server._record.bundles[victim]}
    for client, own in secrets.items():
        bundles[client] = make_bundle(parties.group, client, own, NO_PREVIOUS, parties.identities[victim])
    register = Register(parties.params, parties.group, parties.round, parties.session, bundles)
    holders, to_victim = tuple(parties.roster), {victim: bundles[victim].cipher_key}
    mail = []
    for client, own in secrets.items():
        shares = deal(own, holders, parties.params.threshold, draw)
        mail += [
            (client, sealed)
            for _, sealed in seal_shares(parties.group, own, bundles[client], shares, to_victim, draw)
        ]
    share_request = parties.forge_request(parties.server.request(victim), view=register.view(victim))
    template = Parties(parties.params.clients).run_until("upload")[victim]
    upload_request = parties.forge_request(template, shares=tuple(mail))
    return secrets, register, share_request, upload_request


def test_key_substitution_of_everybody_opens_the_vector_of_a_client_that_does_not_look() -> None:
    parties = Parties(5)
    parties.run_until("share")
    impostors, register, share_request, upload_request = _impostors(parties, victim=1)
    parties.refuses(1, share_request, "SA-1")

    careless(parties, 1, cohort=believe_any_view)
    dealt = parties.read_reply(parties.answer(1, share_request)[0]).shares
    parts = uploaded(parties, parties.answer(1, upload_request))
    held = {}
    for client, sealed in dealt:
        cipher = AgreementKey.from_seed(impostors[client].cipher)
        held[client] = open_shares(parties.group, parties.round, client, cipher, register.bundles[1], sealed)
    enough = dict(list(held.items())[: parties.params.threshold])
    seed = recovered({client: shares.seed for client, shares in enough.items()})
    mask = recovered({client: shares.key for client, shares in enough.items()})
    assert opens(parties, 1, parts, seed=seed, mask=mask, cohort=register)


def test_keys_signed_by_another_identity_of_the_roster() -> None:
    parties = Parties(4)
    request = parties.run_until("share")[1]
    borrowed = signed_bundle(
        parties, 3, cipher=ATTACKER.public, mask=SECOND.public, signer=parties.identities[2]
    )
    assert parties.refuses_and_goes_on(1, shown(parties, request, borrowed), "SA-1").party == 3


@pytest.mark.parametrize("other", [{"round_": 2}, {"run_id": b"another run ...."}])
def test_keys_of_an_earlier_round_or_another_run_replayed(other: dict[str, object]) -> None:
    earlier, parties = Parties(4, **other), Parties(4)  # type: ignore[arg-type]
    request = parties.run_until("share")[1]
    earlier.run_until("share")
    forged = shown(parties, request, earlier.server._record.bundles[3])
    assert parties.refuses_and_goes_on(1, forged, "SA-1").party == 3


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
    keys = {"mask": ATTACKER.public, "cipher": SECOND.public, place: public}
    forged = shown(parties, request, signed_bundle(parties, 3, **keys))
    assert parties.refuses_and_goes_on(1, forged, "SA-1").party == 3


@pytest.mark.parametrize("copied", ["mask_key", "cipher_key"])
@pytest.mark.parametrize("place", ["mask", "cipher"])
def test_a_colluding_client_copies_the_key_of_an_honest_one(copied: str, place: str) -> None:
    parties = Parties(4)
    request = parties.run_until("share")[1]
    key = getattr(parties.server._record.bundles[2], copied)
    keys = {"mask": ATTACKER.public, "cipher": SECOND.public, place: key}
    forged = shown(parties, request, signed_bundle(parties, 3, **keys))
    assert parties.refuses_and_goes_on(1, forged, "SA-1").party == 3


def test_a_key_in_a_second_encoding() -> None:
    parties = Parties(4)
    request = parties.run_until("share")[1]
    key = parties.server._record.bundles[2].mask_key
    second = signed_bundle(parties, 3, cipher=ATTACKER.public, mask=key[:31] + bytes([key[31] | 0x80]))
    parties.refuses_and_goes_on(1, shown(parties, request, second), "SA-1")


def test_one_key_for_masks_and_for_shares() -> None:
    parties = Parties(4)
    request = parties.run_until("share")[1]
    forged = shown(parties, request, signed_bundle(parties, 3, cipher=ATTACKER.public, mask=ATTACKER.public))
    parties.refuses_and_goes_on(1, forged, "SA-1")


def test_a_client_that_the_server_invents() -> None:
    parties = Parties(4)
    request = parties.run_until("share")[1]
    view = parties.read_request(request).view
    invented = msgspec.structs.replace(view.bundles[3], client=5)
    bundles = (*view.bundles, invented)
    parties.refuses(1, parties.forge_request(request, view=View(view.members, bundles, ())), "SA-1")
    # In the set there is no room for it.
    with pytest.raises(DecodeError):
        parties.answer(1, parties.forge_request(request, view=View(b"\x1f", bundles, ())))
    parties.assert_exact(parties.finish())


def test_the_victim_is_left_out_of_its_own_cohort() -> None:
    parties = Parties(4)
    request = parties.run_until("share")[1]
    view = parties.read_request(request).view
    without = View(parties.members({2, 3, 4}), view.bundles[1:], ())
    parties.refuses_and_goes_on(1, parties.forge_request(request, view=without), "SA-1")


def test_the_victims_own_keys_are_changed() -> None:
    # By the server, which cannot sign them; and by someone who has its identity, and can.
    parties = Parties(4)
    request = parties.run_until("share")[1]
    own = parties.server._record.bundles[1]
    parties.refuses(1, shown(parties, request, msgspec.structs.replace(own, signature=bytes(64))), "SA-1")
    stolen = signed_bundle(parties, 1, cipher=ATTACKER.public, mask=SECOND.public)
    parties.refuses_and_goes_on(1, shown(parties, request, stolen), "SA-1")


def test_the_server_itself_refuses_forged_keys_when_they_come() -> None:
    parties = Parties(4)
    reply = parties.answer(3)[0]
    bundle = parties.read_reply(reply).bundle
    parties.deliver(2, parties.answer(2))
    copied = parties.server._record.bundles[2].mask_key
    for forged in (
        msgspec.structs.replace(bundle, mask_key=ATTACKER.public),
        msgspec.structs.replace(bundle, client=2),
        signed_bundle(parties, 3, cipher=bytes(32), mask=ATTACKER.public),
        signed_bundle(parties, 3, cipher=ATTACKER.public, mask=copied),
    ):
        with pytest.raises(ProtocolViolation, match="SA-1") as violation:
            parties.deliver(3, [parties.forge_reply(reply, bundle=forged)])
        assert violation.value.party == 3
    parties.deliver(3, [reply])
    parties.assert_exact(parties.finish())


def test_a_client_passes_off_the_signed_keys_of_another_as_its_own() -> None:
    parties = Parties(4)
    theirs = parties.read_reply(parties.answer(2)[0]).bundle
    own = parties.answer(3)[0]
    with pytest.raises(ProtocolViolation, match="SA-1") as violation:
        parties.deliver(3, [parties.forge_reply(own, bundle=theirs)])
    assert violation.value.party == 3

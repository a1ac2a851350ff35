"""Attacks on shares while they travel: altered, replayed, misdelivered, kept back (SA-1, SA-7)."""

from __future__ import annotations

import numpy as np
import pytest
from parties.attackers import shown, signed_bundle, uploaded
from parties.secagg import Parties

from fedpriv.crypto import AgreementKey
from fedpriv.crypto.field import PRIME
from fedpriv.encoding.packing import unpack
from fedpriv.errors import ProtocolViolation
from fedpriv.secagg import SecAggParams, Vector
from fedpriv.secagg.dealing import Held, open_shares, seal_shares
from fedpriv.secagg.keys import Secrets


def _with_shares(parties: Parties, request: bytes, changes: dict[int, bytes]) -> bytes:
    shares = {**dict(parties.read_request(request).shares), **changes}
    return parties.forge_request(request, shares=tuple(sorted(shares.items())))


@pytest.mark.parametrize("position", [0, 11, 12, 45, 77, 78, 93])
def test_sealed_shares_are_altered_in_the_nonce_the_text_or_the_tag(position: int) -> None:
    parties = Parties(4)
    request = parties.run_until("upload")[1]
    sealed = bytearray(dict(parties.read_request(request).shares)[3])
    sealed[position] ^= 1
    forged = _with_shares(parties, request, {3: bytes(sealed)})
    assert parties.refuses_and_goes_on(1, forged, "SA-7").party == 3


def test_shares_are_delivered_to_the_wrong_client_or_in_the_wrong_name() -> None:
    parties = Parties(4)
    requests = parties.run_until("upload")
    mine = dict(parties.read_request(requests[1]).shares)
    theirs = dict(parties.read_request(requests[2]).shares)
    for swapped in (theirs[3], mine[4]):
        assert parties.refuses(1, _with_shares(parties, requests[1], {3: swapped}), "SA-7").party == 3
    parties.refuses_and_goes_on(1, _with_shares(parties, requests[1], {1: mine[3]}), "SA-1")


def test_shares_of_an_earlier_round_are_replayed() -> None:
    parties = Parties(4)
    earlier = dict(parties.read_request(parties.run_until("upload")[1]).shares)
    parties.finish()
    parties.open(4)
    request = parties.run_until("upload")[1]
    assert parties.refuses_and_goes_on(1, _with_shares(parties, request, {3: earlier[3]}), "SA-7").party == 3


def test_shares_from_a_client_that_did_not_share() -> None:
    parties = Parties(5)
    late = parties.run_until("share")[4]
    parties.step({4})
    sealed = dict(parties.read_reply(parties.answer(4, late)[0]).shares)[1]
    request = parties.server.request(1)
    parties.refuses_and_goes_on(1, _with_shares(parties, request, {4: sealed}), "SA-1")


@pytest.mark.parametrize("kept", [{3}, {2, 3, 4}])
def test_shares_are_kept_back(kept: set[int]) -> None:
    # The victim would mask its vector with partners whose secrets nobody can recover if they drop.
    parties = Parties(4)
    request = parties.run_until("upload")[1]
    shares = parties.read_request(request).shares
    fewer = tuple((source, sealed) for source, sealed in shares if source not in kept)
    parties.refuses_and_goes_on(1, parties.forge_request(request, shares=fewer), "SA-7")


def _sealed_by_accomplice(parties: Parties, secrets: Secrets, held: Held) -> bytes:
    """What client 3 seals for client 1 if it works for the attacker."""
    bundles = parties.server._record.bundles
    ((_, sealed),) = seal_shares(
        parties.group, secrets, bundles[3], {1: held}, {1: bundles[1].cipher_key}, parties.stream.read
    )
    return sealed


@pytest.mark.parametrize("seed", [PRIME.to_bytes(33, "big"), b"\xff" * 33])
@pytest.mark.parametrize("first", [True, False])
def test_an_accomplice_seals_what_is_no_share(seed: bytes, first: bool) -> None:
    parties = Parties(4)
    request = parties.run_until("upload")[1]
    held = Held(seed, bytes(33)) if first else Held(bytes(33), seed)
    sealed = _sealed_by_accomplice(parties, parties.clients[3]._secrets(), held)
    assert parties.refuses_and_goes_on(1, _with_shares(parties, request, {3: sealed}), "SA-7").party == 3


@pytest.mark.parametrize("held", [Held(bytes(33), bytes(32)), Held(bytes(33), bytes(34)), Held(b"", b"")])
def test_shares_of_another_length_are_none(held: Held) -> None:
    # A message with them is refused as none; what opens the shares does not rely on that.
    parties = Parties(4)
    parties.run_until("upload")
    sealed = _sealed_by_accomplice(parties, parties.clients[3]._secrets(), held)
    own = AgreementKey.from_seed(parties.clients[1]._secrets().cipher)
    with pytest.raises(ProtocolViolation, match="SA-7"):
        open_shares(parties.group, parties.round, 1, own, parties.server._record.bundles[3], sealed)


def test_a_dealer_shows_other_keys_to_the_victim_than_those_it_dealt_under() -> None:
    # An accomplice signs two bundles for one round; what it sealed belongs to one of them.
    parties = Parties(4)
    requests = parties.run_until("share")
    cipher = AgreementKey.from_seed(parties.clients[3]._secrets().cipher).public
    other = signed_bundle(parties, 3, cipher=cipher, mask=AgreementKey.from_seed(b"m" * 32).public)
    parties.answer(1, shown(parties, requests[1], other))
    honest = parties.read_reply(parties.answer(3, requests[3])[0]).shares
    template = Parties(4).run_until("upload")[1]
    rest = {client: dict(parties.read_reply(parties.answer(client)[0]).shares)[1] for client in (2, 4)}
    mail = tuple(sorted({**rest, 3: dict(honest)[1]}.items()))
    assert parties.refuses(1, parties.forge_request(template, shares=mail), "SA-7").party == 3


def test_two_vectors_of_one_session_do_not_share_a_mask() -> None:
    # Under one mask the difference of two uploads is the difference of the vectors: here all zero.  With
    # masks of their own, as many as 8 of 64 agree with a probability below 2**-160.
    vectors = [Vector("a", 32, 64), Vector("b", 32, 64)]
    parties = Parties(params=SecAggParams.for_cohort(3, vectors=vectors))
    parties.clients[1].set_vectors({name: np.zeros(64, np.uint32) for name in "ab"})
    first, second = uploaded(parties, parties.answer(1, parties.run_until("upload")[1]))
    assert np.count_nonzero(unpack(first, 32, 64) - unpack(second, 32, 64)) > 56


def test_a_vector_is_uploaded_in_two_rounds_under_masks_that_have_nothing_in_common() -> None:
    parties, uploads = Parties(3, bits=32, dimension=64, prepare=True), []
    vector = np.arange(64, dtype=np.uint64)
    for round_ in (3, 4):
        if round_ > 3:
            parties.open(round_, invite=())
        parties.clients[1].set_vectors(vector)
        parties.vectors[1] = {"update": vector}
        parties.run_until("upload")
        messages = parties.answer(1)
        parties.deliver(1, messages)
        uploads.append(unpack(uploaded(parties, messages)[0], 32, 64))
        parties.assert_exact(parties.finish())
    assert np.count_nonzero(uploads[0] - uploads[1]) > 56


def test_the_two_shares_of_one_dealer_are_of_two_secrets() -> None:
    # Were b and s the same secret, a holder that gives the one kind would give the other.
    parties = Parties(4)
    parties.run_until("unmask")
    for client in parties.clients.values():
        assert all(held.seed != held.key for held in client._memory.held.values())

"""How a key is made: what a server, or a holder that speaks last, could do to it, and who stops it."""

from __future__ import annotations

import numpy as np
import pytest
from parties.ckks import RUN_ID, Parties, params, ring_of

from fedpriv.ckks import Client
from fedpriv.ckks.committee import leader
from fedpriv.ckks.key import common, key_name
from fedpriv.ckks.messages import CommitRequest, RevealRequest, SignedKey, encode
from fedpriv.ckks.modular import subtract
from fedpriv.ckks.transcript import (
    ADVERTISE_DOMAIN,
    COMMIT_DOMAIN,
    KEY_DOMAIN,
    advertise_statement,
    commit_statement,
    commitment,
)
from fedpriv.ckks.wire import pack_rows, unpack_rows
from fedpriv.crypto import AgreementKey
from fedpriv.errors import ProtocolViolation

CHOSEN = params("threshold", 5, max_colluders=1)
RING = CHOSEN.ring


def _at(stage: str) -> tuple[Parties, dict[int, bytes]]:
    parties = Parties(CHOSEN)
    return parties, parties.run_until(stage)


def _advertised(parties: Parties, holder: int, key: bytes, number: int = 1) -> tuple[int, bytes, bytes]:
    statement = advertise_statement(parties.run.session, number, key)
    return holder, key, parties.identities[holder].sign(ADVERTISE_DOMAIN, statement)


LOW_ORDER = (bytes(32), (1).to_bytes(32, "little"), (2**255 - 20).to_bytes(32, "little"))
SECOND_FORM = (2**255 - 19 + 9).to_bytes(32, "little")


@pytest.mark.parametrize("key", [*LOW_ORDER, SECOND_FORM], ids=["zero", "one", "minus one", "second form"])
def test_keys_of_low_order_are_refused(key: bytes) -> None:
    """Whatever is agreed with one is zero: who is dealt to under it deals to everybody."""
    parties, requests = _at("deal")
    keys = list(parties.read_request(requests[1]).keys)
    keys[2] = _advertised(parties, 3, key)
    parties.refuses(1, parties.forge_request(requests[1], keys=tuple(keys)), "CK-5")
    parties.finish_exactly()


def test_the_server_refuses_them_too() -> None:
    parties, _ = _at("advertise")
    (reply,) = parties.answer(1)
    for key in LOW_ORDER:
        _, _, signature = _advertised(parties, 1, key)
        parties.server_refuses(1, parties.forge_reply(reply, key=key, signature=signature), "CK-5")
    parties.deliver(1, [reply])
    parties.finish_exactly()


def test_equal_keys_are_refused() -> None:
    parties, requests = _at("deal")
    keys = list(parties.read_request(requests[1]).keys)
    keys[2] = _advertised(parties, 3, keys[3][1])
    parties.refuses(1, parties.forge_request(requests[1], keys=tuple(keys)), "CK-5")
    parties.finish_exactly()


def test_the_servers_own_key_in_a_holders_place() -> None:
    """With it the server would open what is dealt to that holder."""
    parties, requests = _at("deal")
    honest = parties.read_request(requests[1]).keys
    own = AgreementKey.from_seed(bytes(32)).public
    for holder, forged in (
        (3, (3, own, honest[2][2])),
        (
            3,
            (
                3,
                own,
                parties.identities[2].sign(
                    ADVERTISE_DOMAIN, advertise_statement(parties.run.session, 1, own)
                ),
            ),
        ),
        (3, _advertised(parties, 3, own, number=2)),
        (1, _advertised(parties, 1, own)),
    ):
        keys = tuple(forged if entry[0] == holder else entry for entry in honest)
        parties.refuses(1, parties.forge_request(requests[1], keys=keys), "CK-5")
    parties.refuses(1, parties.forge_request(requests[1], keys=honest[:3]), "CK-5")  # too few
    parties.refuses(1, parties.forge_request(requests[1], keys=honest[1:]), "CK-5")  # without itself
    parties.finish_exactly()


def test_one_that_is_no_holder() -> None:
    parties = Parties(params("threshold", 6, holders=(1, 2, 3, 4, 5)))
    requests = parties.run_until("deal")
    honest = parties.read_request(requests[1]).keys
    stranger = _advertised(parties, 6, AgreementKey.from_seed(bytes(32)).public)
    parties.refuses(1, parties.forge_request(requests[1], keys=(*honest, stranger)), "CK-5")
    parties.refuses(6, requests[1], "CK-17")
    parties.finish_exactly()


def test_what_is_dealt_cannot_be_changed_dropped_or_sent_to_another() -> None:
    parties, requests = _at("commit")
    message = parties.read_request(requests[1])
    shares = dict(message.shares)
    flipped = shares[2][:-1] + bytes([shares[2][-1] ^ 1])
    swapped = {**shares, 2: shares[3], 3: shares[2]}
    of_another = dict(parties.read_request(requests[4]).shares)
    for changed in ({**shares, 2: flipped}, swapped, {**shares, 2: of_another[2]}, {**shares, 2: bytes(28)}):
        parties.refuses(1, parties.forge_request(requests[1], shares=tuple(sorted(changed.items()))), None)
    for missing in ({}, {k: v for k, v in shares.items() if k != 2}, {**shares, 1: shares[2]}):
        forged = parties.forge_request(requests[1], shares=tuple(sorted(missing.items())))
        parties.refuses(1, forged, "CK-6")
    parties.finish_exactly()


@pytest.mark.parametrize("members", [(1, 2, 3), (2, 3, 4, 5), (1, 2, 3, 4, 6), ()])
def test_makers_that_are_too_few_or_not_holders(members: tuple[int, ...]) -> None:
    parties, requests = _at("commit")
    shares = dict(parties.read_request(requests[1]).shares)
    kept = tuple((source, shares[source]) for source in members if source in shares)
    parties.refuses(1, parties.forge_request(requests[1], members=members, shares=kept), "CK-6")
    parties.finish_exactly()


def test_a_maker_that_never_advertised() -> None:
    parties = Parties(CHOSEN)
    requests = parties.run_until("commit", {"advertise": {5}})
    shares = parties.read_request(requests[1]).shares
    members = (1, 2, 3, 4, 5)
    for dealt in (shares, (*shares, (5, shares[0][1]))):
        parties.refuses(1, parties.forge_request(requests[1], members=members, shares=dealt), "CK-6")
    parties.finish_exactly()


def test_different_makers_shown_to_different_holders() -> None:
    """Two halves of a committee with keys of their own; each checks that all committed to its U."""
    parties, requests = _at("commit")
    members = (1, 2, 3, 4)
    shares = parties.read_request(requests[1]).shares
    fewer = parties.forge_request(requests[1], members=members, shares=shares[:3])
    (odd,) = parties.answer(1, fewer)
    parties.server_refuses(1, odd, "CK-6")
    commitments = {1: parties.read_reply(odd)}
    for holder in (2, 3, 4, 5):
        (reply,) = parties.answer(holder)
        commitments[holder] = parties.read_reply(reply)
    shown = tuple((holder, one.commitment, one.signature) for holder, one in sorted(commitments.items()))
    for holder, entries in ((1, shown[:4]), (1, shown), (2, shown)):
        parties.refuses(holder, _reveal(parties, entries), "CK-6")


def _reveal(parties: Parties, commitments: tuple[tuple[int, bytes, bytes], ...], number: int = 1) -> bytes:
    return encode(RevealRequest(session=parties.run.session, number=number, commitments=commitments))


def test_different_dealers_behind_the_same_makers() -> None:
    """After a repeated commitment U is the same for all; what was dealt before is in the signatures too."""
    parties, requests = _at("commit")
    shares = parties.read_request(requests[1]).shares
    parties.answer(1, parties.forge_request(requests[1], members=(1, 2, 3, 4), shares=shares[:3]))
    for holder in (2, 3, 4, 5):
        parties.answer(holder)
    replies = {}
    for holder in (1, 2, 3, 4):
        again = parties.forge_request(requests[holder], number=2, members=(1, 2, 3, 4), shares=())
        replies[holder] = parties.read_reply(parties.answer(holder, again)[0])
    shown = tuple((holder, one.commitment, one.signature) for holder, one in replies.items())
    for holder in (1, 2, 3, 4):
        parties.refuses(holder, _reveal(parties, shown, number=2), "CK-6")


def test_commitments_that_are_changed_left_out_or_forged() -> None:
    parties, requests = _at("reveal")
    honest = parties.read_request(requests[1]).commitments
    for holder in (1, 3):
        place = holder - 1
        changed = (holder, bytes(32), honest[place][2])
        parties.refuses(
            1,
            parties.forge_request(requests[1], commitments=(*honest[:place], changed, *honest[place + 1 :])),
            "CK-6",
        )
    unsigned = (2, honest[1][1], bytes(64))
    parties.refuses(
        1, parties.forge_request(requests[1], commitments=(honest[0], unsigned, *honest[2:])), "CK-6"
    )
    parties.refuses(1, parties.forge_request(requests[1], commitments=honest[:4]), "CK-6")
    parties.finish_exactly()


def _rogue_part(parties: Parties, target: np.ndarray, holder: int) -> bytes:
    """What ``holder`` would send last so that b is ``target``: the target less all other parts."""
    total = target
    for other, part in parties.server._making._parts.items():  # type: ignore[union-attr]
        if other != holder and part:
            total = subtract(total, unpack_rows(part, RING.key_primes, RING.degree), RING.key_primes)
    return pack_rows(total, RING.key_primes)


def test_a_holder_that_speaks_last_cannot_choose_the_key() -> None:
    """The gain without commitments: b is one of which the last holder knows the secret, and it reads all."""
    parties, _ = _at("reveal")
    for holder in (1, 2, 4, 5):
        parties.deliver(holder, parties.answer(holder))
    secret = np.sign(np.random.default_rng(5).integers(-1, 2, RING.degree))
    a = common(parties.run.session, 1, RING)
    target = ring_of(CHOSEN).public_part(a, secret, np.zeros(RING.degree, dtype=np.int64))
    (reply,) = parties.answer(3)
    rogue = _rogue_part(parties, target, 3)
    parties.server_refuses(3, parties.forge_reply(reply, part=rogue), "CK-8")
    # A server that is in league with it passes it on, and every other holder refuses to sign.
    making = parties.server._making
    assert making is not None
    parts = dict(making._parts) | {3: rogue}
    b = (
        sum(unpack_rows(part, RING.key_primes, RING.degree).astype(object) for part in parts.values() if part)
        % np.array(RING.key_primes, dtype=object)[:, None]
    )
    assert np.array_equal(b, target.astype(object))
    parties.deliver(3, [reply])
    parties.server.advance()
    for holder in (1, 2, 4, 5):
        honest = parties.server.request(holder)
        forged = parties.forge_request(honest, parts=tuple(sorted(parts.items())))
        parties.refuses(holder, forged, "CK-8")
    parties.finish_exactly()


def test_it_cannot_commit_anew_once_the_parts_are_seen() -> None:
    """CK-7: a second commitment is under a new number, and all parts are then others."""
    parties, _ = _at("reveal")
    before = {holder: parties.read_reply(parties.answer(holder)[0]).part for holder in (1, 2, 4, 5)}
    parties.refuses(1, _commit_again(parties, 1), "CK-7")
    for holder, part in before.items():
        parties.answer(holder, _commit_again(parties, 2))
        making = parties.holder(holder)._memory.making
        assert making is not None
        leads = any(leader(subset, making.members) == holder for subset in making.secrets)
        assert bool(making.part) == bool(part) == leads
        assert not leads or making.part != part


def _commit_again(parties: Parties, number: int) -> bytes:
    return encode(
        CommitRequest(session=parties.run.session, number=number, members=CHOSEN.holders, shares=())
    )


def test_a_repeated_commitment_takes_no_new_makers_and_no_deals() -> None:
    parties, requests = _at("commit")
    shares = parties.read_request(requests[1]).shares
    parties.answer(1, parties.forge_request(requests[1], members=(1, 2, 3, 4), shares=shares[:3]))
    again = parties.forge_request(requests[1], number=2, members=(1, 2, 3, 4), shares=())
    parties.refuses(1, parties.forge_request(again, members=(1, 2, 3, 4, 5)), "CK-7")
    parties.refuses(1, parties.forge_request(again, shares=shares), "CK-7")
    assert parties.answer(1, again)


def test_parts_that_are_exchanged_or_missing() -> None:
    parties, requests = _at("confirm")
    honest = parties.read_request(requests[1]).parts
    exchanged = ((1, honest[1][1]), (2, honest[0][1]), *honest[2:])
    for parts in (exchanged, honest[:4], (*honest[:4], (5, honest[0][1])), ()):
        parties.refuses(1, parties.forge_request(requests[1], parts=parts), "CK-8")
    parties.finish_exactly()


def test_numbers_of_keys_only_grow() -> None:
    parties, requests = _at("advertise")
    parties.step()
    parties.refuses(1, requests[1], "CK-7")
    while parties.server.stage != "upload":
        forged = parties.forge_request(parties.server.request(1), number=2)
        parties.refuses(1, forged, "CK-7")  # of a stage that is not that of the key that is made
        parties.step()
    parties.finish_exactly()
    parties.refuses(1, requests[1], "CK-7")
    alone = Parties(params("authority"))
    request = alone.server.request(0)
    alone.finish_exactly()
    alone.refuses(0, request, "CK-7")
    alone.refuses(0, alone.forge_request(request, number=2, parts=((0, b""),)), "CK-8")


def _signed(
    parties: Parties, key: SignedKey, signers: tuple[int, ...], number: int | None = None
) -> SignedKey:
    """The key with new signatures of some holders."""
    ring = parties.params.ring
    b = unpack_rows(key.public, ring.key_primes, ring.degree)
    number = key.number if number is None else number
    name = key_name(parties.run.session, number, key.members, b, ring)
    signatures = tuple((signer, parties.identities[signer].sign(KEY_DOMAIN, name)) for signer in signers)
    return SignedKey(number, key.members, key.public, signatures)


def test_a_key_that_too_few_holders_signed() -> None:
    """The server alone, or with fewer than t holders, makes a key of its own and reads what is encrypted."""
    parties, requests = _at("upload")
    honest = parties.read_request(requests[1]).key
    a = common(parties.run.session, honest.number, RING)
    secret = np.sign(np.random.default_rng(5).integers(-1, 2, RING.degree))
    own = pack_rows(
        ring_of(CHOSEN).public_part(a, secret, np.zeros(RING.degree, dtype=np.int64)), RING.key_primes
    )
    rogue = SignedKey(honest.number, honest.members, own, honest.signatures)
    for key in (
        rogue,
        _signed(parties, rogue, (1, 2, 3)),
        SignedKey(honest.number, honest.members, honest.public, honest.signatures[:3]),
        SignedKey(honest.number, (1, 2, 3), honest.public, honest.signatures[:3]),
        SignedKey(honest.number + 1, honest.members, honest.public, honest.signatures),
    ):
        parties.refuses(1, parties.forge_request(requests[1], key=key), "CK-9")
    parties.refuses(1, parties.forge_request(requests[1], key=None), "CK-9")
    parties.finish_exactly()


def test_signatures_of_those_that_hold_nothing() -> None:
    parties = Parties(params("threshold", 6, holders=(1, 2, 3, 4, 5)))
    requests = parties.run_until("upload", {"deal": {5}})
    honest = parties.read_request(requests[1]).key
    assert honest.members == (1, 2, 3, 4)
    for signers in ((1, 2, 3, 5), (1, 2, 3, 6)):
        parties.refuses(1, parties.forge_request(requests[1], key=_signed(parties, honest, signers)), "CK-9")
    parties.finish_exactly()


def test_a_key_made_by_others_than_the_holders() -> None:
    """Clients in league with the server sign a key of its own; what counts is who the holders are."""
    parties = Parties(params("threshold", 7, holders=(1, 2, 3, 4, 5)))
    requests = parties.run_until("upload")
    honest = parties.read_request(requests[1]).key
    for members in ((4, 5, 6, 7), (1, 2, 3, 4, 5, 6)):
        key = _signed(parties, SignedKey(honest.number, members, honest.public, ()), members)
        parties.refuses(1, parties.forge_request(requests[1], key=key), "CK-9")
    parties.finish_exactly()


def test_an_old_key_is_not_taken_after_a_new_one() -> None:
    parties = Parties(params("threshold", 5, sums_per_key=1))
    old = parties.read_request(parties.run_until("upload")[1]).key
    parties.finish_exactly()
    parties.open(4)
    requests = parties.run_until("upload")
    new = parties.read_request(requests[1]).key
    parties.deliver(1, parties.answer(1))
    parties.finish_exactly()
    parties.open(5)
    assert parties.server.stage == "advertise"  # and the old one is forgotten by its holders
    parties.step()
    key = parties.holder(1)._memory.key
    assert key is None
    parties.refuses(1, parties.forge_request(requests[1], round=5, key=old), "CK-10")
    same_number = _signed(parties, old, (1, 2, 3, 4, 5), number=new.number)
    parties.refuses(1, parties.forge_request(requests[1], round=5, key=same_number), "CK-10")


def test_a_holder_signs_one_commitment_for_one_number() -> None:
    parties, requests = _at("commit")
    (reply,) = parties.answer(1)
    message = parties.read_reply(reply)
    parties.refuses(1, requests[1], "CK-7")
    session, members = parties.run.session, (1, 2, 3, 4, 5)
    statement = commit_statement(session, 1, members, 1, members, message.commitment)
    assert parties.run.signed_by(1, COMMIT_DOMAIN, statement, message.signature)
    making = parties.holder(1)._memory.making
    assert making is not None
    assert message.commitment == commitment(session, 1, members, 1, making.part)


def test_a_sole_holders_key_is_its_own() -> None:
    parties = Parties(params("authority"))
    (reply,) = parties.answer(0)
    message = parties.read_reply(reply)
    b = unpack_rows(message.public, parties.params.ring.key_primes, parties.params.ring.degree)
    b[0, 0] ^= np.uint64(1)
    changed = pack_rows(b, parties.params.ring.key_primes)
    parties.server_refuses(0, parties.forge_reply(reply, public=changed), "CK-9")
    parties.server_refuses(0, parties.forge_reply(reply, public=b""), None)
    parties.deliver(0, [reply])
    parties.finish_exactly()


def test_a_key_of_another_run_is_none_of_this_one() -> None:
    parties = Parties(CHOSEN)
    other = Parties(CHOSEN, run_id=RUN_ID[::-1])
    key = other.read_request(other.run_until("upload")[1]).key
    requests = parties.run_until("upload")
    parties.refuses(1, parties.forge_request(requests[1], key=key), "CK-9")
    client = parties.parties[1]
    assert isinstance(client, Client)
    assert client.state == "new"
    parties.finish_exactly()


def test_violations_say_who_and_why() -> None:
    parties, requests = _at("reveal")
    honest = parties.read_request(requests[1]).commitments
    forged = parties.forge_request(requests[1], commitments=(*honest[:4], (5, honest[4][1], bytes(64))))
    violation = parties.refuses(1, forged, "CK-6")
    assert isinstance(violation, ProtocolViolation)
    assert violation.party == 5
    assert "Holder 5" in str(violation)

"""Attacks on what a client of a sparse graph believes of its neighbours: who shared, who uploaded, who signed
(SA-2, SA-9)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

import pytest
from parties.attackers import SPARSE, careless, neighbourhood, opens, recovered, strangers, uploaded
from parties.secagg import Parties, sparse_params

from fedpriv.errors import ProtocolViolation
from fedpriv.secagg.cohort import (
    CONSISTENCY_DOMAIN,
    SHARERS_DOMAIN,
    consistency_statement,
    sharers_statement,
)

VICTIM = 1


def _sharers_signature(parties: Parties, client: int, sharers: bytes) -> bytes:
    """An accomplice's signature under a list of those that shared."""
    record = parties.server._record
    statement = sharers_statement(record.session, parties.register.hash, sharers)
    return parties.identities[client].sign(SHARERS_DOMAIN, statement)


def test_a_neighbours_signature_over_those_that_shared_is_forged_or_missing() -> None:
    # Without it the victim may count on a mask with a neighbour that was told that the victim never shared.
    parties = Parties(params=SPARSE)
    request = parties.run_until("consistency")[VICTIM]
    uploads = dict(parties.read_request(request).uploads)
    first, second = sorted(uploads)[:2]
    stranger = strangers(parties, VICTIM)[0]
    everyone = parties.members(parties.roster)
    fewer = parties.members(set(parties.roster) - {stranger})
    for signature in (bytes(64), uploads[second], _sharers_signature(parties, first, fewer)):
        forged = tuple(sorted({**uploads, first: signature}.items()))
        request_forged = parties.forge_request(request, uploads=forged)
        assert parties.refuses(VICTIM, request_forged, "SA-2").party == first
    missing = tuple(sorted({peer: uploads[peer] for peer in uploads if peer != first}.items()))
    extra = {**uploads, stranger: _sharers_signature(parties, stranger, everyone)}
    for other in (missing, (), tuple(sorted(extra.items()))):
        parties.refuses(VICTIM, parties.forge_request(request, uploads=other), "SA-2")
    parties.assert_exact(parties.finish())


def test_a_neighbour_was_shown_another_list_of_those_that_shared() -> None:
    # The server leaves the victim out of what a neighbour sees of U2, so that they have no mask together, and
    # calls both alive.  The victim is not shown a signature over its own list, and does not sign.
    parties = Parties(params=SPARSE)
    requests = parties.run_until("upload")
    neighbour = min(neighbourhood(parties, VICTIM) - {VICTIM})
    message = parties.read_request(requests[neighbour])
    without = tuple(item for item in message.shares if item[0] != VICTIM)
    forged = parties.forge_request(
        requests[neighbour], sharers=parties.members(set(parties.roster) - {VICTIM}), shares=without
    )
    answer = parties.answer(neighbour, forged)
    with pytest.raises(ProtocolViolation, match="SA-2"):
        parties.deliver(neighbour, answer)  # nor does an honest server take it
    parties.step({neighbour})
    request = parties.server.request(VICTIM)
    uploads = dict(parties.read_request(request).uploads)
    assert neighbour not in uploads
    uploads[neighbour] = parties.read_reply(answer[0]).signature
    survivors = parties.members(parties.roster)
    forged = parties.forge_request(request, survivors=survivors, uploads=tuple(sorted(uploads.items())))
    assert parties.refuses_and_goes_on(VICTIM, forged, "SA-2").party == neighbour


def _shares_given(parties: Parties, replies: Iterable[bytes], owner: int) -> dict[int, bytes]:
    """Of one owner, enough of the shares that were revealed."""
    messages = [parties.read_reply(reply) for reply in replies]
    found = {message.sender: share for message in messages for of, _, share in message.shares if of == owner}
    return dict(sorted(found.items())[: parties.params.threshold])


def _gone_for_all_alike(parties: Parties) -> set[int]:
    """Three of the victim's neighbours, of which each of the other five knows two at most: so all five find
    enough signatures although the three are gone."""
    neighbours = parties.register.neighbours
    for three in combinations(neighbours(VICTIM), 3):
        others = set(neighbours(VICTIM)) - set(three)
        if all(len(set(three) & set(neighbours(other))) < 3 for other in others):
            return set(three)
    raise AssertionError("no three neighbours will do; another seed of the parties gives some")


def test_without_those_signatures_a_client_counts_on_masks_that_it_does_not_have() -> None:
    # The victim is shown a U2 with five of its eight neighbours, the others the whole.  Then three of the
    # five are called dropped.  The five that are left reveal their shares of the victim's b: each thinks that
    # the mask it has with the victim protects it.  Three of these masks do not exist, and three were
    # recovered, so two are left, where section 8 of the spec promises t = 5.
    parties = Parties(params=sparse_params(24, degree=8, threshold=5))
    requests = parties.run_until("upload")
    register = parties.register
    neighbours = set(register.neighbours(VICTIM))
    dropped = _gone_for_all_alike(parties)
    unseen = set(sorted(neighbours - dropped)[:3])
    masked = neighbours - dropped - unseen
    secrets = {client: parties.clients[client]._secrets() for client in parties.roster}
    message = parties.read_request(requests[VICTIM])
    seen = tuple(item for item in message.shares if item[0] not in unseen)
    forged = parties.forge_request(
        requests[VICTIM], sharers=parties.members(set(parties.roster) - unseen), shares=seen
    )
    header, *_ = answer = parties.answer(VICTIM, forged)
    parties.step({VICTIM, *dropped})
    survivors = set(parties.roster) - dropped
    listed = {"survivors": parties.members(survivors)}
    signature = parties.read_reply(header).signature
    signed = {}
    for client, request in parties.requests().items():
        uploads = parties.read_request(request).uploads
        if client in neighbours:
            uploads = tuple(sorted((*uploads, (VICTIM, signature))))
        forged = parties.forge_request(request, uploads=uploads, **listed)
        if client in neighbours:
            assert parties.refuses(client, forged, "SA-2").party == VICTIM
        careless(parties, client, uploads=lambda *given: None)
        signed[client] = parties.read_reply(parties.answer(client, forged)[0]).signature

    replies = []
    template = Parties(params=parties.params).run_until("unmask")
    for client in survivors - {VICTIM}:
        signatures = tuple(
            (holder, signed[holder]) for holder in register.holders(client) if holder in signed
        )
        if len(signatures) < parties.params.threshold:
            continue
        forged = parties.forge_request(
            template[client], dropped=parties.members(dropped), signatures=signatures, **listed
        )
        replies += parties.answer(client, forged)
    seed = recovered(_shares_given(parties, replies, VICTIM))
    gone = {client: recovered(_shares_given(parties, replies, client)) or b"" for client in dropped}
    assert seed == secrets[VICTIM].seed
    assert gone == {client: secrets[client].mask for client in dropped}
    parts = uploaded(parties, answer)
    assert not opens(parties, VICTIM, parts, seed=seed, others=gone)
    both = {client: secrets[client].mask for client in masked}
    assert opens(parties, VICTIM, parts, seed=seed, others={**gone, **both})


def test_signatures_of_uploads_on_the_complete_graph() -> None:
    parties = Parties(4)
    request = parties.run_until("consistency")[VICTIM]
    forged = parties.forge_request(request, uploads=((2, bytes(64)),))
    parties.refuses_and_goes_on(VICTIM, forged, "SA-2")


def test_an_upload_without_a_signature_over_those_that_shared() -> None:
    parties = Parties(params=SPARSE)
    parties.run_until("upload")
    header, *parts = parties.answer(3)
    for signature in (None, bytes(64)):
        with pytest.raises(ProtocolViolation, match="SA-2") as violation:
            parties.deliver(3, [parties.forge_reply(header, signature=signature)])
        assert violation.value.party == 3
    parties.deliver(3, [header, *parts])
    parties.assert_exact(parties.finish())


@pytest.mark.parametrize("stage", ["upload", "consistency", "unmask"])
def test_too_few_of_the_victims_own_neighbours_are_left(stage: str) -> None:
    # Enough clients in all, but only two of the victim's four neighbours, fewer than open a secret.
    parties = Parties(params=SPARSE)
    request = parties.run_until(stage)[VICTIM]
    message = parties.read_request(request)
    gone = sorted(neighbourhood(parties, VICTIM) - {VICTIM})[:2]
    left = parties.members(set(parties.roster) - set(gone))
    if stage == "upload":
        shares = tuple(item for item in message.shares if item[0] not in gone)
        forged = parties.forge_request(request, sharers=left, shares=shares)
    elif stage == "consistency":
        uploads = tuple(item for item in message.uploads if item[0] not in gone)
        forged = parties.forge_request(request, survivors=left, uploads=uploads)
    else:
        forged = parties.forge_request(request, survivors=left, dropped=parties.members(gone))
    parties.refuses_and_goes_on(VICTIM, forged, "SA-9")


def test_signatures_of_clients_that_hold_no_share() -> None:
    # They are genuine and over the same list; but what counts is whether the victim's own holders signed.
    parties = Parties(params=SPARSE)
    request = parties.run_until("unmask")[VICTIM]
    record = parties.server._record
    others = tuple((client, record.signatures[client]) for client in strangers(parties, VICTIM)[:4])
    parties.refuses_and_goes_on(VICTIM, parties.forge_request(request, signatures=others), "SA-2")


def test_the_victims_own_signature_does_not_count_on_a_sparse_graph() -> None:
    parties = Parties(params=SPARSE)
    request = parties.run_until("unmask")[VICTIM]
    signatures = dict(list(parties.read_request(request).signatures)[:2])
    memory = parties.clients[VICTIM]._memory
    statement = consistency_statement(memory.session, memory.cohort_hash, memory.sharers, memory.survivors)
    signatures[VICTIM] = parties.identities[VICTIM].sign(CONSISTENCY_DOMAIN, statement)
    forged = parties.forge_request(request, signatures=tuple(sorted(signatures.items())))
    parties.refuses_and_goes_on(VICTIM, forged, "SA-2")


def test_a_list_of_those_that_shared_with_one_that_never_advertised() -> None:
    parties = Parties(params=SPARSE)
    parties.step({12})
    request = parties.run_until("upload")[VICTIM]
    forged = parties.forge_request(request, sharers=parties.members(parties.roster))
    parties.refuses_and_goes_on(VICTIM, forged, "SA-1")


def test_a_list_of_those_that_shared_without_the_victim() -> None:
    parties = Parties(params=SPARSE)
    request = parties.run_until("upload")[VICTIM]
    forged = parties.forge_request(request, sharers=parties.members(set(parties.roster) - {VICTIM}))
    parties.refuses_and_goes_on(VICTIM, forged, "SA-1")

"""Attacks on what goes on from one round to the next: replayed numbers, keys and shares made ahead (SA-6)."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from parties.attackers import opens, shown, signed_bundle, uploaded
from parties.secagg import CONTEXT, Parties, sparse_params

from fedpriv.crypto import AgreementKey
from fedpriv.errors import ProtocolViolation, UsageError
from fedpriv.secagg.cohort import Cohort
from fedpriv.secagg.messages import Bundle

OTHER_CONTEXT = b"digest of another model ........"
OTHER_HISTORY = b"h" * 32


def _prepared(clients: int = 5, *, away: int | None = None) -> Parties:
    """Round 4, for which all made keys in round 3, except one that dropped there before its upload."""
    parties = Parties(clients, prepare=True)
    parties.run_until("upload")
    parties.step(() if away is None else {away})
    parties.assert_exact(parties.finish())
    parties.open(4, prepare=True, invite=() if away is None else {away})
    return parties


def _other_history(parties: Parties, client: int, previous: bytes = OTHER_HISTORY) -> Bundle:
    """An accomplice's own keys of this round, once more signed, with another round before."""
    return signed_bundle(
        parties,
        client,
        cipher=AgreementKey.from_seed(bytes([client]) * 32).public,
        mask=AgreementKey.from_seed(bytes([client + 100]) * 32).public,
        previous=previous,
    )


@pytest.mark.parametrize("context", [CONTEXT, OTHER_CONTEXT])
@pytest.mark.parametrize("round_", [0, 2, 3])
def test_a_round_number_is_opened_twice(round_: int, context: bytes) -> None:
    parties = Parties(4)
    with pytest.raises(UsageError) as refusal:
        parties.clients[1].open_round(round_, context)
    assert "SA-6" in refusal.value.hint
    with pytest.raises(UsageError):
        parties.server.open_round(round_, context)
    parties.assert_exact(parties.finish())


def test_a_round_number_is_opened_twice_with_keys_made_ahead() -> None:
    # Keys that are made ahead do not know the model.  If they served for two, two vectors would be uploaded
    # whose secrets are the same: what is revealed for one opens the other.
    parties = _prepared()
    victim = parties.clients[1]
    before = victim._memory
    first = parties.answer(1)
    memory = victim._memory
    for context in (CONTEXT, OTHER_CONTEXT):
        with pytest.raises(UsageError, match="does not come after"):
            victim.open_round(4, context)
    assert victim._memory is memory

    # The loss, for a client that forgot: both uploads come off with the b and the s of one round.
    assert before.secrets is not None
    victim._memory = msgspec.structs.replace(before, session=parties.group.session(4, OTHER_CONTEXT))
    other = {"update": np.arange(7, dtype=np.uint64)}
    victim.set_vectors(other)
    request = parties.forge_request(parties.server.request(1), session=victim._memory.session)
    second = parties.answer(1, request)
    known = {"seed": before.secrets.seed, "mask": before.secrets.mask}
    assert opens(parties, 1, uploaded(parties, first), **known)
    cohort = Cohort(victim._memory.cohort_hash, b"", parties.register.bundles)
    assert opens(parties, 1, uploaded(parties, second), other, cohort=cohort, **known)


def test_keys_ahead_from_another_history() -> None:
    # An accomplice names another round 3 than the others do: the victim was in one of them only.
    parties = _prepared()
    request = parties.server.request(1)
    parties.refuses_and_goes_on(1, shown(parties, request, _other_history(parties, 3)), "SA-6")


def test_keys_ahead_that_all_agree_on_another_history_than_the_clients_own() -> None:
    # Client 1 dropped in round 3 and comes back with new keys.  The others claim another round 3 than the one
    # that it was shown: they are all in league, or were shown another one.
    parties = _prepared(away=1)
    request = parties.run_until("share")[1]
    others = [_other_history(parties, client) for client in (2, 3, 4, 5)]
    parties.refuses_and_goes_on(1, shown(parties, request, *others), "SA-6")


def test_keys_ahead_of_another_history_than_that_of_a_client_that_was_not_asked_to_prepare() -> None:
    # The server asks the others to prepare and the victim not: it has no keys ahead, but knows its round 3.
    parties = Parties(5, prepare=True)
    request = parties.run_until("upload")[1]
    forged = parties.forge_request(request, prepare=False)
    assert parties.read_reply(parties.answer(1, forged)[0]).bundle is None
    parties.step({1})
    parties.finish()
    parties.open(4, invite={1})
    request = parties.run_until("share")[1]
    others = [_other_history(parties, client) for client in (2, 3, 4, 5)]
    parties.refuses_and_goes_on(1, shown(parties, request, *others), "SA-6")


def test_a_round_that_is_shown_in_two_versions_ends_with_the_shares() -> None:
    # Round 3 is shown in two versions: to clients 1 to 3 as it is, to 4 and 5 with other keys of client 3,
    # which works for the server.
    parties = Parties(5, prepare=True)
    requests = parties.run_until("share")
    second = signed_bundle(
        parties,
        3,
        cipher=AgreementKey.from_seed(b"c" * 32).public,
        mask=AgreementKey.from_seed(b"m" * 32).public,
    )
    for client in (4, 5):
        requests[client] = shown(parties, requests[client], second)
    hashes = set()
    for client, request in requests.items():
        parties.deliver(client, parties.answer(client, request))
        cohort = parties.clients[client]._memory.cohort
        assert cohort is not None
        hashes.add(cohort.hash)
    parties.server.advance()
    assert len(hashes) == 2
    # What is sealed for 4 and 5 names the keys of client 3 that they were not shown.
    for client in (4, 5):
        parties.refuses(client, parties.server.request(client), "SA-7")


@pytest.mark.parametrize("previous", [bytes(32), OTHER_HISTORY])
def test_an_upload_brings_keys_that_name_another_round_before(previous: bytes) -> None:
    parties = Parties(4, prepare=True)
    parties.run_until("upload")
    header, *parts = parties.answer(3)
    bundle = signed_bundle(
        parties,
        3,
        cipher=AgreementKey.from_seed(b"c" * 32).public,
        mask=AgreementKey.from_seed(b"m" * 32).public,
        previous=previous,
        round_=4,
    )
    with pytest.raises(ProtocolViolation, match="SA-6") as violation:
        parties.deliver(3, [parties.forge_reply(header, bundle=bundle)])
    assert violation.value.party == 3
    parties.deliver(3, [header, *parts])
    parties.assert_exact(parties.finish())


def test_keys_that_are_made_in_the_round_name_a_round_before() -> None:
    parties = Parties(4)
    reply = parties.answer(3)[0]
    with pytest.raises(ProtocolViolation, match="SA-6"):
        parties.deliver(3, [parties.forge_reply(reply, bundle=_other_history(parties, 3))])
    parties.deliver(3, [reply])
    parties.assert_exact(parties.finish())


def test_keys_made_ahead_are_shown_in_a_later_round_than_the_next() -> None:
    parties = _prepared()
    ahead = parties.server._record.bundles[3]
    parties.finish()
    parties.open(6)
    request = parties.run_until("share")[1]
    parties.refuses_and_goes_on(1, shown(parties, request, ahead), "SA-1")


def test_early_shares_are_tampered_with() -> None:
    parties = _prepared()
    request = parties.server.request(1)
    early = dict(parties.read_request(request).early)
    early[3] = early[3][:-1] + bytes([early[3][-1] ^ 1])
    forged = parties.forge_request(request, early=tuple(early.items()))
    assert parties.refuses_and_goes_on(1, forged, "SA-7").party == 3


def test_early_shares_are_swapped_between_receivers_or_dealers() -> None:
    parties = _prepared()
    mine, theirs = (dict(parties.read_request(parties.server.request(client)).early) for client in (1, 2))
    for wrong in (theirs[3], mine[4]):
        forged = parties.forge_request(parties.server.request(1), early=tuple({**mine, 3: wrong}.items()))
        assert parties.refuses(1, forged, "SA-7").party == 3
    parties.assert_exact(parties.finish())


@pytest.mark.parametrize("kept", [{3}, {2, 3, 4, 5}])
def test_early_shares_are_kept_back(kept: set[int]) -> None:
    parties = _prepared()
    request = parties.server.request(1)
    early = tuple(item for item in parties.read_request(request).early if item[0] not in kept)
    parties.refuses_and_goes_on(1, parties.forge_request(request, early=early), "SA-7")


def test_early_shares_are_passed_off_as_dealt_in_the_round_and_the_other_way_round() -> None:
    parties = _prepared(away=5)
    request = parties.run_until("upload")[1]
    message = parties.read_request(request)
    assert [source for source, _ in message.early] == [2, 3, 4]
    assert [source for source, _ in message.shares] == [5]
    everything = tuple(sorted((*message.early, *message.shares)))
    parties.refuses(1, parties.forge_request(request, early=everything, shares=()), "SA-1")
    parties.refuses(1, parties.forge_request(request, early=(), shares=everything), "SA-1")
    parties.refuses(1, parties.forge_request(request, early=everything), "SA-1")
    parties.refuses_and_goes_on(1, parties.forge_request(request, shares=everything), "SA-1")


def test_shares_made_ahead_are_opened_in_their_own_round_only() -> None:
    # What the others sealed in round 3 for round 4 is of no use in round 3: nothing of it can be asked for.
    parties = Parties(4, prepare=True)
    parties.run_until("upload")
    headers = {}
    for client in parties.roster:
        messages = parties.answer(client)
        headers[client] = parties.read_reply(messages[0])
        parties.deliver(client, messages)
    parties.run_until("unmask")
    for client in parties.roster:
        memory = parties.clients[client]._memory
        sealed_for = {dict(header.shares).get(client) for header in headers.values()}
        assert all(held.seed not in sealed_for for held in memory.held.values())
        shares = parties.read_reply(parties.answer(client)[0]).shares
        ahead = memory.ahead
        assert ahead is not None
        (own,) = ahead.held.values()
        assert {share for _, _, share in shares}.isdisjoint({own.seed, own.key})


def _lost_server(parties: Parties) -> None:
    """The server begins anew and knows nothing of keys that were made ahead."""
    parties.server = type(parties.server)(parties.params, parties.run_id, parties.roster)


def test_a_client_is_asked_to_advertise_after_it_prepared() -> None:
    # It makes new keys.  Those that it had made, signed by itself for this very round, do not come back.
    parties = Parties(5, prepare=True)
    parties.finish()
    ahead = {client: prepared.bundle for client, prepared in parties.server._record.ahead.items()}
    _lost_server(parties)
    parties.open(4)
    assert parties.server.stage == "advertise"
    request = parties.run_until("share")[1]
    new = parties.server._record.bundles
    for client, old in ahead.items():
        mine = new[client]
        assert {old.cipher_key, old.mask_key, old.seed_commitment}.isdisjoint(
            {mine.cipher_key, mine.mask_key, mine.seed_commitment}
        )
    parties.refuses(1, shown(parties, request, ahead[1]), "SA-1")
    parties.assert_exact(parties.finish())


def test_a_client_that_advertised_is_then_asked_to_upload_with_the_keys_it_had_made_ahead() -> None:
    parties = _prepared()
    early = parties.server.request(1)
    parties.clients[1].handle(_advertise(parties))
    assert parties.clients[1].state == "advertised"
    parties.refuses(1, early, "SA-15")
    parties.step({1})
    parties.assert_exact(parties.finish())


def _advertise(parties: Parties) -> bytes:
    """A request for keys in this round's session."""
    other = Parties(parties.params.clients, round_=parties.round)
    return parties.forge_request(other.server.request(1), session=parties.session)


def test_a_view_is_kept_from_a_client_or_shown_to_it_twice() -> None:
    prepared = _prepared()
    request = prepared.server.request(1)
    prepared.refuses_and_goes_on(1, prepared.forge_request(request, view=None), "SA-17")

    parties = Parties(4)
    view = parties.read_request(parties.run_until("share")[1]).view
    request = parties.run_until("upload")[1]
    parties.refuses_and_goes_on(1, parties.forge_request(request, view=view), "SA-17")


def test_a_server_that_asks_to_prepare_on_a_sparse_graph() -> None:
    parties = Parties(params=sparse_params(12, degree=4, threshold=3, min_survivors=9))
    request = parties.run_until("upload")[1]
    parties.refuses_and_goes_on(1, parties.forge_request(request, prepare=True), "SA-15")
    with pytest.raises(UsageError, match="sparse graph"):
        parties.server.open_round(4, CONTEXT, prepare=True)


def test_keys_that_claim_to_be_made_ahead_on_a_sparse_graph() -> None:
    parties = Parties(params=sparse_params(12, degree=4, threshold=3, min_survivors=9))
    request = parties.run_until("share")[1]
    neighbour = next(b for b in parties.read_request(request).view.bundles if b.client != 1)
    forged = shown(parties, request, _other_history(parties, neighbour.client))
    parties.refuses_and_goes_on(1, forged, "SA-6")


def test_what_one_round_recovered_takes_no_mask_off_the_next() -> None:
    # In round 3 the server recovers the s of client 5, which uploaded too late, and the b of all others.
    parties = Parties(5, prepare=True)
    parties.run_until("share")
    parties.step()
    old = {client: parties.clients[client]._secrets() for client in parties.roster}
    late = parties.answer(5)
    parties.step({5})
    parties.finish()
    assert opens(parties, 5, uploaded(parties, late), seed=old[5].seed, mask=old[5].mask)
    parties.open(4, invite={5})
    parties.run_until("upload")
    for client in parties.roster:
        messages = parties.answer(client)
        known = {"seed": old[client].seed, "mask": old[client].mask}
        assert not opens(parties, client, uploaded(parties, messages), **known)
        parties.deliver(client, messages)
    parties.assert_exact(parties.finish())

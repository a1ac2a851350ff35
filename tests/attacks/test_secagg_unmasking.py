"""Attacks on the last step: a server that wants shares which together open one vector (SA-2, SA-3, SA-12)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from parties.secagg import Parties

from fedpriv.crypto.field import PRIME
from fedpriv.errors import DecodeError, ProtocolViolation
from fedpriv.secagg.keys import CONSISTENCY_DOMAIN, consistency_statement
from fedpriv.secagg.messages import encode


def _refused(parties: Parties, victim: int, request: bytes, clause: str) -> None:
    """The victim refuses, stays where it was, and still answers the honest request."""
    before = parties.clients[victim].state
    with pytest.raises(ProtocolViolation) as violation:
        parties.clients[victim].handle(request)
    assert violation.value.clause == clause
    assert parties.clients[victim].state == before
    parties.finish()


def test_both_kinds_of_share_in_one_request() -> None:
    # The victim 3 is alive; the server lists it in both places to get b_3 and the secret key of s_3.
    parties = Parties(5)
    request = parties.run_until("unmask")[1]
    _refused(parties, 1, parties.forge_request(request, dropped=(3,)), "SA-3")


@pytest.mark.parametrize("both", [(2,), (3, 4), (1, 2, 3, 4, 5)])
def test_alive_and_dead_lists(both: tuple[int, ...]) -> None:
    parties = Parties(5)
    request = parties.run_until("unmask")[1]
    _refused(parties, 1, parties.forge_request(request, dropped=both), "SA-3")


def test_one_client_twice_in_one_list_is_no_message() -> None:
    parties = Parties(5)
    message = parties.read_request(parties.run_until("unmask")[1])
    plain = msgspec.msgpack.decode(encode(message))
    plain["survivors"] = [1, 2, 3, 3, 4, 5]
    with pytest.raises(DecodeError):
        parties.clients[1].handle(msgspec.msgpack.encode(plain))


def test_both_kinds_of_share_in_two_requests() -> None:
    # First the honest request, then one in which the victim dropped: one answer a round.
    parties = Parties(5, consistency_check=False)
    request = parties.run_until("unmask")[1]
    parties.server.receive(1, parties.clients[1].handle(request))
    with pytest.raises(ProtocolViolation, match="SA-15"):
        parties.clients[1].handle(parties.forge_request(request, survivors=(1, 2, 4, 5), dropped=(3,)))


def test_a_lying_survivor_set_told_to_one_client() -> None:
    # Everyone signed {1..5}; client 1 is then asked as if 3 had dropped, with the true signatures.
    parties = Parties(5)
    request = parties.run_until("unmask")[1]
    forged = parties.forge_request(request, survivors=(1, 2, 4, 5), dropped=(3,))
    _refused(parties, 1, forged, "SA-2")


def test_a_lying_survivor_set_from_the_start() -> None:
    # Two groups are shown two lists.  Neither gets t signatures, since 2t > n + a.
    parties = Parties(5, max_colluders=1)
    honest = parties.run_until("consistency")
    lists = {1: (1, 2, 4, 5), 2: (1, 2, 4, 5), 3: (1, 2, 3, 4, 5), 4: (1, 2, 3, 4, 5)}
    signatures: dict[tuple[int, ...], list[tuple[int, bytes]]] = {}
    for client, survivors in lists.items():
        reply = parties.clients[client].handle(parties.forge_request(honest[client], survivors=survivors))
        signatures.setdefault(survivors, []).append((client, parties.read_reply(reply).signature))
    # Client 5 works for the server and signs both.
    cohort = parties.clients[1]._memory.cohort
    assert cohort is not None
    template = Parties(5, max_colluders=1).run_until("unmask")[1]
    for survivors, signed in signatures.items():
        statement = consistency_statement(cohort, range(1, 6), survivors)
        signed.append((5, parties.identities[5].sign(CONSISTENCY_DOMAIN, statement)))
        dropped = tuple(sorted(set(range(1, 6)) - set(survivors)))
        request = parties.forge_request(
            template, survivors=survivors, dropped=dropped, signatures=tuple(signed)
        )
        for client in (signer for signer, _ in signed if signer != 5):
            with pytest.raises(ProtocolViolation, match="SA-2"):
                parties.clients[client].handle(request)


def test_a_second_list_to_sign() -> None:
    parties = Parties(5)
    request = parties.run_until("consistency")[1]
    parties.server.receive(1, parties.clients[1].handle(request))
    with pytest.raises(ProtocolViolation, match="SA-15"):
        parties.clients[1].handle(parties.forge_request(request, survivors=(1, 2, 4, 5)))


@pytest.mark.parametrize("stage", ["consistency", "unmask"])
def test_a_client_is_told_that_it_is_dead(stage: str) -> None:
    parties = Parties(5)
    request = parties.run_until(stage)[1]
    changes: dict[str, Any] = {"survivors": (2, 3, 4, 5)}
    if stage == "unmask":
        changes["dropped"] = (1,)
    _refused(parties, 1, parties.forge_request(request, **changes), "SA-3")


def test_a_client_is_left_out_of_both_lists() -> None:
    parties = Parties(5)
    request = parties.run_until("unmask")[1]
    _refused(parties, 1, parties.forge_request(request, survivors=(1, 2, 3, 4), dropped=()), "SA-3")


def test_a_client_that_never_shared_is_called_alive() -> None:
    parties = Parties(5)
    while parties.server.stage != "consistency":
        parties.step({4} if parties.server.stage == "share" else set())
    request = parties.server.requests()[1]
    _refused(parties, 1, parties.forge_request(request, survivors=(1, 2, 3, 4, 5)), "SA-3")


def test_too_few_signatures() -> None:
    parties = Parties(5)
    request = parties.run_until("unmask")[1]
    signatures = parties.read_request(request).signatures
    _refused(parties, 1, parties.forge_request(request, signatures=signatures[:2]), "SA-2")


def test_signatures_that_are_forged_borrowed_or_of_strangers() -> None:
    parties = Parties(5)
    request = parties.run_until("unmask")[1]
    signatures = dict(parties.read_request(request).signatures)
    for forged in (
        {**signatures, 3: bytes(64)},
        {**signatures, 3: signatures[2]},
        {**signatures, 9: signatures[2]},
    ):
        with pytest.raises(ProtocolViolation, match="SA-2"):
            parties.clients[1].handle(
                parties.forge_request(request, signatures=tuple(sorted(forged.items())))
            )
    parties.finish()


def test_signatures_of_another_round_over_the_same_survivors() -> None:
    parties, other = Parties(5), Parties(5, round_=99)
    replayed = other.read_request(other.run_until("unmask")[1]).signatures
    request = parties.run_until("unmask")[1]
    _refused(parties, 1, parties.forge_request(request, signatures=replayed), "SA-2")


def test_unmasking_before_the_list_is_signed() -> None:
    parties = Parties(5)
    later = Parties(5).run_until("unmask")[1]
    parties.run_until("consistency")
    _refused(parties, 1, later, "SA-15")


def test_signatures_where_none_belong() -> None:
    parties = Parties(5, consistency_check=False)
    request = parties.run_until("unmask")[1]
    _refused(parties, 1, parties.forge_request(request, signatures=((2, bytes(64)),)), "SA-2")


def test_too_few_survivors_for_the_clients_own_floor() -> None:
    parties = Parties(5)
    request = parties.run_until("consistency")[1]
    _refused(parties, 1, parties.forge_request(request, survivors=(1, 2)), "SA-9")


def _unmask_with_a_lie(parties: Parties, liar: int, owner: int) -> None:
    """One answer in which one share is off by one; then close the stage."""
    for client, request in parties.server.requests().items():
        reply = parties.clients[client].handle(request)
        if client == liar:
            shares = list(parties.read_reply(reply).shares)
            position = [name for name, _, _ in shares].index(owner)
            _, kind, share = shares[position]
            value = (int.from_bytes(share, "big") + 1) % PRIME
            shares[position] = (owner, kind, value.to_bytes(33, "big"))
            reply = parties.forge_reply(reply, shares=tuple(shares))
        parties.server.receive(client, reply)
    parties.server.advance()


@pytest.mark.parametrize("owner", [1, 2, 4])
def test_a_false_share_gives_a_recovered_secret_that_does_not_match(owner: int) -> None:
    # Client 4 has dropped, so of 4 the key is recovered and of the others the seed.
    parties = Parties(5)
    while parties.server.stage != "unmask":
        parties.step({4} if parties.server.stage == "upload" else set())
    with pytest.raises(ProtocolViolation, match="SA-12"):
        _unmask_with_a_lie(parties, liar=2, owner=owner)
    assert parties.server.stage == "aborted"
    assert parties.server.requests() == {}


@pytest.mark.parametrize("what", ["seed", "mask"])
@pytest.mark.parametrize("dropped", [True, False])
def test_a_dealer_that_shares_another_secret_than_it_signed(what: str, dropped: bool) -> None:
    parties = Parties(5)
    parties.run_until("share")
    dealer = parties.clients[3]
    memory = dealer._memory
    keys = memory.keys
    assert keys is not None
    other = type(keys.mask).from_seed(b"o" * 32) if what == "mask" else b"o" * 32
    dealer._memory = _replaced(memory, keys, what, other)
    parties.step()
    dealer._memory = _replaced(dealer._memory, keys, what, getattr(keys, what))
    parties.step({3} if dropped else set())
    matters = what == ("mask" if dropped else "seed")
    if matters:
        with pytest.raises(ProtocolViolation, match="SA-12"):
            parties.finish()
    else:
        result = parties.finish()
        assert np.array_equal(result.total, parties.plain_sum(result.survivors))


def _replaced(memory: Any, keys: Any, what: str, value: Any) -> Any:
    return replace(memory, keys=replace(keys, **{what: value}))


def test_a_client_shown_one_list_to_sign_and_another_to_act_on() -> None:
    # Clients 2 to 5 sign that all are alive.  Client 1 signed a list without 5, and is then shown their list,
    # with four good signatures: it does not act on what it did not sign.
    parties = Parties(5)
    honest = parties.run_until("consistency")
    parties.clients[1].handle(parties.forge_request(honest[1], survivors=(1, 2, 3, 4)))
    for client in (2, 3, 4, 5):
        parties.server.receive(client, parties.clients[client].handle(honest[client]))
    parties.server.advance()
    request = parties.server.requests()[2]
    with pytest.raises(ProtocolViolation, match="SA-2"):
        parties.clients[1].handle(request)
    parties.clients[2].handle(request)


def test_a_dropped_accomplice_signs_for_the_survivors() -> None:
    # Client 4 never uploaded and signs all the same, to make up the number.
    parties = Parties(5)
    while parties.server.stage != "unmask":
        parties.step({4} if parties.server.stage == "upload" else set())
    request = parties.server.requests()[1]
    cohort = parties.clients[1]._memory.cohort
    assert cohort is not None
    statement = consistency_statement(cohort, range(1, 6), (1, 2, 3, 5))
    accomplice = parties.identities[4].sign(CONSISTENCY_DOMAIN, statement)
    signatures = dict(parties.read_request(request).signatures)
    forged = tuple(sorted({1: signatures[1], 2: signatures[2], 4: accomplice}.items()))
    _refused(parties, 1, parties.forge_request(request, signatures=forged), "SA-2")

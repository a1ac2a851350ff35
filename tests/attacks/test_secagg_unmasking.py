"""Attacks on the last step: a server that wants shares which together open one vector (SA-3)."""

from __future__ import annotations

from typing import Any

import pytest
from parties.attackers import careless, opens, recovered, uploaded
from parties.secagg import Parties

from fedpriv.secagg.members import Members

EVERYBODY = {1, 2, 3, 4, 5}


def _lists(parties: Parties, request: bytes, survivors: set[int], dropped: set[int], **more: Any) -> bytes:
    """An unmask request with other lists."""
    return parties.forge_request(
        request, survivors=parties.members(survivors), dropped=parties.members(dropped), **more
    )


def _until_unmask(parties: Parties, victim: int) -> list[bytes]:
    """An honest round up to the last step; the victim's upload."""
    parties.run_until("upload")
    messages = parties.answer(victim)
    parties.deliver(victim, messages)
    parties.run_until("unmask")
    return uploaded(parties, messages)


def _revealed(parties: Parties, replies: dict[int, bytes], owner: int, kind: str) -> dict[int, bytes]:
    """The shares of one kind of one owner that clients gave out."""
    found = {}
    for holder, reply in replies.items():
        for name, given, share in parties.read_reply(reply).shares:
            if (name, given) == (owner, kind):
                found[holder] = share
    return found


def _opened(parties: Parties, victim: int, parts: list[bytes], replies: list[dict[int, bytes]]) -> bool:
    """Whether both secrets of the victim, and with them its vector, come out of the replies."""
    threshold, secrets = parties.params.threshold, []
    for kind in ("seed", "key"):
        shares: dict[int, bytes] = {}
        for each in replies:
            shares.update(_revealed(parties, each, victim, kind))
        if len(shares) < threshold:
            return False
        secrets.append(recovered(dict(list(shares.items())[:threshold])))
    return opens(parties, victim, parts, seed=secrets[0], mask=secrets[1])


def test_both_kinds_of_share_in_one_request() -> None:
    # The victim 3 is alive; the server lists it in both places to get b_3 and the seed of s_3.
    parties = Parties(5)
    request = parties.run_until("unmask")[1]
    parties.refuses_and_goes_on(1, _lists(parties, request, EVERYBODY, {3}), "SA-3")


@pytest.mark.parametrize("both", [{2}, {3, 4}, EVERYBODY])
@pytest.mark.parametrize("malicious", [True, False])
def test_alive_and_dead_lists(both: set[int], malicious: bool) -> None:
    parties = Parties(5, malicious=malicious)
    request = parties.run_until("unmask")[1]
    parties.refuses_and_goes_on(1, _lists(parties, request, EVERYBODY, both), "SA-3")


def test_both_kinds_of_share_told_to_two_halves() -> None:
    # Three are told that the victim is alive, two that it dropped.  A server that follows the protocol does
    # not do that, so in semi-honest mode two shares open a secret, and the vector comes out: what that mode
    # does not promise.  Where the server may deviate, nobody acts on a list that was not signed.
    parties = Parties(5, malicious=False)
    assert parties.params.threshold == 2
    parts = _until_unmask(parties, victim=5)
    told = {
        client: parties.server.request(client)
        if client in {1, 2, 5}
        else _lists(parties, parties.server.request(client), {1, 2, 3, 4}, {5})
        for client in EVERYBODY
    }
    replies = {client: parties.answer(client, request)[0] for client, request in told.items()}
    assert _opened(parties, 5, parts, [replies])

    parties = Parties(5)
    _until_unmask(parties, victim=5)
    for client in (3, 4):
        request = _lists(parties, parties.server.request(client), {1, 2, 3, 4}, {5})
        parties.refuses(client, request, "SA-2")
    parties.assert_exact(parties.finish())


def test_both_kinds_of_share_told_to_two_halves_that_do_not_look() -> None:
    # Even where nobody checks the lists: each answers once, and more than half of the shares open a secret.
    parties = Parties(5)
    parts = _until_unmask(parties, victim=5)
    replies = {}
    for client in EVERYBODY:
        careless(parties, client, lists=_believe_any_lists)
        survivors, dropped = ({1, 2, 3, 4}, {5}) if client in {3, 4} else (EVERYBODY, set())
        request = _lists(parties, parties.server.request(client), survivors, dropped)
        replies[client] = parties.answer(client, request)[0]
    assert len(_revealed(parties, replies, 5, "seed")) == 3
    assert len(_revealed(parties, replies, 5, "key")) == 2
    assert not _opened(parties, 5, parts, [replies])


def _believe_any_lists(checks: Any, memory: Any, message: Any) -> Members:
    """A check of the lists that checks nothing."""
    return Members(message.survivors, checks.params.clients)


@pytest.mark.parametrize("malicious", [True, False])
def test_both_kinds_of_share_in_two_requests(malicious: bool) -> None:
    # First the honest request, then one in which the victim dropped: one answer a round.
    parties = Parties(5, malicious=malicious)
    request = parties.run_until("unmask")[1]
    parties.deliver(1, parties.answer(1))
    for second in (request, _lists(parties, request, {1, 2, 4, 5}, {3})):
        parties.refuses(1, second, "SA-15")
    parties.assert_exact(parties.finish())


def test_two_answers_of_enough_clients_would_open_a_vector() -> None:
    # Three clients that forget their answer (and what they signed) each give both kinds.
    parties = Parties(5)
    parties.run_until("upload")
    messages = parties.answer(5)
    parties.deliver(5, messages)
    honest = parties.run_until("consistency")
    forgetful = {client: parties.clients[client]._memory for client in (1, 2, 3)}
    requests, replies = parties.run_until("unmask"), []
    replies.append({client: parties.answer(client)[0] for client in (1, 2, 3)})
    template = requests[1]
    lists = {"survivors": parties.members({1, 2, 3, 4})}
    signatures = []
    for client, memory in forgetful.items():
        parties.clients[client]._memory = memory
        reply = parties.answer(client, parties.forge_request(honest[client], **lists))[0]
        signatures.append((client, parties.read_reply(reply).signature))
    request = _lists(parties, template, {1, 2, 3, 4}, {5}, signatures=tuple(signatures))
    replies.append({client: parties.answer(client, request)[0] for client in (1, 2, 3)})
    assert _opened(parties, 5, uploaded(parties, messages), replies)


@pytest.mark.parametrize("stage", ["consistency", "unmask"])
@pytest.mark.parametrize("malicious", [True, False])
def test_a_client_is_told_that_it_is_dead(stage: str, malicious: bool) -> None:
    if not malicious and stage == "consistency":
        return
    parties = Parties(5, malicious=malicious)
    request = parties.run_until(stage)[1]
    if stage == "unmask":
        forged = _lists(parties, request, {2, 3, 4, 5}, {1})
    else:
        forged = parties.forge_request(request, survivors=parties.members({2, 3, 4, 5}))
    parties.refuses_and_goes_on(1, forged, "SA-3")


def test_a_client_is_left_out_of_both_lists() -> None:
    parties = Parties(5)
    request = parties.run_until("unmask")[1]
    parties.refuses_and_goes_on(1, _lists(parties, request, {1, 2, 3, 4}, set()), "SA-3")


@pytest.mark.parametrize("stage", ["consistency", "unmask"])
def test_a_client_that_never_shared_is_called_alive(stage: str) -> None:
    parties = Parties(5)
    parties.run_until("share")
    parties.step({4})
    request = parties.run_until(stage)[1]
    if stage == "unmask":
        forged = _lists(parties, request, EVERYBODY, set())
    else:
        forged = parties.forge_request(request, survivors=parties.members(EVERYBODY))
    parties.refuses_and_goes_on(1, forged, "SA-3")


def test_a_client_that_never_shared_is_called_dropped() -> None:
    parties = Parties(5)
    parties.run_until("share")
    parties.step({4})
    request = parties.run_until("unmask")[1]
    parties.refuses_and_goes_on(1, _lists(parties, request, {1, 2, 3, 5}, {4}), "SA-3")

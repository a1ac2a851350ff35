"""Attacks on the list of survivors: two lists; signatures that are too few, forged or misplaced (SA-2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from parties.secagg import Parties

from fedpriv.errors import DecodeError, ProtocolViolation
from fedpriv.secagg.cohort import CONSISTENCY_DOMAIN, consistency_statement
from fedpriv.secagg.messages import encode

EVERYBODY = {1, 2, 3, 4, 5}


def _lists(parties: Parties, request: bytes, survivors: set[int], dropped: set[int], **more: Any) -> bytes:
    """An unmask request with other lists."""
    return parties.forge_request(
        request, survivors=parties.members(survivors), dropped=parties.members(dropped), **more
    )


def test_a_lying_survivor_set_told_to_one_client() -> None:
    # Everyone signed {1..5}; client 1 is then asked as if 3 had dropped, with the true signatures.
    parties = Parties(5)
    request = parties.run_until("unmask")[1]
    parties.refuses_and_goes_on(1, _lists(parties, request, {1, 2, 4, 5}, {3}), "SA-2")


def test_a_lying_survivor_set_from_the_start() -> None:
    # Two groups are shown two lists.  Neither gets t signatures, since 2t > n + a.
    parties = Parties(5, max_colluders=1)
    honest = parties.run_until("consistency")
    template = parties.read_request(Parties(5, max_colluders=1).run_until("unmask")[1])
    all_but_3, everybody = frozenset({1, 2, 4, 5}), frozenset(EVERYBODY)
    shown = {1: all_but_3, 2: all_but_3, 3: everybody, 4: everybody}
    signatures: dict[frozenset[int], list[tuple[int, bytes]]] = {all_but_3: [], everybody: []}
    for client, survivors in shown.items():
        request = parties.forge_request(honest[client], survivors=parties.members(survivors))
        reply = parties.answer(client, request)[0]
        signatures[survivors].append((client, parties.read_reply(reply).signature))
    # Client 5 works for the server and signs both.
    memory = parties.clients[1]._memory
    for survivors, signed in signatures.items():
        statement = consistency_statement(
            memory.session, memory.cohort_hash, memory.sharers, parties.members(survivors)
        )
        signed.append((5, parties.identities[5].sign(CONSISTENCY_DOMAIN, statement)))
        request = encode(msgspec.structs.replace(template, signatures=tuple(signed)))
        request = _lists(parties, request, set(survivors), EVERYBODY - survivors)
        for client in (signer for signer, _ in signed if signer != 5):
            parties.refuses(client, request, "SA-2")


def test_a_second_list_to_sign() -> None:
    parties = Parties(5)
    request = parties.run_until("consistency")[1]
    parties.deliver(1, parties.answer(1))
    for second in (request, parties.forge_request(request, survivors=parties.members({1, 2, 4, 5}))):
        parties.refuses(1, second, "SA-15")
    parties.assert_exact(parties.finish())


@pytest.mark.parametrize("left", [0, 1, 2])
def test_too_few_signatures(left: int) -> None:
    parties = Parties(5)
    request = parties.run_until("unmask")[1]
    signatures = parties.read_request(request).signatures[:left]
    parties.refuses_and_goes_on(1, parties.forge_request(request, signatures=signatures), "SA-2")


@pytest.mark.parametrize(
    "change",
    [
        lambda signatures: {**signatures, 3: bytes(64)},
        lambda signatures: {**signatures, 3: signatures[2]},
        lambda signatures: {**signatures, 9: signatures[2]},
    ],
)
def test_signatures_that_are_forged_borrowed_or_of_strangers(
    change: Callable[[dict[int, bytes]], dict[int, bytes]],
) -> None:
    parties = Parties(5)
    request = parties.run_until("unmask")[1]
    signatures = change(dict(parties.read_request(request).signatures))
    forged = parties.forge_request(request, signatures=tuple(sorted(signatures.items())))
    parties.refuses_and_goes_on(1, forged, "SA-2")


def test_one_signature_counted_twice_is_no_message() -> None:
    parties = Parties(5)
    request = parties.run_until("unmask")[1]
    message = msgspec.msgpack.decode(request)
    message["signatures"] = [message["signatures"][0]] * 3
    with pytest.raises(DecodeError):
        parties.answer(1, msgspec.msgpack.encode(message))
    parties.assert_exact(parties.finish())


def test_signatures_of_another_round_over_the_same_survivors() -> None:
    parties = Parties(5)
    replayed = parties.read_request(parties.run_until("unmask")[1]).signatures
    parties.finish()
    parties.open(4)
    request = parties.run_until("unmask")[1]
    parties.refuses_and_goes_on(1, parties.forge_request(request, signatures=replayed), "SA-2")


def test_signatures_over_another_list_of_those_that_shared() -> None:
    # Clients that were shown different U2 have masks that differ; their signatures do not count together.
    parties = Parties(5, min_survivors=3)
    request = parties.run_until("upload")[1]
    message = parties.read_request(request)
    fewer = tuple((source, sealed) for source, sealed in message.shares if source != 5)
    forged = parties.forge_request(request, sharers=parties.members({1, 2, 3, 4}), shares=fewer)
    parties.deliver(1, parties.answer(1, forged))
    parties.step({5})
    consistency = parties.run_until("consistency")
    signature = parties.read_reply(parties.answer(1, consistency[1])[0]).signature
    reply = parties.answer(2, consistency[2])[0]
    with pytest.raises(ProtocolViolation, match="SA-2"):
        parties.deliver(1, [parties.forge_reply(reply, sender=1, signature=signature)])
    parties.deliver(2, [reply])
    parties.step({1})
    template = parties.server.request(2)
    parties.refuses(1, _lists(parties, template, {1, 2, 3, 4}, set()), "SA-2")
    parties.refuses(1, template, "SA-3")


def test_unmasking_before_the_list_is_signed() -> None:
    parties = Parties(5)
    later = Parties(5).run_until("unmask")[1]
    parties.run_until("consistency")
    parties.refuses_and_goes_on(1, later, "SA-15")


def test_signatures_where_none_belong() -> None:
    parties = Parties(5, malicious=False)
    request = parties.run_until("unmask")[1]
    forged = parties.forge_request(request, signatures=((2, bytes(64)),))
    parties.refuses_and_goes_on(1, forged, "SA-2")


def test_a_client_shown_one_list_to_sign_and_another_to_act_on() -> None:
    # Clients 2 to 5 sign that all are alive.  Client 1 signed a list without 5, and is then shown their list,
    # with four good signatures: it does not act on what it did not sign.
    parties = Parties(5)
    honest = parties.run_until("consistency")
    parties.answer(1, parties.forge_request(honest[1], survivors=parties.members({1, 2, 3, 4})))
    for client in (2, 3, 4, 5):
        parties.deliver(client, parties.answer(client))
    parties.server.advance()
    parties.refuses(1, parties.server.request(2), "SA-2")
    parties.assert_exact(parties.finish())


def test_a_dropped_accomplice_signs_for_the_survivors() -> None:
    # Client 4 never uploaded and signs all the same, to make up the number.
    parties = Parties(5)
    parties.run_until("upload")
    parties.step({4})
    request = parties.run_until("unmask")[1]
    memory = parties.clients[1]._memory
    statement = consistency_statement(memory.session, memory.cohort_hash, memory.sharers, memory.survivors)
    accomplice = parties.identities[4].sign(CONSISTENCY_DOMAIN, statement)
    signatures = dict(parties.read_request(request).signatures)
    forged = tuple(sorted({1: signatures[1], 2: signatures[2], 4: accomplice}.items()))
    parties.refuses_and_goes_on(1, parties.forge_request(request, signatures=forged), "SA-2")

"""Attacks on level secrets: to learn one that is not reached, or to spoil the sum with one (SA-18)."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from parties.attackers import careless, recovered
from parties.secagg import Parties

from fedpriv.crypto.field import PRIME
from fedpriv.secagg import Client, SecAggParams, Vector
from fedpriv.secagg.levels import level_chain, opens_level
from fedpriv.secagg.members import Members

PARAMS = SecAggParams.for_cohort(7, vectors=[Vector("update", 20, 3)], max_colluders=1, levels=(6, 7))
# t = m = 5: level 1 from six survivors, level 2 with all seven.


def _lists(parties: Parties, request: bytes, survivors: set[int], **more: Any) -> bytes:
    dropped = set(parties.server._record.answered["share"]) - survivors
    return parties.forge_request(
        request, survivors=parties.members(survivors), dropped=parties.members(dropped), **more
    )


def _level_shares(parties: Parties, replies: dict[int, bytes], owner: int) -> dict[int, bytes]:
    """What holders revealed of an owner's level secrets."""
    found = {}
    for holder, reply in replies.items():
        for name, kind, share in parties.read_reply(reply).shares:
            if (name, kind) == (owner, "seed") and len(share) > 33:
                found[holder] = share[33:]
    return found


def _held(parties: Parties, holder: int, owner: int, level: int) -> bytes:
    return parties.clients[holder]._memory.held[owner].levels[level - 1]


def _commitment(parties: Parties, owner: int) -> bytes:
    commitment = parties.register.bundles[owner].level_commitment
    assert commitment is not None
    return commitment


def test_a_second_level_is_asked_for() -> None:
    # All seven survive and answer for level 2, which gives level 1 with it.  With six the server would have
    # got level 1 alone: whoever answers for both lists answers twice.
    parties = Parties(params=PARAMS)
    requests = parties.run_until("unmask")
    for client in parties.server.asked:
        parties.deliver(client, parties.answer(client))
        parties.refuses(client, requests[client], "SA-15")
        parties.refuses(client, _lists(parties, requests[client], set(range(1, 8)) - {7}), "SA-15")
    parties.server.advance()
    parties.assert_exact(parties.server.result())


@pytest.mark.parametrize("survivors", [{1, 2, 3, 4, 5, 6}, {1, 2, 3, 4, 5}])
def test_another_level_is_asked_for_with_a_list_that_was_not_signed(survivors: set[int]) -> None:
    parties = Parties(params=PARAMS)
    request = parties.run_until("unmask")[1]
    parties.refuses_and_goes_on(1, _lists(parties, request, survivors), "SA-2")


def test_a_higher_level_is_asked_for_with_a_client_that_dropped_called_alive() -> None:
    parties = Parties(params=PARAMS)
    parties.run_until("upload")
    parties.step({7})
    request = parties.run_until("unmask")[1]
    parties.refuses_and_goes_on(1, _lists(parties, request, set(range(1, 8))), "SA-2")


def test_a_client_that_does_not_look_gives_a_share_for_any_list() -> None:
    # What the check above is worth: without it the server chooses the level with the list.
    def believe(checks: Any, memory: Any, message: Any) -> Members:
        return Members.parse(message.survivors, checks.params.clients)

    parties = Parties(params=PARAMS)
    parties.run_until("upload")
    parties.step({7})
    requests = parties.run_until("unmask")
    shares = {holder: _held(parties, holder, 2, 2) for holder in (1, 2, 3, 4, 5)}
    replies = {}
    for client in (1, 2, 3, 4, 5):
        careless(parties, client, lists=believe)
        forged = _lists(parties, requests[client], set(range(1, 8)))
        replies[client] = parties.answer(client, forged)[0]
    given = _level_shares(parties, replies, 2)
    assert given == shares
    secret = recovered(given)
    assert secret is not None
    assert opens_level(parties.round, 2, 2, secret, _commitment(parties, 2))


def test_an_honest_client_counted_as_alive_that_never_uploaded_reaches_the_level_and_spoils_the_sum() -> None:
    # The server hides from all that 7 was lost.  They sign seven survivors and reveal level 2, and the masks
    # between 7 and them stay on what the server has: the sum over six with the noise of six is not opened.
    parties = Parties(params=PARAMS)
    parties.run_until("upload")
    parties.step({7})
    record = parties.server._record
    record.answered["upload"] = (1, 2, 3, 4, 5, 6, 7)
    parties.server._round._sets.clear()
    assert parties.server.stage == "consistency"
    parties.step()
    result = parties.finish()
    assert (result.level, len(result.level_secrets)) == (2, 7)
    assert not np.array_equal(result.vectors["update"], parties.plain_sum(range(1, 7)))
    assert not np.array_equal(result.vectors["update"], parties.plain_sum(range(1, 8)))


@pytest.mark.parametrize("level", [1, 2])
def test_colluders_below_the_threshold_open_no_level_secret(level: int) -> None:
    # Six survive, and level 1 is recovered.  Four holders, one fewer than t, put their shares together.
    parties = Parties(params=PARAMS)
    mine = {client: party.level_secrets() for client, party in parties.clients.items()}
    parties.run_until("upload")
    parties.step({7})
    parties.run_until("unmask")
    holders = [1, 2, 3, 4]
    shares = {holder: _held(parties, holder, 5, level) for holder in holders}
    enough = {**shares, 6: _held(parties, 6, 5, level)}
    result = parties.finish()
    secret = recovered(shares)
    assert secret is None or not opens_level(parties.round, 5, level, secret, _commitment(parties, 5))
    assert recovered(enough) == mine[5][level - 1]  # what the fifth would be worth
    assert result.level_secrets[5] == mine[5][0] != mine[5][1]


def test_what_is_revealed_has_nothing_of_the_levels_above() -> None:
    parties = Parties(params=PARAMS)
    mine = {client: party.level_secrets() for client, party in parties.clients.items()}
    parties.run_until("upload")
    parties.step({7})
    parties.run_until("unmask")
    above = {_held(parties, h, o, 2) for h in range(1, 7) for o in range(1, 8)}
    of_dropped = {_held(parties, h, 7, level) for h in range(1, 7) for level in (1, 2)}
    sent = b"".join(message for client in parties.server.asked for message in parties.answer(client))
    assert not any(share in sent for share in above | of_dropped)
    assert not any(secret in sent for chain in mine.values() for secret in chain)
    # And s_1 hashes to the commitment, not to s_2.
    assert level_chain(parties.round, 5, mine[5][0], 1)[0] == _commitment(parties, 5)
    assert mine[5][1] not in level_chain(parties.round, 5, mine[5][0], 2)[:-1]


class _Liar(Client):
    """Shares other level secrets than it commits to."""

    def _deal(self, secrets: Any, bundle: Any, cohort: Any) -> Any:
        return super()._deal(msgspec.structs.replace(secrets, level=b"x" * 32), bundle, cohort)


def test_a_dealer_that_commits_to_garbage_keeps_its_excess_and_the_sum_is_exact() -> None:
    parties = Parties(params=PARAMS)
    for liar in (2, 6):
        parties.clients[liar].__class__ = _Liar
    result = parties.finish()
    parties.assert_exact(result)
    assert result.unopened == (2, 6)
    assert sorted(result.level_secrets) == [1, 3, 4, 5, 7]


def _plus_one(share: bytes) -> bytes:
    return share[:33] + ((int.from_bytes(share[33:], "big") + 1) % PRIME).to_bytes(33, "big")


def test_a_holder_that_lies_about_level_shares_keeps_excess_in_the_sum_and_stops_nothing() -> None:
    parties = Parties(params=PARAMS)
    parties.run_until("unmask")
    for client in parties.server.asked:
        reply = parties.answer(client)[0]
        if client == 2:
            shares = parties.read_reply(reply).shares
            forged = [(o, k, _plus_one(s) if o in (1, 4) else s) for o, k, s in shares]
            reply = parties.forge_reply(reply, shares=tuple(forged))
        parties.deliver(client, [reply])
    parties.server.advance()
    result = parties.server.result()
    parties.assert_exact(result)
    assert result.unopened == (1, 4)
    assert sorted(result.level_secrets) == [2, 3, 5, 6, 7]


def test_an_element_that_is_no_secret_is_not_taken_for_one() -> None:
    # Shares of an element above 2^256: the dealer's own polynomial, moved up in every holder's hands.
    parties = Parties(params=PARAMS)
    parties.run_until("unmask")
    record = parties.server._record
    for client in parties.server.asked:
        parties.deliver(client, parties.answer(client))
    held = record.level_shares[3]
    secret = recovered(dict(list(held.items())[:5]))
    assert secret is not None
    move = 2**256 + 5 - int.from_bytes(secret, "big")
    record.level_shares[3] = {
        holder: ((int.from_bytes(share, "big") + move) % PRIME).to_bytes(33, "big")
        for holder, share in held.items()
    }
    parties.server.advance()
    assert parties.server.result().unopened == (3,)
    parties.assert_exact(parties.server.result())

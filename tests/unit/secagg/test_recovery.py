"""What is left on the sum, worked out from shares."""

from __future__ import annotations

from collections.abc import Collection
from itertools import combinations

import pytest
from parties.attackers import SPARSE
from parties.secagg import Parties

from fedpriv.crypto import AgreementKey
from fedpriv.crypto.field import PRIME
from fedpriv.errors import ProtocolViolation, TooFewParties
from fedpriv.secagg.cohort import pair_mask_keys, self_mask_keys
from fedpriv.secagg.members import Members
from fedpriv.secagg.recovery import remaining_masks

Shares = dict[int, dict[int, bytes]]
"""Owner -> holder -> share."""


class _Shared:
    """A cohort that has shared; all that is needed for what comes out of any set of survivors."""

    def __init__(self, parties: Parties) -> None:
        self.parties = parties
        parties.run_until("upload")
        self.secrets = {client: parties.clients[client]._secrets() for client in parties.roster}
        self.register = parties.register
        parties.run_until("consistency")
        self.held = {client: parties.clients[client]._memory.held for client in parties.roster}

    def shares(self, survivors: set[int], silent: Collection[int] = ()) -> Shares:
        """What the survivors reveal."""
        found: Shares = {}
        for holder in sorted(survivors - set(silent)):
            for owner, held in self.held[holder].items():
                found.setdefault(owner, {})[holder] = held.seed if owner in survivors else held.key
        return found

    def masks(self, survivors: set[int], shares: Shares) -> dict[str, list[tuple[bytes, bool]]]:
        parties = self.parties
        return remaining_masks(
            parties.params,
            parties.group,
            parties.round,
            self.register,
            tuple(parties.roster),
            Members.of(survivors, parties.params.clients),
            shares,
        )


@pytest.mark.parametrize("dropped", [set(), {1}, {3}, {5}, {2, 4}])
def test_what_is_left_are_own_masks_and_those_with_the_dropped(dropped: set[int]) -> None:
    shared = _Shared(Parties(5))
    survivors = {1, 2, 3, 4, 5} - dropped
    masks = shared.masks(survivors, shared.shares(survivors))["update"]
    expected = set()
    for owner in survivors:
        (key,) = _own(shared, owner)
        expected.add((key, True))
    for gone in dropped:
        for peer in survivors:
            # The survivor added it where it comes first.
            expected.add((_pair(shared, gone, peer), peer < gone))
    assert set(masks) == expected
    assert len(masks) == len(survivors) * (1 + len(dropped))


def _own(shared: _Shared, owner: int) -> list[bytes]:
    return self_mask_keys(shared.register.hash, shared.secrets[owner].seed, owner, ["update"])


def _pair(shared: _Shared, gone: int, peer: int) -> bytes:
    own = AgreementKey.from_seed(shared.secrets[peer].mask)
    (key,) = pair_mask_keys(shared.register.hash, own, peer, shared.register.bundles[gone], ["update"])
    return key


def test_any_t_of_the_holders_will_do_and_fewer_will_not() -> None:
    shared = _Shared(Parties(5))
    everyone = {1, 2, 3, 4, 5}
    expected = shared.masks(everyone, shared.shares(everyone))
    for silent in combinations(everyone, 2):
        assert shared.masks(everyone, shared.shares(everyone, silent)) == expected
    for silent in ((1, 2, 3), (3, 4, 5)):
        with pytest.raises(TooFewParties, match="2 clients revealed"):
            shared.masks(everyone, shared.shares(everyone, silent))
    with pytest.raises(TooFewParties, match="0 clients revealed"):
        shared.masks(everyone, {})


@pytest.mark.parametrize("owner", [2, 5])
@pytest.mark.parametrize("lie", [1, PRIME - 1, 2**200])
def test_a_false_share_is_noticed_if_it_is_used(owner: int, lie: int) -> None:
    shared = _Shared(Parties(5))
    survivors = {1, 2, 3, 4}
    shares = shared.shares(survivors)
    truth = shares[owner][1]
    shares[owner][1] = ((int.from_bytes(truth, "big") + lie) % PRIME).to_bytes(33, "big")
    with pytest.raises(ProtocolViolation, match=rf"client {owner} .*SA-12"):
        shared.masks(survivors, shares)
    # Of more than t shares those of the smallest identifiers count.
    shares[owner][1] = truth
    shares[owner][4] = bytes(33)
    shared.masks(survivors, shares)


def test_shares_that_give_no_32_bytes_are_a_false_secret() -> None:
    # p is above 2**256: shares can be made for an element that is no secret at all.
    shared = _Shared(Parties(3))
    shares = shared.shares({1, 2, 3})
    for holder in (1, 2):
        shares[2][holder] = (2**256 + 5).to_bytes(33, "big")  # a constant polynomial
    with pytest.raises(ProtocolViolation, match="SA-12"):
        shared.masks({1, 2, 3}, shares)


def test_on_a_sparse_graph_a_dropped_client_without_neighbours_in_the_sum_is_not_recovered() -> None:
    shared = _Shared(Parties(params=SPARSE))
    lonely = 7
    neighbours = set(shared.register.neighbours(lonely))
    survivors = set(shared.parties.roster) - neighbours - {lonely}
    shares = shared.shares(set(shared.parties.roster))
    revealed = {
        owner: {
            holder: getattr(shared.held[holder][owner], "seed" if owner in survivors else "key")
            for holder in holders
        }
        for owner, holders in shares.items()
        if owner != lonely
    }
    masks = shared.masks(survivors, revealed)["update"]
    touching = sum(len(set(shared.register.neighbours(gone)) & survivors) for gone in neighbours)
    assert len(masks) == len(survivors) + touching
    # One neighbour alive, and its secret is missed.
    alive = survivors | {min(neighbours)}
    with pytest.raises(TooFewParties, match="client 7's"):
        shared.masks(alive, {o: {h: _kind(shared, h, o, alive) for h in hs} for o, hs in revealed.items()})


def _kind(shared: _Shared, holder: int, owner: int, alive: set[int]) -> bytes:
    held = shared.held[holder][owner]
    return held.seed if owner in alive else held.key

"""What holds of every way of summing: the same residues for the same vectors, over the same survivors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from fedpriv.aggregation import Aggregator, Ckks, KeyHolder, Masked, Plain
from fedpriv.ckks import CkksParams
from fedpriv.ckks.mode import AUTHORITY
from fedpriv.crypto import Keystream, SigningKey, digest
from fedpriv.errors import TooFewParties, UsageError
from fedpriv.secagg import UPDATE, SecAggParams, Sum, Vector, run_in_process

CLIENTS, BITS, DIMENSION, BOUND, LEAST = 5, 20, 30, 40_000, 3
RUN_ID = bytes(range(16))


def encrypted(mode: str, *, malicious: bool = True) -> Ckks:
    params = CkksParams.for_sum(
        mode=mode,  # type: ignore[arg-type]
        clients=CLIENTS,
        dimension=DIMENSION,
        bound=BOUND,
        min_survivors=LEAST,
        malicious=malicious,
        sums_per_key=2,
    )
    return Ckks(params, BITS)


def masked() -> Masked:
    vectors = [Vector(UPDATE, BITS, DIMENSION)]
    return Masked(SecAggParams.for_cohort(CLIENTS, vectors=vectors, min_survivors=4))


WAYS: Mapping[str, Callable[[], Aggregator]] = {
    "plain": lambda: Plain(CLIENTS, BITS, DIMENSION, threshold=LEAST),
    "masked": masked,
    "ckks, authority": lambda: encrypted("authority"),
    "ckks, threshold": lambda: encrypted("threshold"),
    "ckks, threshold, semi-honest": lambda: encrypted("threshold", malicious=False),
    "ckks, shared-key": lambda: encrypted("shared-key"),
}


class Parties:
    """All parties of a run, with fixed entropy."""

    def __init__(self, aggregator: Aggregator) -> None:
        parties = (*((AUTHORITY,) if aggregator.has_authority else ()), *range(1, CLIENTS + 1))
        keys = {party: SigningKey.from_seed(bytes([party]) * 32) for party in parties}
        roster = {party: key.public for party, key in keys.items()}
        self.aggregator, self.round = aggregator, 0
        self.server = aggregator.server(RUN_ID, roster)
        self.clients = {
            party: aggregator.client(party, RUN_ID, keys[party], roster, _rand(party))
            for party in parties
            if party != AUTHORITY
        }
        self.authority: dict[int, KeyHolder] = {}
        if isinstance(aggregator, Ckks) and aggregator.has_authority:
            held = aggregator.authority(RUN_ID, keys[AUTHORITY], roster, _rand(AUTHORITY))
            self.authority[AUTHORITY] = held

    def sum(self, vectors: Mapping[int, NDArray[np.uint64]], gone: tuple[int, ...] = ()) -> Sum:
        self.round += 1
        context = digest("a round", bytes([self.round]))
        self.server.open_round(self.round, context)
        for holder in self.authority.values():
            holder.open_round(self.round, context)
        for party, client in self.clients.items():
            client.open_round(self.round, context)
            client.set_vectors(vectors[party])
        answering = {**self.clients, **self.authority}
        return run_in_process(self.server, answering, lambda stage, party: party not in gone)


def _rand(party: int) -> Callable[[int], bytes]:
    return Keystream(digest("entropy of a test", bytes([party]))).read


def residues(values: NDArray[np.int64]) -> NDArray[np.uint64]:
    return values.astype(np.int64).view(np.uint64) & np.uint64((1 << BITS) - 1)


def vectors(seed: int) -> dict[int, NDArray[np.int64]]:
    """Random values, and both extremes and zero at every client alike in the first three coordinates."""
    rng = np.random.default_rng(seed)
    found = {c: rng.integers(-BOUND, BOUND + 1, DIMENSION) for c in range(1, CLIENTS + 1)}
    for values in found.values():
        values[:3] = BOUND, -BOUND, 0
    return found


@pytest.mark.parametrize("way", WAYS)
def test_the_sum_of_all_and_of_those_that_stay_is_the_integer_sum_modulo_the_modulus(way: str) -> None:
    parties = Parties(WAYS[way]())
    assert parties.aggregator.name == way.partition(",")[0]
    for seed, gone in enumerate(((), (4,), ())):  # the third makes a new key where two sums used the first up
        values = vectors(seed)
        total = parties.sum({c: residues(v) for c, v in values.items()}, gone)
        stayed = tuple(c for c in values if c not in gone)
        assert total.survivors == stayed
        assert np.array_equal(total.vectors[UPDATE], residues(sum(values[c] for c in stayed)))
        assert total.level == 0
        assert set(total.answered) <= set(parties.aggregator.stages)


@pytest.mark.parametrize("way", WAYS)
def test_too_few_that_stay_give_no_sum_and_the_next_round_goes_on(way: str) -> None:
    parties = Parties(WAYS[way]())
    values = vectors(7)
    sent = {c: residues(v) for c, v in values.items()}
    with pytest.raises(TooFewParties):
        parties.sum(sent, gone=(1, 2, 3))
    assert np.array_equal(parties.sum(sent).vectors[UPDATE], residues(sum(values.values())))


@pytest.mark.parametrize("mode", ["authority", "threshold", "shared-key"])
def test_a_value_beyond_the_bound_or_the_modulus_is_not_encrypted(mode: str) -> None:
    client = Parties(encrypted(mode)).clients[1]
    client.open_round(1, bytes(32))
    with pytest.raises(UsageError, match="beyond the bound"):
        client.set_vectors(residues(np.full(DIMENSION, -BOUND - 1)))
    with pytest.raises(UsageError, match="not below 2"):
        client.set_vectors(np.full(DIMENSION, 1 << BITS, dtype=np.uint64))


def test_who_may_see_single_updates_is_said() -> None:
    assert [WAYS[way]().hides_updates for way in WAYS] == [False, True, True, True, True, False]
    assert Ckks(CkksParams.for_sum(
        mode="shared-key", clients=CLIENTS, dimension=DIMENSION, bound=BOUND, max_colluders=0
    ), BITS).hides_updates  # fmt: skip


def test_only_an_authority_is_an_authority() -> None:
    aggregator = encrypted("threshold")
    with pytest.raises(UsageError, match="the clients hold the key"):
        aggregator.authority(RUN_ID, SigningKey.from_seed(bytes(32)), {}, _rand(0))

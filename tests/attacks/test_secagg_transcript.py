"""A curious server puts together all that it saw with all that its colluders know, over whole rounds.

Nothing but the sum over the honest survivors may follow from it; and the uploads must look like nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from parties.secagg import CONTEXT, Parties, sparse_params
from parties.secagg_adversary import Coalition, Transcript
from scipy import stats

from fedpriv.crypto import add_masks
from fedpriv.encoding.packing import unpack
from fedpriv.secagg import SecAggParams, Vector
from fedpriv.secagg.messages import UploadPart

FATES = ("silent", "late", "unsigned", "mute")
VECTORS = [Vector("update", 20, 2), Vector("weight", 7, 1)]


def patterns(clients: int, most: int, fates: Iterable[str] = FATES) -> Iterator[dict[int, str]]:
    """All ways for at most so many clients to go away."""
    for count in range(most + 1):
        for who in combinations(range(1, clients + 1), count):
            for how in product(tuple(fates), repeat=count):
                yield dict(zip(who, how, strict=True))


def assert_only_totals(transcript: Transcript, coalition: Iterable[int]) -> None:
    """That the coalition can open, of each finished round, the sum over the honest survivors, and no more."""
    members = set(coalition)
    known = Coalition(transcript, members)
    totals = [
        {(number, client): 1 for client in seen.survivors if client not in members}
        for number, seen in transcript.rounds.items()
        if seen.survivors
    ]
    determined = known.determined()
    assert determined == [total for total in totals if total]
    for combination in determined:
        for name in ("update", "weight"):
            assert known.value(combination, name) == transcript_sum(transcript, combination, name)


def transcript_sum(
    transcript: Transcript, combination: Mapping[tuple[int, int], int], name: str
) -> list[int]:
    """A combination of the vectors themselves."""
    bits = next(vector.bits for vector in transcript.params.vectors if vector.name == name)
    rows = [
        [factor * value for value in transcript.rounds[number].vectors[client][name].tolist()]
        for (number, client), factor in combination.items()
    ]
    return [sum(column) % 2**bits for column in zip(*rows, strict=True)]


def coalitions(clients: int, size: int) -> Iterator[tuple[int, ...]]:
    for count in range(size + 1):
        yield from combinations(range(1, clients + 1), count)


def run_all(params: SecAggParams, ways: Iterable[dict[int, str]]) -> None:
    """A round for each way to lose clients, and each coalition of at most a against it."""
    finished = 0
    for seed, fates in enumerate(ways):
        transcript = Transcript(Parties(params=params, seed=seed))
        finished += transcript.run_round(fates)
        for coalition in coalitions(params.clients, params.max_colluders):
            assert_only_totals(transcript, coalition)
    assert finished


def _cohort(clients: int, **choices: Any) -> SecAggParams:
    return SecAggParams.for_cohort(clients, vectors=VECTORS, **choices)


@pytest.mark.parametrize(
    "params",
    [_cohort(5, max_colluders=1), _cohort(4, malicious=False, max_colluders=1)],
    ids=["malicious", "semi-honest"],
)
def test_one_lost_client_in_every_way(params: SecAggParams) -> None:
    run_all(params, patterns(params.clients, 1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("params", "most", "fates"),
    [
        pytest.param(_cohort(5), 2, FATES, id="5"),
        # One more than the limit: then the round ends without a sum, and must not say anything.
        pytest.param(_cohort(5), 3, ("silent", "late"), id="5, too many"),
        pytest.param(_cohort(6, max_colluders=1), 2, FATES[:3], id="6 with 1"),
        pytest.param(_cohort(7, max_colluders=2), 2, ("silent", "late"), id="7 with 2"),
        pytest.param(_cohort(5, malicious=False, max_colluders=2), 2, FATES[:3], id="5 with 2, semi-honest"),
    ],
)
def test_lost_clients_in_every_way(params: SecAggParams, most: int, fates: tuple[str, ...]) -> None:
    run_all(params, patterns(params.clients, most, fates))


def _sparse(count: int, seed: int) -> None:
    params = sparse_params(24, max_colluders=1, vectors=VECTORS)
    rng = np.random.default_rng(seed)
    for number in range(count):
        transcript = Transcript(Parties(params=params, seed=seed + number))
        gone = rng.choice(np.arange(1, 25), size=rng.integers(0, 5), replace=False)
        finished = transcript.run_round({int(client): str(rng.choice(FATES)) for client in gone})
        if number == 0:
            assert finished
        for coalition in coalitions(24, 1):
            assert_only_totals(transcript, coalition)


def test_lost_clients_on_a_sparse_graph() -> None:
    _sparse(1, seed=1)


@pytest.mark.slow
def test_many_ways_to_lose_clients_on_a_sparse_graph() -> None:
    _sparse(15, seed=2)


def _two_rounds(first: dict[int, str], second: dict[int, str], seed: int) -> None:
    params = _cohort(5, max_colluders=1)
    transcript = Transcript(Parties(params=params, seed=seed, prepare=True))
    transcript.run_round(first)
    transcript.parties.open(transcript.parties.round + 1, prepare=True)
    transcript.run_round(second)
    for coalition in coalitions(5, 1):
        assert_only_totals(transcript, coalition)


def test_two_rounds_with_keys_ahead_give_away_two_totals() -> None:
    ways = list(patterns(5, 1))
    for seed in range(0, len(ways) ** 2, 37):
        _two_rounds(ways[seed // len(ways)], ways[seed % len(ways)], seed)


@pytest.mark.slow
def test_two_rounds_with_keys_ahead_in_every_way() -> None:
    ways = list(patterns(5, 1, ("silent", "late")))
    for seed, (first, second) in enumerate(product(ways, repeat=2)):
        _two_rounds(first, second, seed)


def _transcript(fates: dict[int, str], **choices: Any) -> Transcript:
    transcript = Transcript(Parties(params=_cohort(5, **choices), seed=7))
    assert transcript.run_round(fates)
    return transcript


def test_as_many_colluders_as_the_threshold_open_everything() -> None:
    # The argument finds what there is to find: a late vector, which is in no sum, and each of the survivors'.
    transcript = _transcript({5: "late"})
    threshold = transcript.params.threshold
    for coalition in combinations(range(1, 5), threshold):
        known = Coalition(transcript, coalition)
        victims = [(3, client) for client in range(1, 6) if client not in coalition]
        assert known.determined() == [{victim: 1} for victim in victims]
        for victim in victims:
            opened = transcript.rounds[3].vectors[victim[1]]["update"].tolist()
            assert known.value({victim: 1}) == opened
    for coalition in combinations(range(1, 6), threshold - 1):
        assert_only_totals(transcript, coalition)


@pytest.mark.parametrize(("fate", "kind"), [(None, "key"), ("late", "seed")])
def test_shares_of_both_kinds_open_the_victim(fate: str | None, kind: str) -> None:
    # A survivor whose seed of s is given out besides, and a late client called alive to some as well.
    transcript = _transcript({} if fate is None else {2: fate})
    holders = [1, 3, 4, 5][: transcript.params.threshold]
    given = [(3, 2, kind, holder) for holder in holders]
    known = Coalition(transcript, (), given)
    assert {(3, 2): 1} in known.determined()
    assert known.value({(3, 2): 1}) == transcript.rounds[3].vectors[2]["update"].tolist()
    # One share less, and nothing follows from the others.
    assert Coalition(transcript, (), given[1:]).determined() == Coalition(transcript, ()).determined()


def test_a_seed_that_serves_again_opens_the_next_round() -> None:
    # The coalition tries every seed that it has as every key.  Client 2 is late, and its s is recovered; in
    # the next round it comes back with the same one, and now its b is recovered.
    transcript = Transcript(Parties(params=_cohort(5), seed=8, prepare=True))
    assert transcript.run_round({2: "late"})
    parties = transcript.parties
    parties.open(parties.round + 1)
    old, drawn = transcript.secrets[2][0], parties.clients[2]._rand
    seeds = iter((None, old.mask, None))
    parties.clients[2]._rand = lambda count: next(seeds, None) or drawn(count)
    assert transcript.run_round({})
    assert transcript.secrets[2][-1].mask == old.mask
    assert {(parties.round, 2): 1} in Coalition(transcript, ()).determined()


# Uploads against the uniform law.  Each test below makes a few decisions at this level on fixed seeds; with
# fresh ones, a sound implementation would fail one of them with a probability of at most one in a million.
LEVEL = 1e-7

AddMasks = Callable[..., None]


def uploads(
    value: int, bits: int, dimension: int, *, rounds: int = 3, masks: AddMasks = add_masks
) -> NDArray[np.uint64]:
    """The uploads of all clients when everyone gives one value: shape (rounds, clients, dimension)."""
    params = SecAggParams.for_cohort(3, vectors=[Vector("update", bits, dimension)])
    parties = Parties(params=params, seed=bits)
    given = np.full(dimension, value, dtype=np.uint64)
    seen = []
    for number in range(rounds):
        parties.server.open_round(10 + number, CONTEXT)
        for client in parties.clients.values():
            client.open_round(10 + number, CONTEXT)
            client.set_vectors(given)
            client._add_masks = masks
        parties.run_until("upload")
        row = []
        for client in parties.clients:
            part = parties.read_reply(parties.answer(client)[1])
            assert isinstance(part, UploadPart)
            row.append(unpack(part.data, bits, dimension))
        seen.append(row)
    return np.array(seen)


def least_p(values: NDArray[np.uint64], bits: int) -> float:
    """The least p-value of the chi-square tests of uploads, and of what is between any two of them."""
    series = list(values.reshape(-1, values.shape[-1]))
    series += [(one - other) % np.uint64(2**bits) for one, other in combinations(series, 2)]
    found = 1.0
    for residues in series:
        # The highest and the lowest bits, at most eight of each.
        width = min(bits, 8)
        for piece in (residues >> np.uint64(bits - width), residues & np.uint64(2**width - 1)):
            counts = np.bincount(piece.astype(np.int64), minlength=2**width)
            found = min(found, float(stats.chisquare(counts).pvalue))
    return found


@pytest.mark.parametrize("bits", [1, 8, 20, 33, 62])
@pytest.mark.parametrize("high", [False, True], ids=["zeros", "ones"])
def test_uploads_of_the_simplest_vectors_are_uniform(bits: int, high: bool) -> None:
    assert least_p(uploads(high * (2**bits - 1), bits, 4096), bits) > LEVEL / 200


def _none(target: NDArray[Any], masks: Any, *, start: int = 0) -> None:
    """No mask at all."""


def _one_key(target: NDArray[Any], masks: Any, *, start: int = 0) -> None:
    add_masks(target, [(bytes(32), False)], start=start)


def _short(target: NDArray[Any], masks: Any, *, start: int = 0) -> None:
    """A mask that is not as wide as the word."""
    mask = np.zeros_like(target)
    add_masks(mask, masks, start=start)
    target += mask >> 1


@pytest.mark.parametrize("broken", [_none, _one_key, _short])
def test_broken_masks_are_not_uniform(broken: AddMasks) -> None:
    assert least_p(uploads(0, 16, 4096, masks=broken), 16) < LEVEL / 200

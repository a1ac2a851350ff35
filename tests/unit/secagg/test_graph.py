"""The ring in random order: who is whose neighbour."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference import graph as reference
from scipy import stats

from fedpriv.errors import UsageError
from fedpriv.secagg.graph import ring_neighbours

# Chance that a uniform order fails one statistical test; the seeds are fixed, so a run gives one answer.
ERROR_RATE = 1e-6


def seed(number: int) -> bytes:
    return number.to_bytes(32, "big")


@pytest.mark.parametrize(("members", "degree"), [(3, 2), (4, 2), (9, 8), (10, 8), (57, 12), (1000, 52)])
def test_the_neighbours_are_those_of_the_specification(members: int, degree: int) -> None:
    for number in range(3):
        for rank in {0, 1, members // 2, members - 1}:
            expected = reference.neighbours(seed(number), members, degree, rank)
            assert ring_neighbours(seed(number), members, degree, rank) == tuple(expected)


def test_the_example_of_the_specification() -> None:
    assert reference.ring(bytes(32), 10) == [5, 4, 6, 8, 1, 0, 3, 7, 2, 9]
    assert ring_neighbours(bytes(32), 10, 4, 0) == (1, 3, 7, 8)
    assert ring_neighbours(bytes(32), 10, 4, 4) == (5, 6, 8, 9)


@pytest.mark.parametrize(("members", "degree"), [(3, 2), (11, 10), (50, 8), (51, 8)])
def test_neighbours_are_mutual_distinct_others_and_as_many_as_asked_for(members: int, degree: int) -> None:
    found = [ring_neighbours(seed(7), members, degree, rank) for rank in range(members)]
    for rank, others in enumerate(found):
        assert len(set(others)) == len(others) == degree
        assert list(others) == sorted(others)
        assert rank not in others
        assert all(rank in found[other] for other in others)


def test_the_graph_of_a_large_cohort_is_connected_and_regular() -> None:
    members, degree = 20_000, 6
    found = np.array([ring_neighbours(seed(1), members, degree, rank) for rank in range(members)])
    assert (np.bincount(found.ravel(), minlength=members) == degree).all()
    reached, fresh = {0}, {0}
    while fresh:
        fresh = {int(other) for rank in fresh for other in found[rank]} - reached
        reached |= fresh
    assert len(reached) == members


@pytest.mark.parametrize("rank", [0, 5, 39])
def test_marked_clients_among_the_neighbours_follow_the_hypergeometric_law(rank: int) -> None:
    members, degree, draws = 40, 10, 3000
    marked = set(range(1, 13)) if rank != 5 else set(range(20, 32))
    counts = [len(marked & set(ring_neighbours(seed(s), members, degree, rank))) for s in range(draws)]
    law = stats.hypergeom(members - 1, len(marked), degree)
    cells = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, degree + 1)]
    observed = [sum(low <= count < high for count in counts) for low, high in cells]
    expected = [draws * sum(law.pmf(count) for count in range(low, high)) for low, high in cells]
    assert min(expected) > 20
    assert stats.chisquare(observed, expected).pvalue > ERROR_RATE


def test_every_other_client_is_a_neighbour_equally_often() -> None:
    members, degree, draws = 40, 10, 3000
    times = np.zeros(members)
    for s in range(draws):
        times[list(ring_neighbours(seed(s), members, degree, 17))] += 1
    others = np.delete(times, 17)
    share = degree / (members - 1)
    # Draws without replacement: the counts are correlated, which shrinks Pearson's statistic by 1 - share,
    # up to the factor (members - 1) / (members - 2).
    statistic = float(((others - draws * share) ** 2).sum() / (draws * share * (1 - share)))
    statistic *= (members - 2) / (members - 1)
    assert stats.chi2.sf(statistic, members - 2) > ERROR_RATE


def test_another_seed_gives_another_graph() -> None:
    base = ring_neighbours(seed(0), 1000, 20, 3)
    for bit in range(256):
        other = ring_neighbours((1 << bit).to_bytes(32, "big"), 1000, 20, 3)
        assert len(set(base) & set(other)) < 8  # one below 2^-20 is expected 256 times less often


def test_seeds_are_not_mixed_up_when_they_take_turns() -> None:
    expected = {s: reference.neighbours(seed(s), 60, 6, 4) for s in range(9)}
    for _ in range(2):
        for s in range(9):
            assert list(ring_neighbours(seed(s), 60, 6, 4)) == expected[s]
    assert list(ring_neighbours(seed(8), 61, 6, 4)) == reference.neighbours(seed(8), 61, 6, 4)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": bytes(31)},
        {"seed": "0" * 32},
        {"degree": 3},
        {"degree": 0},
        {"degree": -2},
        {"degree": 10},
        {"members": 2},
        {"rank": -1},
        {"rank": 10},
    ],
)
def test_what_is_no_graph_is_refused(changes: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"seed": bytes(32), "members": 10, "degree": 4, "rank": 0, **changes}
    with pytest.raises(UsageError):
        ring_neighbours(**arguments)

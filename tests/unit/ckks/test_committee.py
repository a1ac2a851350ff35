"""The places of a committee: which subsets there are, and the weights that make answers fit together."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest

from fedpriv.ckks.committee import combine, lagrange, leader, subsets, weight, weighted
from fedpriv.ckks.ring_params import RingParams
from fedpriv.errors import UsageError

PRIME = 114689
HOLDERS = (2, 3, 5, 8, 13)  # numbers, not places


@pytest.mark.parametrize(("count", "threshold"), [(1, 1), (3, 1), (3, 2), (5, 3), (5, 4), (5, 5), (9, 5)])
def test_any_t_holders_meet_every_subset_and_t_less_one_miss_exactly_one(count: int, threshold: int) -> None:
    holders = tuple(range(1, count + 1))
    found = subsets(holders, threshold)
    assert len(found) == comb(count, threshold - 1)
    assert list(found) == sorted(found)
    for group in combinations(holders, threshold):
        assert all(set(group) & set(subset) for subset in found)
    for group in combinations(holders, threshold - 1):
        assert sum(not set(group) & set(subset) for subset in found) == 1


@pytest.mark.parametrize("threshold", [1, 2, 4, 5])
def test_the_answers_of_any_t_carry_each_subset_once(threshold: int) -> None:
    # Σ λ_j g_A(j) = g_A(0) = 1: what makes Σ λ_j S_j = s, and the flood the same whoever answers.
    for subset in subsets(HOLDERS, threshold):
        for answering in combinations(HOLDERS, threshold):
            total = sum(
                lagrange(HOLDERS, answering, holder, PRIME) * weight(HOLDERS, subset, holder, PRIME)
                for holder in answering
            )
            assert total % PRIME == 1


def test_a_weight_depends_on_the_place_and_is_zero_outside_the_subset() -> None:
    assert weight(HOLDERS, (2, 3, 5), 8, PRIME) == 0
    assert weight(HOLDERS, (2, 3, 5), 3, PRIME) == weight((1, 2, 3, 4, 5), (1, 2, 3), 2, PRIME)
    # g(x) = (4 - x)(5 - x) / 20 at place 2 is 6 / 20
    assert weight(HOLDERS, (2, 3, 5), 3, PRIME) * 20 % PRIME == 6


def test_combined_answers_are_the_value_at_zero() -> None:
    ring = RingParams.of_bits(4096, 17, 45, 1, 47)
    rng = np.random.default_rng(5)
    polynomials = {subset: rng.integers(-(2**40), 2**40, 4096) for subset in subsets(HOLDERS, 3)}
    answers = {
        holder: weighted(
            ring, HOLDERS, holder, {subset: y for subset, y in polynomials.items() if holder in subset}
        )
        for holder in HOLDERS
    }
    expected = np.sum(list(polynomials.values()), axis=0)
    for group in [(2, 3, 5), (13, 2, 8)]:
        rows = combine(HOLDERS, {holder: answers[holder] for holder in group}, ring.primes)
        for row, prime in zip(rows, ring.primes, strict=True):
            assert np.array_equal(row, (expected % prime).astype(np.uint64))
    short = combine(HOLDERS, {holder: answers[holder] for holder in (2, 3)}, ring.primes)
    assert np.count_nonzero(short[1] == (expected % ring.primes[1]).astype(np.uint64)) == 0


def test_the_leader_is_the_least_member_present() -> None:
    assert leader((2, 3, 5), (3, 5, 8)) == 3
    with pytest.raises(UsageError, match="left"):
        leader((2, 3), (5, 8))


def test_what_is_no_committee_is_refused() -> None:
    for holders in ((), (2, 1), (1, 1)):
        with pytest.raises(UsageError, match="ascending"):
            subsets(holders, 1)
    for threshold in (0, 4):
        with pytest.raises(UsageError, match="threshold"):
            subsets((1, 2, 3), threshold)
    with pytest.raises(UsageError, match="not a holder"):
        weight((1, 2, 3), (1, 2), 4, PRIME)
    with pytest.raises(UsageError, match="each once"):
        lagrange((1, 2, 3), (1, 1), 1, PRIME)
    with pytest.raises(UsageError, match="not a holder"):
        lagrange((1, 2, 3), (1, 4), 1, PRIME)
    with pytest.raises(UsageError, match="no answer"):
        combine((1, 2, 3), {}, (PRIME,))

"""Committees of every size: t holders always agree, t - 1 never know a subset's secret."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.ckks.committee import lagrange, leader, subsets, weight

PRIMES = (114689, 35184371884033)


@st.composite
def committees(draw: st.DrawFn) -> tuple[tuple[int, ...], int]:
    holders = draw(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=9, unique=True))
    return tuple(sorted(holders)), draw(st.integers(1, len(holders)))


@settings(max_examples=150, deadline=None)
@given(committees(), st.sampled_from(PRIMES), st.data())
def test_any_t_answers_carry_each_subset_once(
    committee: tuple[tuple[int, ...], int], prime: int, data: st.DataObject
) -> None:
    holders, threshold = committee
    answering = data.draw(st.permutations(holders))[:threshold]
    subset = data.draw(st.sampled_from(subsets(holders, threshold)))
    total = sum(
        lagrange(holders, answering, holder, prime) * weight(holders, subset, holder, prime)
        for holder in answering
    )
    assert total % prime == 1


@settings(max_examples=150, deadline=None)
@given(committees(), st.data())
def test_t_less_one_holders_miss_one_secret_and_whoever_is_left_can_lead(
    committee: tuple[tuple[int, ...], int], data: st.DataObject
) -> None:
    holders, threshold = committee
    order = data.draw(st.permutations(holders))
    corrupted, present = set(order[: threshold - 1]), order[len(holders) - threshold :]
    found = subsets(holders, threshold)
    assert [set(subset) for subset in found if not corrupted & set(subset)] == [set(holders) - corrupted]
    assert all(leader(subset, present) in subset for subset in found)

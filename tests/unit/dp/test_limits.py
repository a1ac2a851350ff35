"""What is refused, with the reason and what to do instead."""

from __future__ import annotations

import math

import pytest

from fedpriv.dp import check_delta_for_records, check_epsilon, check_relation, check_sampling
from fedpriv.errors import UnsafeParameters, UsageError


@pytest.mark.parametrize("sampling", ["shuffled", "fixed-size", "Poisson", ""])
def test_only_poisson_samples_are_priced_as_such(sampling: str) -> None:
    with pytest.raises(UnsafeParameters, match=r"2403\.17673"):
        check_sampling(sampling)
    check_sampling("poisson")
    check_sampling("none")


def test_replace_one_is_refused_with_what_to_do() -> None:
    with pytest.raises(UnsafeParameters, match="doubling") as refused:
        check_relation("replace-one")
    assert "halve the noise multiplier" in refused.value.hint
    with pytest.raises(UsageError, match="unknown"):
        check_relation("zero-out")
    check_relation("add-or-remove-one")


@pytest.mark.parametrize(("delta", "records"), [(0.01, 100), (0.5, 100), (1e-5, 100_000)])
def test_a_delta_of_one_over_the_records_is_refused(delta: float, records: int) -> None:
    with pytest.raises(UnsafeParameters, match="too large"):
        check_delta_for_records(delta, records)
    check_delta_for_records(0.99 / records, records)
    with pytest.raises(UsageError):
        check_delta_for_records(delta, 0)


@pytest.mark.parametrize("epsilon", [20.0, 1e3, math.inf, math.nan])
def test_a_large_epsilon_needs_an_explicit_word(epsilon: float) -> None:
    with pytest.raises(UnsafeParameters, match="guarantee"):
        check_epsilon(epsilon)
    check_epsilon(epsilon, allow_large=True)
    check_epsilon(19.99)

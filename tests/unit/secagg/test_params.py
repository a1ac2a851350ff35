"""Floors and sizes that are refused before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from fedpriv.errors import UnsafeParameters, UsageError
from fedpriv.secagg import SecAggParams, Session, least_threshold


@pytest.mark.parametrize("clients", range(3, 40))
@pytest.mark.parametrize("colluders", [0, 1, 2, 5])
def test_the_least_threshold_is_the_least_with_2t_above_n_plus_a(clients: int, colluders: int) -> None:
    t = least_threshold(clients, colluders)
    assert 2 * t > clients + colluders >= 2 * (t - 1)


def test_the_cohort_constructor_takes_the_larger_of_both_floors() -> None:
    assert SecAggParams.for_cohort(10, bits=8, dimension=1).threshold == 6
    assert SecAggParams.for_cohort(10, bits=8, dimension=1, min_survivors=3).threshold == 6
    assert SecAggParams.for_cohort(10, bits=8, dimension=1, min_survivors=9).threshold == 9
    assert SecAggParams.for_cohort(10, bits=8, dimension=1, max_colluders=2).max_dropouts == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"clients": 2, "threshold": 2},
        {"clients": 0, "threshold": 1},
        {"threshold": 3},
        {"threshold": 4, "max_colluders": 2},
        {"threshold": 6, "max_colluders": 5},
    ],
)
def test_parameters_that_protect_nobody_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(UnsafeParameters) as refusal:
        SecAggParams(**{"clients": 6, "threshold": 4, "bits": 8, "dimension": 1, **changes})
    assert "SA-9" in refusal.value.hint


@pytest.mark.parametrize(
    "changes",
    [
        {"clients": 1001, "threshold": 600},
        {"threshold": 7},
        {"threshold": 0},
        {"bits": 0},
        {"bits": 63},
        {"dimension": 0},
        {"dimension": 2**31},
        {"max_colluders": -1},
        {"bits": 8.0},
        {"clients": True},
        {"consistency_check": 1},
    ],
)
def test_parameters_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        SecAggParams(**{"clients": 6, "threshold": 4, "bits": 8, "dimension": 1, **changes})


@pytest.mark.parametrize(
    "changes",
    [{"run_id": bytes(15)}, {"run_id": "0" * 16}, {"context": bytes(31)}, {"round": -1}, {"round": 2**63}],
)
def test_sessions_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Session(**{"run_id": bytes(16), "round": 0, "context": bytes(32), **changes})


def test_different_parameters_encode_differently() -> None:
    base = {"clients": 9, "threshold": 7, "bits": 8, "dimension": 5, "max_colluders": 1}
    variants = [{}, {"clients": 8}, {"threshold": 6}, {"bits": 9}, {"dimension": 6}, {"max_colluders": 2}]
    encoded = {SecAggParams(**{**base, **change}).encode() for change in variants}
    encoded.add(SecAggParams(**base, consistency_check=False).encode())
    assert len(encoded) == len(variants) + 1

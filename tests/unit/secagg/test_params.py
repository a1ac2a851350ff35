"""Floors and sizes that are refused before anything runs."""

from __future__ import annotations

from typing import Any

import pytest
from parties.secagg import sparse_params

from fedpriv.encoding.packing import packed_size
from fedpriv.errors import UnsafeParameters, UsageError
from fedpriv.secagg import (
    MAX_CLIENTS,
    Floors,
    SecAggParams,
    Vector,
    graph_parameters,
    least_threshold,
)
from fedpriv.secagg.vectors import PART_VALUES

UPDATE = (Vector("update", 8, 1),)


def _params(**changes: Any) -> SecAggParams:
    """Six clients on the complete graph."""
    base = {"clients": 6, "threshold": 4, "vectors": UPDATE, "max_colluders": 0, "malicious": True}
    return SecAggParams(**{**base, "min_survivors": 4, "degree": 5, **changes})


@pytest.mark.parametrize("colluders", [0, 1, 2, 5])
def test_the_least_threshold_is_the_least_with_2t_above_n_plus_a(colluders: int) -> None:
    for clients in range(3, 40):
        t = least_threshold(clients, colluders)
        assert 2 * t > clients + colluders >= 2 * (t - 1)


def test_a_cohort_gets_the_least_safe_threshold_and_the_floor_it_asks_for() -> None:
    def numbers(clients: int, **more: Any) -> tuple[int, int, int]:
        params = SecAggParams.for_cohort(clients, vectors=UPDATE, **more)
        assert params.complete
        assert params.holders == clients
        return params.threshold, params.min_survivors, params.max_dropouts

    assert numbers(10) == (6, 6, 4)
    assert numbers(10, max_colluders=2) == (7, 7, 3)
    assert numbers(10, min_survivors=9) == (6, 9, 1)
    assert numbers(10, min_survivors=3) == (6, 6, 4)
    assert numbers(10, malicious=False) == (2, 6, 4)
    assert numbers(10, malicious=False, max_colluders=4, min_survivors=3) == (5, 5, 5)
    assert numbers(3) == (2, 2, 1)
    assert numbers(3, max_colluders=1) == (3, 3, 0)


def test_many_devices_get_the_graph_that_the_search_finds() -> None:
    for malicious, adversary in ((True, "semi-malicious"), (False, "curious")):
        params = SecAggParams.for_devices(
            5000, vectors=UPDATE, corrupt=0.05, dropout=0.1, malicious=malicious, grinding_bits=0
        )
        assert not params.complete
        assert params.min_survivors == 4500
        assert params.max_colluders == 250
        assert params.holders == params.degree
        found = graph_parameters(5000, corrupt=0.05, dropout=0.1, adversary=adversary)
        # The server may leave honest ones out, and so raise the share of those that collude.
        assert params.threshold >= found.threshold
        assert params.degree >= found.degree


def test_a_graph_that_can_be_ground_for_costs_a_higher_threshold() -> None:
    def threshold(bits: int) -> tuple[int, int]:
        params = SecAggParams.for_devices(
            2000, vectors=UPDATE, corrupt=0.05, dropout=0.05, grinding_bits=bits
        )
        return params.degree, params.threshold

    assert threshold(0) < threshold(64)
    paid = SecAggParams.for_devices(2000, vectors=UPDATE, corrupt=0.05, dropout=0.05)
    assert (paid.degree, paid.threshold) == threshold(64)
    with pytest.raises(UnsafeParameters, match=r"protect every client|part the others"):
        SecAggParams(
            2000,
            threshold=threshold(0)[1],
            vectors=UPDATE,
            max_colluders=100,
            malicious=True,
            min_survivors=1900,
            degree=threshold(0)[0],
        )


def test_few_devices_get_the_complete_graph() -> None:
    params = SecAggParams.for_devices(20, vectors=UPDATE, corrupt=0.1, dropout=0.1)
    assert params.complete
    assert (params.threshold, params.min_survivors, params.max_colluders) == (12, 18, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"clients": 2, "threshold": 2, "min_survivors": 2, "degree": 1},
        {"clients": 0, "threshold": 1},
        {"threshold": 3},
        {"threshold": 4, "max_colluders": 2},
        {"threshold": 6, "max_colluders": 5, "min_survivors": 6},
        {"malicious": False, "threshold": 1},
        {"malicious": False, "threshold": 3, "max_colluders": 3},
    ],
)
def test_parameters_that_protect_nobody_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UnsafeParameters) as refusal:
        _params(**changes)
    assert "SA-9" in refusal.value.hint


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": 4},
        {"min_survivors": 8},
        {"min_survivors": 8, "malicious": False},
        {"max_colluders": 4},
        {"min_survivors": 16},
    ],
)
def test_a_sparse_graph_that_protects_nobody_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UnsafeParameters):
        sparse_params(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"clients": 1001, "threshold": 600, "min_survivors": 600, "degree": 1000},
        {"clients": MAX_CLIENTS + 1},
        {"clients": 6.0},
        {"clients": True},
        {"threshold": 7},
        {"threshold": 0},
        {"min_survivors": 3},
        {"min_survivors": 7},
        {"max_colluders": -1},
        {"max_colluders": 7},
        {"malicious": 1},
        {"degree": 6},
        {"degree": 1},
        {"degree": 3, "threshold": 2},
        {"grinding_bits": -1},
        {"grinding_bits": 129},
        {"vectors": ()},
        {"vectors": [Vector("update", 8, 1)]},
        {"vectors": (Vector("b", 8, 1), Vector("a", 8, 1))},
        {"vectors": (Vector("a", 8, 1), Vector("a", 9, 1))},
        {"vectors": tuple(Vector(f"v{i:02}", 8, 1) for i in range(17))},
        {"vectors": ("update",)},
    ],
)
def test_parameters_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        _params(**changes)


@pytest.mark.parametrize(
    ("name", "bits", "dimension"),
    [
        ("", 8, 1),
        ("a" * 33, 8, 1),
        ("Update", 8, 1),
        ("a b", 8, 1),
        ("a\n", 8, 1),
        ("ä", 8, 1),
        (b"a", 8, 1),
        ("a", 0, 1),
        ("a", 63, 1),
        ("a", 8.0, 1),
        ("a", True, 1),
        ("a", 8, 0),
        ("a", 8, 2**31),
    ],
)
def test_a_vector_out_of_range_is_refused(name: Any, bits: Any, dimension: Any) -> None:
    with pytest.raises(UsageError):
        Vector(name, bits, dimension)


@pytest.mark.parametrize("bits", [1, 7, 16, 33, 62])
@pytest.mark.parametrize("dimension", [1, PART_VALUES - 1, PART_VALUES, PART_VALUES + 1, 3 * PART_VALUES])
def test_the_parts_of_a_vector_are_the_vector(bits: int, dimension: int) -> None:
    vector = Vector("update", bits, dimension)
    expected = 0
    for start, count in vector.parts:
        assert start == expected
        assert 1 <= count <= PART_VALUES
        expected += count
    assert expected == dimension
    assert sum(packed_size(bits, count) for _, count in vector.parts) == vector.packed_bytes
    assert max(packed_size(bits, count) for _, count in vector.parts) <= 2**21


@pytest.mark.parametrize("clients", [3, 10, 1000])
@pytest.mark.parametrize("largest", [0, 1, 5, 2**20])
@pytest.mark.parametrize("noise", [0, 77])
@pytest.mark.parametrize("signed", [False, True])
def test_the_planned_width_is_the_least_that_no_sum_wraps_in(
    clients: int, largest: int, noise: int, signed: bool
) -> None:
    vector = Vector.for_sum("v", clients=clients, largest=largest, noise=noise, signed=signed)
    most = clients * largest + noise
    fits = -(2 ** (vector.bits - 1)) <= -most and most < 2 ** (vector.bits - 1)
    if signed or noise:
        assert fits
        assert vector.bits == 1 or most >= 2 ** (vector.bits - 2)
    else:
        assert most < 2**vector.bits
        assert vector.bits == 1 or most >= 2 ** (vector.bits - 1)


@pytest.mark.parametrize("changes", [{"largest": -1}, {"largest": 1.5}, {"noise": -1}, {"largest": True}])
def test_a_bound_that_is_none_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Vector.for_sum("v", **{"clients": 5, "largest": 1, **changes})


def test_a_floor_is_met_or_the_plan_is_refused() -> None:
    params = SecAggParams.for_cohort(9, vectors=UPDATE, max_colluders=1, min_survivors=7)
    Floors().check(params)
    Floors(survivors=7, threshold=6, colluders=1).check(params)
    for floors, word in (
        (Floors(survivors=8), "survivors"),
        (Floors(threshold=7), "threshold"),
        (Floors(colluders=2), "colluders"),
    ):
        with pytest.raises(UnsafeParameters, match=word):
            floors.check(params)


def test_different_parameters_encode_differently() -> None:
    base = {"clients": 9, "vectors": (Vector("a", 8, 5),), "max_colluders": 1, "min_survivors": 7}
    variants: list[dict[str, Any]] = [
        {},
        {"clients": 8},
        {"max_colluders": 2},
        {"min_survivors": 8},
        {"malicious": False},
        {"vectors": (Vector("b", 8, 5),)},
        {"vectors": (Vector("a", 9, 5),)},
        {"vectors": (Vector("a", 8, 6),)},
        {"vectors": (Vector("a", 8, 5), Vector("b", 8, 5))},
    ]
    encoded = {SecAggParams.for_cohort(**{**base, **change}).encode() for change in variants}
    sparse = {sparse_params(degree=degree, threshold=6).encode() for degree in (8, 10)}
    thresholds = {_params(threshold=t, min_survivors=5).encode() for t in (4, 5)}
    assert len(encoded | sparse | thresholds) == len(variants) + 4


def test_the_stages_of_each_mode() -> None:
    assert _params().stages == ("advertise", "share", "upload", "consistency", "unmask")
    assert _params(malicious=False, threshold=2).stages == ("advertise", "share", "upload", "unmask")

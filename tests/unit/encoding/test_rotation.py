"""The rotation is orthonormal, invertible, what the specification says, and flattens what is not flat."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from reference import encoding as reference

from fedpriv.crypto import Keystream
from fedpriv.encoding import Rotation, rotated_tail, walsh_hadamard
from fedpriv.errors import UsageError


def drawn(dimension: int, seed: int = 1) -> Rotation:
    return Rotation.draw(dimension, Keystream(seed.to_bytes(32, "little")).words)


@pytest.mark.parametrize("dimension", [1, 2, 3, 4, 5, 7, 8, 31, 63, 64, 65, 100, 129, 200])
def test_the_rotation_is_the_matrix_of_the_specification(dimension: int) -> None:
    m = 1 << (dimension.bit_length() - 1)
    words = [int(w) for w in Keystream(bytes(32)).words(2 * -(-m // 64))]
    matrix = reference.rotation_matrix(dimension, words)
    turn = Rotation.draw(dimension, Keystream(bytes(32)).words)
    columns = np.stack([turn.rotate(row) for row in np.eye(dimension)], axis=1)
    assert np.allclose(columns, matrix, atol=1e-14)
    back = np.stack([turn.inverse(row) for row in np.eye(dimension)], axis=1)
    assert np.allclose(back, matrix.T, atol=1e-14)


@pytest.mark.parametrize("length", [1, 2, 8, 16, 32, 512, 2**13])
def test_the_transform_is_the_matrix_in_both_precisions(length: int) -> None:
    rng = np.random.default_rng(length)
    vector = rng.integers(-1000, 1000, length).astype(np.float64)
    expected = np.zeros(length)
    for row in rng.permutation(length)[:64]:
        signs = np.array([(-1) ** (int(row) & j).bit_count() for j in range(length)])
        expected[row] = signs @ vector
    for dtype in (np.float64, np.float32):
        got = vector.astype(dtype)
        walsh_hadamard(got)
        known = expected != 0
        assert np.array_equal(got[known], expected[known])  # integers below 2^24: both precisions are exact


@pytest.mark.parametrize("length", [2**14, 2**15, 2**18, 2**20])
def test_twice_is_multiplication_by_the_length(length: int) -> None:
    vector = np.random.default_rng(3).integers(-8, 8, length).astype(np.float64)
    twice = vector.copy()
    walsh_hadamard(twice)
    assert twice[0] == vector.sum()
    assert twice[-1] == sum((-1) ** i.bit_count() * v for i, v in enumerate(vector.tolist()))
    walsh_hadamard(twice)
    assert np.array_equal(twice, vector * length)


@pytest.mark.parametrize("dimension", [1, 5, 1000, 2**17, 75_000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_norms_and_inner_products_stay_and_the_inverse_inverts(dimension: int, dtype: type) -> None:
    rng = np.random.default_rng(4)
    one, two = rng.normal(size=(2, dimension)).astype(dtype)
    kept = one.copy()
    turn = drawn(dimension)
    a, b = turn.rotate(one), turn.rotate(two)
    assert np.array_equal(one, kept)
    assert a.dtype == np.float64
    scale = np.linalg.norm(one.astype(float)) * np.linalg.norm(two.astype(float))
    assert abs(a @ a - np.square(one.astype(float)).sum()) <= 2.0**-42 * scale * 2
    assert abs(a @ b - one.astype(float) @ two.astype(float)) <= 2.0**-42 * scale * 2
    assert np.linalg.norm(turn.inverse(a) - one) <= 2.0**-42 * np.linalg.norm(one.astype(float))


def test_a_sum_of_rotated_vectors_turns_back_into_the_sum() -> None:
    rows = np.random.default_rng(5).normal(size=(9, 3000))
    turn = drawn(3000)
    total = np.sum([turn.rotate(row) for row in rows], axis=0)
    assert np.allclose(turn.inverse(total), rows.sum(axis=0), atol=1e-12)


@pytest.mark.parametrize("dimension", [2**12, 5000, 8191])
def test_the_worst_vectors_come_out_within_the_tail(dimension: int) -> None:
    """One spike, a block, a constant and an alternating vector, under 40 rotations: chance 160 * 1e-9."""
    vectors = [np.zeros(dimension) for _ in range(2)] + [np.ones(dimension), (-1.0) ** np.arange(dimension)]
    vectors[0][dimension - 1] = 1.0
    vectors[1][: dimension // 9] = 1.0
    bound = rotated_tail(dimension, 1e-9)
    largest = 0.0
    for seed in range(40):
        turn = drawn(dimension, seed)
        for vector in vectors:
            turned = turn.rotate(vector) / np.linalg.norm(vector)
            largest = max(largest, float(np.abs(turned).max()))
    assert largest <= bound
    assert largest >= 0.4 * bound  # the bound is not idle
    assert bound < 0.2


def test_one_transform_alone_would_leave_a_spike_of_the_last_coordinates() -> None:
    """Why there are two: without the second a vector at the end stays on its coordinate."""
    spike = np.zeros(5000)
    spike[-1] = 1.0
    assert np.abs(drawn(5000).rotate(spike)).max() < 0.1
    once = spike.copy()
    walsh_hadamard(once[:4096])
    assert np.abs(once).max() == 1.0


def test_the_tail_is_hoeffdings_and_never_above_the_norm() -> None:
    assert rotated_tail(2**16, 1e-6) == pytest.approx(math.sqrt(2 * math.log(2 * 2**16 / 1e-6) / 2**16))
    assert rotated_tail(2**17 - 1, 1e-6) == pytest.approx(math.sqrt(2 * math.log((2**18 - 2) / 1e-6) / 2**16))
    assert rotated_tail(3, 1e-6) == 1.0


def test_another_seed_gives_another_rotation() -> None:
    vector = np.arange(1.0, 65.0)
    assert not np.allclose(drawn(64, 1).rotate(vector), drawn(64, 2).rotate(vector))
    assert np.array_equal(drawn(64, 1).rotate(vector), drawn(64, 1).rotate(vector))


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros(3),
        np.zeros(0),
        np.zeros((2, 2)),
        np.zeros(4, np.int64),
        np.zeros(8)[::2],
        np.zeros(4, np.float16),
    ],
)
def test_what_cannot_be_transformed_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(UsageError, match="Walsh-Hadamard"):
        walsh_hadamard(bad)


def test_what_cannot_be_rotated_is_refused() -> None:
    turn = drawn(5)
    for bad in (np.zeros(4), np.zeros((1, 5)), np.zeros(5, np.int64)):
        with pytest.raises(UsageError, match="5 coordinates"):
            turn.rotate(bad)
        with pytest.raises(UsageError, match="5 coordinates"):
            turn.inverse(bad)
    for value in (np.nan, np.inf, 1.7e308):
        with pytest.raises(UsageError, match="NaN"):
            turn.rotate(np.full(5, value))
        with pytest.raises(UsageError, match="NaN"):
            turn.inverse(np.full(5, value))
    with pytest.raises(UsageError, match="dimension"):
        drawn(0)
    with pytest.raises(UsageError, match="signs"):
        Rotation(5, np.zeros((2, 2), np.uint8))
    with pytest.raises(UsageError, match="failure"):
        rotated_tail(5, 0.0)


def test_a_million_coordinates_take_well_under_a_tenth_of_a_second() -> None:
    turn, vector = drawn(1_000_000), np.ones(1_000_000)
    turn.rotate(vector)

    def timed() -> float:
        start = time.process_time()
        turn.rotate(vector)
        return time.process_time() - start

    assert min(timed() for _ in range(5)) < 0.1

"""Public directions: what their signs are, and that sums along them are the gradient on the average."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from fedpriv.errors import UsageError
from fedpriv.peft import Directions, Entry, Manifest, PeftSpec


def by_hand(seed: int, round_: int, number: int, size: int) -> list[int]:
    said = b"fedpriv/peft/choice/1" + seed.to_bytes(8, "little") + round_.to_bytes(8, "little")
    stream = hashlib.shake_256(said + f"directions/{number}".encode()).digest(size)
    return [2 * (stream[i // 8] >> i % 8 & 1) - 1 for i in range(size)]


@pytest.mark.parametrize("size", [1, 7, 8, 64, 65, 200])
def test_signs_are_the_bits_of_the_specification(size: int) -> None:
    directions = Directions(size, 1, seed=2**64 - 1, round_=9)
    assert directions.sign(0).tolist() == by_hand(2**64 - 1, 9, 0, size)


def test_rounds_numbers_and_seeds_have_signs_of_their_own() -> None:
    size = 4096
    signs = [
        Directions(size, 2, seed=seed, round_=round_).sign(number)
        for seed in (0, 1)
        for round_ in (1, 2)
        for number in (0, 1)
    ]
    products = np.array([[one.astype(int) @ other for other in signs] for one in signs])
    assert (np.diag(products) == size).all()
    # A product of independent signs has a deviation of 64: six of them, in 28 pairs, once in 10 million.
    assert np.abs(products - size * np.eye(8)).max() < 6 * 64


def test_a_gradient_is_the_sum_of_the_directions_by_their_slopes() -> None:
    directions = Directions(50, 3, seed=4, round_=2)
    slopes = np.array([0.5, -2.0, 3.0])
    expected = [sum(slopes[j] * by_hand(4, 2, j, 50)[i] for j in range(3)) / np.sqrt(3.0) for i in range(50)]
    values, places = directions.gradient(slopes)
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    assert places is None
    assert directions.moves() is None
    gradient = np.arange(100.0).reshape(2, 50)
    taken = [[row @ np.array(by_hand(4, 2, j, 50)) / np.sqrt(3.0) for j in range(3)] for row in gradient]
    np.testing.assert_allclose(directions.take(gradient), taken, rtol=1e-12)


def test_on_the_average_over_rounds_it_is_the_gradient() -> None:
    gradient, rounds, count = np.random.default_rng(1).standard_normal(30), 4000, 4
    total = np.zeros(30)
    for round_ in range(rounds):
        directions = Directions(30, count, seed=3, round_=round_)
        slopes = np.array([gradient @ signs for signs in directions.each()]) / np.sqrt(count)
        total += directions.spread(slopes)
    # A coordinate of one round has a variance of (|g|^2 - g_i^2) / k; six deviations, thirty coordinates.
    room = 6 * np.sqrt((gradient @ gradient - gradient**2) / count / rounds)
    assert (np.abs(total / rounds - gradient) < room).all()


@pytest.mark.parametrize(("size", "width"), [(5, 0), (5, 6)])
def test_more_directions_than_weights_or_none_are_refused(size: int, width: int) -> None:
    with pytest.raises(UsageError, match="directions do not fit"):
        Directions(size, width)


def test_no_client_has_a_part_of_them() -> None:
    with pytest.raises(UsageError, match="the whole model"):
        Directions(5, 2).of_client(np.ones(5, dtype=np.bool_))


def test_fedkseed_sends_no_more_numbers_than_the_model_has() -> None:
    manifest = Manifest((Entry("weight", (2, 3)),))
    for directions, width in ((4, 4), (100, 6)):
        spec = PeftSpec("fedkseed", directions=directions)
        assert spec.kind.width(manifest, spec) == width

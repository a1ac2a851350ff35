"""Noise in components: its law, and that what is taken away is what was added."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from fedpriv.crypto import Keystream
from fedpriv.dp import NoisePlan, Words, noise_components, removal_levels, skellam
from fedpriv.errors import UsageError

N, T, C, SIZE = 12, 7, 1, 60_000


def words(*name: int) -> Words:
    return Keystream(bytes(name).ljust(32, b"-")).words


def plan(multiplier: float = 0.9, sensitivity: int = 2**20) -> NoisePlan:
    levels = removal_levels(clients=N, min_survivors=T, max_colluders=C)
    return NoisePlan("distributed", N, T, C, multiplier, sensitivity, SIZE, 0.1, levels=levels)


def share(p: NoisePlan, client: int) -> NDArray[np.int64]:
    return noise_components(p.components, [words(client, k) for k in range(len(p.components))], p.dimension)


def removed(p: NoisePlan, client: int, level: int) -> NDArray[np.int64]:
    sources = [words(client, k) for k in range(1, level + 1)]
    return noise_components(p.components[1 : level + 1], sources, p.dimension)


def test_a_share_is_the_sum_of_its_components_and_removal_leaves_those_above() -> None:
    p = plan()
    parts = [skellam(v, SIZE, words(4, k)) for k, v in enumerate(p.components)]
    whole = share(p, 4)
    assert np.array_equal(whole, np.sum(parts, axis=0))
    for level in range(len(p.levels) + 1):
        kept = parts[0] + np.sum(parts[level + 1 :], axis=0, dtype=np.int64)
        assert np.array_equal(whole - removed(p, 4, level), kept)


@pytest.mark.parametrize("survivors", range(T, N + 1))
def test_the_noise_left_in_a_sum_has_the_planned_variance_at_every_number_of_survivors(
    survivors: int,
) -> None:
    # Relative standard deviation of a sample variance: sqrt(2 / N); five of them fail on right code with
    # probability below 6e-7 a case.
    p = plan()
    level = p.level(survivors)
    noise = np.zeros(SIZE, dtype=np.int64)
    for client in range(1, survivors + 1):
        noise += share(p, client) - removed(p, client, level)
    room = 5 * np.sqrt(2 / SIZE)
    assert abs(noise.var() / p.sum_variance(survivors) - 1) < room
    honest = noise.var() * (survivors - C) / survivors
    needed = float((Fraction(p.noise_multiplier) * p.sensitivity) ** 2)
    assert 1 - room < honest / needed < 1.05 + 2 * room


def test_what_stays_does_not_depend_on_what_is_revealed() -> None:
    # Correlation of N independent pairs has standard deviation 1 / sqrt(N); five of them, below 6e-7 a case.
    p = plan()
    for level in range(1, len(p.levels) + 1):
        gone = removed(p, 3, level)
        kept = share(p, 3) - gone
        assert abs(np.corrcoef(gone, kept)[0, 1]) < 5 / np.sqrt(SIZE)


def test_the_wrong_secret_takes_nothing_away() -> None:
    p, level = plan(), len(plan().levels)
    left = (share(p, 3) - removed(p, 4, level)).var()
    assert left > p.share_variance


def test_small_variances_are_exact_too() -> None:
    # The law of a sum of components is that of one draw: chi-square over the values -6..6, 12 degrees of
    # freedom; 60 is exceeded with probability 2e-8.
    from fedpriv.dp.skellam_law import integer_weights, tail_radius

    variances = [3, 2, 1]
    drawn = noise_components(variances, [words(9, k) for k in range(3)], 40_000)
    weights, radius = integer_weights(6, 128), tail_radius(6)
    expected = np.array([weights[radius + k] / 2**128 for k in range(-6, 7)]) * drawn.size
    seen = np.array([(drawn == k).sum() for k in range(-6, 7)])
    tail, rest = (np.abs(drawn) > 6).sum(), drawn.size - expected.sum()
    assert ((seen - expected) ** 2 / expected).sum() + (tail - rest) ** 2 / rest < 60


@pytest.mark.parametrize(("variances", "count"), [([1, 2], 1), ([], 1)])
def test_each_component_has_a_source(variances: list[int], count: int) -> None:
    with pytest.raises(UsageError, match="sources"):
        noise_components(variances, [words(k) for k in range(count)], 3)


def test_no_components_are_no_noise() -> None:
    assert noise_components([], [], 3).tolist() == [0, 0, 0]
    with pytest.raises(UsageError, match="-1"):
        noise_components([], [], -1)

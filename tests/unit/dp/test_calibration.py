"""Every direction of the calibration: inside the budget, and not further inside than its rounding."""

from __future__ import annotations

import math

import pytest

from fedpriv.dp import (
    batch_for,
    epsilon_for,
    frontier,
    noise_multiplier,
    rounds_for,
    sampling_rate_for,
)
from fedpriv.errors import UnsafeParameters, UsageError

N = 10_630


@pytest.mark.parametrize(
    ("epsilon", "batch", "rounds", "sigma"),
    [
        pytest.param(1, 512, 50, 1.651),
        pytest.param(3, 512, 50, 0.935),
        pytest.param(8, 512, 50, 0.620, marks=pytest.mark.slow),
        pytest.param(1, 1024, 60, 3.056),
        pytest.param(3, 1024, 60, 1.388, marks=pytest.mark.slow),
        pytest.param(8, 1024, 60, 0.820, marks=pytest.mark.slow),
    ],
)
def test_reference_noise_multipliers(epsilon: float, batch: int, rounds: int, sigma: float) -> None:
    z = noise_multiplier(epsilon, 1e-5, batch / N, rounds)
    assert z == pytest.approx(sigma, abs=1.01e-3)
    assert float(f"{z:.4g}") == z
    assert epsilon_for(z, batch / N, rounds, 1e-5) <= epsilon
    one_less = z - 10.0 ** -(3 if z >= 1 else 4)
    assert epsilon_for(one_less, batch / N, rounds, 1e-5) > epsilon


@pytest.mark.slow
@pytest.mark.parametrize(
    ("epsilon", "delta", "rate", "rounds"),
    [(0.05, 1e-6, 0.01, 200), (1.0, 1e-5, 1.0, 30), (0.5, 1e-8, 0.001, 1000), (3.0, 1e-5, 0.01, 2000)],
)
@pytest.mark.parametrize("method", ["pld", "rdp"])
def test_the_answer_is_the_least_on_its_grid(
    epsilon: float, delta: float, rate: float, rounds: int, method: str
) -> None:
    z = noise_multiplier(epsilon, delta, rate, rounds, method=method)  # type: ignore[arg-type]
    spent = epsilon_for(z, rate, rounds, delta, method=method)  # type: ignore[arg-type]
    assert 0.99 * epsilon < spent <= epsilon
    assert noise_multiplier(epsilon, delta, rate, rounds, method="rdp") >= z


def test_rounds_are_the_most_that_fit() -> None:
    z, rate = 0.9351, 512 / N
    rounds = rounds_for(3.0, 1e-5, z, rate)
    assert epsilon_for(z, rate, rounds, 1e-5) <= 3.0 < epsilon_for(z, rate, rounds + 1, 1e-5)
    assert rounds_for(3.0, 1e-5, z, rate, method="rdp") < rounds
    assert rounds_for(0.1, 1e-5, 0.5, 0.5) == 0


def test_the_sampling_rate_is_the_largest_that_fits() -> None:
    rate = sampling_rate_for(3.0, 1e-5, 0.9351, 50)
    assert epsilon_for(0.9351, rate, 50, 1e-5) <= 3.0 < epsilon_for(0.9351, rate * 1.0005, 50, 1e-5)
    assert sampling_rate_for(8.0, 1e-5, 100.0, 10) == 1.0


@pytest.mark.parametrize(("z", "records"), [(2.0, 37), pytest.param(0.9351, N, marks=pytest.mark.slow)])
def test_the_batch_is_the_largest_that_fits(z: float, records: int) -> None:
    batch = batch_for(3.0, 1e-5, z, 20, records)
    assert 0 < batch < records
    assert epsilon_for(z, batch / records, 20, 1e-5) <= 3.0
    assert epsilon_for(z, (batch + 1) / records, 20, 1e-5) > 3.0


def test_a_batch_of_all_records_or_of_none() -> None:
    assert batch_for(8.0, 1e-5, 100.0, 10, records=3) == 3
    assert batch_for(0.1, 1e-5, 5.0, 1, records=1) == 0
    with pytest.raises(UsageError, match="records"):
        batch_for(1.0, 1e-5, 1.0, 10, records=0)


def test_every_point_of_the_frontier_is_inside_its_budget_and_near_the_least_noise() -> None:
    points = frontier([1.0, 8.0], [10, 200], 0.05, 1e-5)
    assert [(point.rounds, point.epsilon) for point in points] == [(10, 1), (10, 8), (200, 1), (200, 8)]
    for point in points:
        assert epsilon_for(point.noise_multiplier, 0.05, point.rounds, 1e-5, interval=1e-3) <= point.epsilon
        lower = 0.985 * point.noise_multiplier
        assert epsilon_for(lower, 0.05, point.rounds, 1e-5, interval=1e-3) > point.epsilon


def test_a_frontier_says_where_no_noise_is_enough_and_what_it_cannot_do() -> None:
    assert frontier([1e-4], [10_000], 1.0, 1e-9)[0].noise_multiplier == math.inf
    assert frontier([1.0], [10], 1.0, 1e-5)[0].noise_multiplier == pytest.approx(11.9)
    for epsilons, rounds, rate in (
        ([0.0], [1], 0.1),
        ([1.0], [0], 0.1),
        ([1.0], [1], 0.0),
        ([1.0] * 257, [1], 0.1),
    ):
        with pytest.raises(UsageError):
            frontier(epsilons, rounds, rate, 1e-5)


def test_a_budget_that_no_noise_can_meet_is_refused() -> None:
    with pytest.raises(UnsafeParameters, match="noise multiplier"):
        noise_multiplier(1e-4, 1e-9, 1.0, 10_000)


@pytest.mark.parametrize(
    ("epsilon", "delta", "rate", "rounds"),
    [
        (0, 1e-5, 0.1, 1),
        (1, 0, 0.1, 1),
        (1, 1, 0.1, 1),
        (1, 1e-5, 0, 1),
        (1, 1e-5, 1.1, 1),
        (1, 1e-5, 0.1, 0),
    ],
)
def test_parameters_are_checked(epsilon: float, delta: float, rate: float, rounds: int) -> None:
    with pytest.raises(UsageError):
        noise_multiplier(epsilon, delta, rate, rounds)


def test_methods_that_under_report_are_not_offered() -> None:
    with pytest.raises(UsageError, match="gdp"):
        epsilon_for(1.0, 0.1, 10, 1e-5, method="gdp")  # type: ignore[arg-type]

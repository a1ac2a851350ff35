"""The curve's bound against a linear program, the Gaussian bound, and mechanisms that keep their curve."""

from __future__ import annotations

import math

import numpy as np
import pytest
from reference import audit as reference
from scipy import stats
from scipy.special import ndtr

from fedpriv.audit import TradeOff, chance_bound, epsilon_lower_bound, gaussian_delta, mu_lower_bound
from fedpriv.errors import UsageError


def gaussian(mu: float) -> TradeOff:
    return TradeOff.of(lambda epsilon: gaussian_delta(mu, epsilon))


@pytest.mark.parametrize(("guesses", "right", "canaries"), [(9, 9, 9), (12, 11, 24), (16, 14, 16)])
def test_the_chance_is_what_the_linear_program_finds(guesses: int, right: int, canaries: int) -> None:
    # The curve is made of 90 tangents, the program's of 600: a little weaker, and never stronger.
    exact = reference.largest_tail(guesses, right, canaries, 0.8)
    assert exact - 1e-4 < chance_bound(gaussian(0.8), guesses, right, canaries) < exact * 1.02 + 1e-6


def test_a_gaussian_curve_is_refuted_just_below_the_least_mu_that_is_not() -> None:
    least = mu_lower_bound(200, 170, 1000, 0.95)
    assert least > 0.1
    assert chance_bound(gaussian(least * 0.95), 200, 170, 1000) < 0.05
    assert chance_bound(gaussian(least * 1.001), 200, 170, 1000) > 0.05


def test_a_curve_lets_at_most_the_tests_through_that_its_pairs_allow() -> None:
    # Against the exact trade-off curve of N(0, 1) and N(mu, 1): no stronger, and close.
    for power in (0.05, 0.3, 0.7, 0.999):
        exact = float(ndtr(stats.norm.ppf(power) - 1.3))
        assert exact - 2e-3 < gaussian(1.3).least_error(power) <= exact + 1e-12
    assert gaussian(1.3).least_error(0.0) == 0.0


@pytest.mark.parametrize("mu", [0.5, 2.0])
def test_a_mechanism_on_its_curve_is_wrongly_refuted_in_at_most_a_twentieth_of_runs(mu: float) -> None:
    # Coin plus N(0, 1 / mu^2), guessed by the nearer value.  The chance is a finite sum, not a sample.
    canaries, curve = 120, gaussian(mu)
    law = stats.binom(canaries, ndtr(mu / 2))
    wrong = sum(
        float(law.pmf(right))
        for right in range(canaries // 2, canaries + 1)
        if law.pmf(right) > 1e-9 and chance_bound(curve, canaries, right, canaries) <= 0.05
    )
    assert wrong <= 0.05


def test_the_curve_refutes_where_one_pair_cannot() -> None:
    # Every one of 1,000 guesses right: (8, 1e-5) stands, the Gaussian mechanism of that epsilon falls.
    mu = 1.666
    assert 7.99 < next(e for e in np.arange(0.0, 20.0, 1e-3) if gaussian_delta(mu, e) <= 1e-5) < 8.01
    assert epsilon_lower_bound(1000, 1000, 1000, 1e-5) < 6.0
    assert chance_bound(gaussian(mu), 1000, 1000, 1000) < 0.01


def test_more_right_guesses_are_never_likelier() -> None:
    found = [chance_bound(gaussian(1.0), 100, right, 400) for right in range(0, 101, 5)]
    assert found == sorted(found, reverse=True)
    assert found[0] == 1.0
    assert found[-1] < 0.05


def test_impossible_counts_and_curves_are_refused() -> None:
    for counts in ((10, 11, 20), (30, 10, 20), (0, 0, 0), (10, -1, 20)):
        with pytest.raises(UsageError):
            chance_bound(gaussian(1.0), *counts)
    for pairs in (((), ()), ((1.0,), ()), ((-1.0,), (0.1,)), ((1.0,), (1.1,)), ((math.inf,), (0.1,))):
        with pytest.raises(UsageError):
            TradeOff(*pairs)

"""The two bounds against exact sums, a linear program, and mechanisms whose ε is known."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from reference import audit as reference
from scipy import stats
from scipy.special import ndtr

from fedpriv.audit import epsilon_lower_bound, epsilon_lower_bound_fdp, gaussian_delta, mu_lower_bound
from fedpriv.dp import delta_pld
from fedpriv.dp.events import PoissonGaussian
from fedpriv.errors import UsageError

CASES = [(10, 9, 10), (25, 23, 40), (40, 40, 40), (40, 31, 200)]


@pytest.mark.parametrize("delta", [Fraction(0), Fraction(1, 10**5), Fraction(1, 1000)])
@pytest.mark.parametrize(("guesses", "right", "canaries"), CASES)
def test_the_binomial_bound_is_where_the_exact_chance_reaches_a_twentieth(
    guesses: int, right: int, canaries: int, delta: Fraction
) -> None:
    epsilon = epsilon_lower_bound(guesses, right, canaries, float(delta))
    assert epsilon > 0.3

    def chance(at: float) -> float:
        q = Fraction(1 / (1 + math.exp(-at)))
        return float(reference.binomial_p_value(guesses, right, canaries, q, delta))

    assert chance(epsilon - 1e-6) <= 0.05 <= chance(epsilon + 1e-6)


@pytest.mark.parametrize(("guesses", "right", "canaries"), [(9, 9, 9), (12, 11, 24), (16, 14, 16)])
def test_the_recursion_refutes_exactly_what_the_linear_program_finds_impossible(
    guesses: int, right: int, canaries: int
) -> None:
    mu = mu_lower_bound(guesses, right, canaries, 0.95)
    assert mu > 0.2
    assert reference.largest_tail(guesses, right, canaries, mu - 0.01) < 0.05
    assert reference.largest_tail(guesses, right, canaries, mu + 0.01) > 0.05


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("canaries", [40, 300])
def test_randomised_response_is_wrongly_refuted_in_at_most_a_twentieth_of_runs(
    epsilon: float, canaries: int
) -> None:
    # Every coin is published, flipped with probability 1 / (1 + e^eps): pure eps-DP, where the bound is
    # tight.  The chance is a finite sum, not a sample.
    law = stats.binom(canaries, 1 / (1 + math.exp(-epsilon)))
    wrong = sum(
        float(law.pmf(right))
        for right in range(canaries // 2, canaries + 1)
        if epsilon_lower_bound(canaries, right, canaries, 0.0) > epsilon
    )
    assert wrong <= 0.05
    if canaries == 300:
        assert wrong > 0.02  # what a bound that is merely low would not reach


@pytest.mark.parametrize("mu", [0.5, 2.0])
def test_a_gaussian_mechanism_is_wrongly_refuted_in_at_most_a_twentieth_of_runs(mu: float) -> None:
    # Coin plus N(0, 1 / mu^2), guessed by the nearer value: right with probability Phi(mu / 2).
    canaries, delta = 120, 1e-4
    law = stats.binom(canaries, ndtr(mu / 2))
    true = next(x for x in np.arange(0.0, 20.0, 1e-3) if gaussian_delta(mu, x) <= delta)
    wrong = {"mu": 0.0, "any": 0.0, "fdp": 0.0}
    for right in range(canaries // 2, canaries + 1):
        chance = float(law.pmf(right))
        if chance < 1e-9:
            continue
        wrong["mu"] += chance * (mu_lower_bound(canaries, right, canaries) > mu)
        wrong["any"] += chance * (epsilon_lower_bound(canaries, right, canaries, delta) > true)
        wrong["fdp"] += chance * (epsilon_lower_bound_fdp(canaries, right, canaries, delta) > true)
    assert max(wrong.values()) <= 0.05


def test_the_figures_of_a_gaussian_mechanism_of_known_epsilon() -> None:
    assert epsilon_lower_bound(64, 64, 1000, 1e-5) == pytest.approx(3.010, abs=2e-3)
    assert epsilon_lower_bound_fdp(64, 64, 1000, 1e-5) == pytest.approx(4.569, abs=2e-3)


@pytest.mark.parametrize(("mu", "epsilon"), [(0.3, 0.5), (1.0, 4.377)])
def test_the_gaussian_curve_is_the_accountants(mu: float, epsilon: float) -> None:
    accountant = delta_pld([(PoissonGaussian(1 / mu, 1.0), 1)], epsilon)
    assert gaussian_delta(mu, epsilon) == pytest.approx(accountant, rel=2e-3)
    assert gaussian_delta(mu, epsilon) <= accountant


def test_more_right_guesses_never_lower_a_bound() -> None:
    for bound in (epsilon_lower_bound, epsilon_lower_bound_fdp):
        found = [bound(100, right, 400, 1e-5) for right in range(0, 101, 5)]
        assert found == sorted(found)
        assert found[0] == found[10] == 0.0 < found[-1]


@pytest.mark.parametrize(
    ("guesses", "right", "canaries", "delta", "confidence"),
    [
        (10, 11, 20, 1e-5, 0.95),
        (30, 10, 20, 1e-5, 0.95),
        (0, 0, 0, 1e-5, 0.95),
        (10, -1, 20, 1e-5, 0.95),
        (10, 9, 20, -1e-5, 0.95),
        (10, 9, 20, 0.03, 0.95),
        (10, 9, 20, 1e-5, 1.0),
        (10, 9, 20, 1e-5, 0.05),
    ],
)
def test_impossible_counts_are_refused(
    guesses: int, right: int, canaries: int, delta: float, confidence: float
) -> None:
    with pytest.raises(UsageError):
        epsilon_lower_bound(guesses, right, canaries, delta, confidence)


def test_the_gaussian_bound_needs_a_delta() -> None:
    with pytest.raises(UsageError, match="delta"):
        epsilon_lower_bound_fdp(10, 9, 20, 0.0)

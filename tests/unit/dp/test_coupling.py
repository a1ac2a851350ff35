"""The bound between Skellam and rounded Gaussian noise is never below the truth, and near it."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from reference import dp as reference

from fedpriv.dp import hellinger_squared, skellam_gaussian_tv
from fedpriv.dp.skellam_law import integer_weights, log_ratio, log_ratio_error, precise_ratio, tail_radius
from fedpriv.errors import UsageError


@pytest.mark.parametrize(
    "log2",
    [0, 1, 2, 4, 6, 8, 9, 10, 12, 24, *(pytest.param(n, marks=pytest.mark.slow) for n in (16, 20, 30, 40))],
)
def test_the_bound_is_above_the_exact_distance_and_within_half_of_it(log2: int) -> None:
    variance = 2**log2
    sigma = math.isqrt(variance)
    radius = 12 * sigma + 30
    tv, kl, hellinger = reference.exact_distances(variance, radius, stride=max(1, sigma // 8))
    bound = hellinger_squared(variance)
    assert hellinger <= bound <= 1.55 * hellinger
    assert tv <= skellam_gaussian_tv(variance, 1)
    if log2 >= 12:  # the limits stated in the specification
        assert kl * variance**2 == pytest.approx(26 / 1152, rel=2e-3)
        assert hellinger * variance**2 == pytest.approx(26 / 2304, rel=2e-3)


def test_below_the_proven_range_the_sum_itself_is_bounded() -> None:
    for variance in (1, 3, 77, 1023):
        exact = reference.exact_distances(variance, 14 * math.isqrt(variance) + 60)[2]
        assert exact <= hellinger_squared(variance) <= exact * (1 + 1e-6) + 1e-20


def test_the_bound_for_many_coordinates_holds_for_the_product_law() -> None:
    # d = 3 at variance 4, where the product can be summed outcome by outcome.
    radius = 25
    p = np.array([float(reference.skellam_pmf(abs(k), 4)) for k in range(-radius, radius + 1)])
    q = np.array([float(reference.rounded_gaussian_pmf(k, 4)) for k in range(-radius, radius + 1)])
    exact = 0.5 * np.abs(np.einsum("i,j,k", p, p, p) - np.einsum("i,j,k", q, q, q)).sum()
    assert exact <= skellam_gaussian_tv(4, 3)


@pytest.mark.parametrize("variance", [2**10, 2**14, 2**20])
def test_each_step_of_the_proof_holds_pointwise(variance: int) -> None:
    """|ln P/Q - (t^4 - 7 t^2 + 4) / (24 mu)| <= R(t) / mu^2 within the proof's range of t."""
    tau = math.sqrt(4 * math.log(variance) + 16)
    sigma = math.sqrt(variance)
    with mpmath.workdps(60):
        for t in np.linspace(0, tau, 60):
            k = int(t * sigma)
            s = k / sigma
            ratio = mpmath.log(
                reference.skellam_inversion(k, variance) / reference.rounded_gaussian_pmf(k, variance)
            )
            rest = float(ratio - mpmath.mpf(s**4 - 7 * s**2 + 4) / (24 * variance))
            assert abs(rest) * variance**2 <= s**6 / 80 + 0.1261 * s**4 + 0.4945 * s**2 + 0.125


@pytest.mark.parametrize("variance", [1, 2, 9, 1000])
def test_integer_weights_are_the_law(variance: int) -> None:
    bits = 160
    weights = integer_weights(variance, bits)
    radius = tail_radius(variance)
    assert sum(weights) == 1 << bits
    assert weights == weights[::-1]
    for k in {0, 1, 2, radius // 3, radius // 2}:
        with mpmath.workdps(60):
            exact = reference.skellam_pmf(k, variance)
            error = abs(mpmath.mpf(weights[radius + k]) / 2**bits - exact)
            assert error <= (2 * radius + 2) * mpmath.mpf(2) ** -bits + exact * mpmath.mpf(2) ** -129


@pytest.mark.parametrize("variance", [1, 5, 2**18, 2**33 + 1, 2**42, 2**60])
def test_precise_and_fast_ratios_agree_with_the_inverted_characteristic_function(variance: int) -> None:
    for t in (0.0, 0.7, 3.0, 9.0, 13.5):
        k = int(t * math.isqrt(variance)) + 1
        with mpmath.workdps(100):
            exact = reference.skellam_inversion(k, variance) / reference.skellam_inversion(0, variance)
            ours = precise_ratio(k, variance)
            assert abs(mpmath.mpf(ours.numerator) / ours.denominator / exact - 1) < mpmath.mpf(2) ** -180
            if variance >= 2**18:
                fast = log_ratio(np.array([float(k)]), variance)[0]
                assert abs(mpmath.mpf(float(fast)) - mpmath.log(exact)) <= log_ratio_error(variance)


@pytest.mark.parametrize("variance", [1, 10, 500, 10**5])
def test_the_support_is_cut_where_nothing_is_left(variance: int) -> None:
    radius = tail_radius(variance)
    with mpmath.workdps(60):
        next_out = reference.skellam_pmf(radius + 1, variance) if variance <= 500 else 0
        assert next_out * 2 * math.isqrt(variance) < mpmath.mpf(2) ** -130
    assert radius <= 14 * math.isqrt(variance) + 40


@pytest.mark.parametrize(("variance", "dimension"), [(0, 1), (1, 0), (-4, 1)])
def test_nonsense_is_refused(variance: int, dimension: int) -> None:
    with pytest.raises(UsageError):
        skellam_gaussian_tv(variance, dimension)

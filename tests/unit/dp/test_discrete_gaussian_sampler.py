"""The discrete Gaussian sampler draws from its law, and a sampler that does not is caught.

Every statistical test here fails a correct sampler with probability at most 1e-6 over its seed; the seeds are
fixed, so a run either always passes or always fails.
"""

from __future__ import annotations

import dataclasses
import math

import mpmath
import numpy as np
import pytest
from reference import discrete_gaussian as reference
from scipy import stats

from fedpriv.dp import discrete_gaussian, samplers
from fedpriv.dp.discrete_gaussian_law import (
    integer_weights,
    log_ratio,
    log_ratio_error,
    precise_ratio,
    tail_radius,
)
from fedpriv.dp.integer_sampler import DISCRETE_GAUSSIAN, SKELLAM, Envelope, Law, envelope

ALPHA = 1e-6
N = 1_000_000


def stream(seed: int) -> samplers.Words:
    return np.random.PCG64(seed).random_raw


def law_p_value(draws: np.ndarray, table: np.ndarray, cells: int) -> float:
    """Chi-square over cells of nearly equal probability under ``table``, a law on -radius..radius."""
    radius = len(table) // 2
    edges = np.unique(np.searchsorted(np.cumsum(table), np.arange(1, cells) / cells)) - radius
    index = np.searchsorted(edges, draws, side="left")
    expected = np.add.reduceat(table, np.concatenate([[0], edges + radius + 1]))
    assert (expected * draws.size > 20).all()
    observed = np.bincount(index, minlength=expected.size)
    return float(stats.chisquare(observed, expected / expected.sum() * draws.size).pvalue)


def table(variance: int) -> np.ndarray:
    return reference.table(variance, 9 * math.isqrt(variance) + 40)


@pytest.mark.parametrize("variance", [1, 2, 3, 50, 2**12, 2**18, 2**18 + 1, 10**6])
def test_binned_law(variance: int) -> None:
    draws = discrete_gaussian(variance, N, stream(variance))
    assert law_p_value(draws, table(variance), 200) > ALPHA


@pytest.mark.parametrize("variance", [2**30, 2**42 + 12345, 2**60])
def test_large_variances_follow_the_normal_law(variance: int) -> None:
    # The distribution functions differ by about 0.2 / sigma: at 2^30 below 1e-5, a hundredth of what is seen.
    draws = discrete_gaussian(variance, N, stream(1)) / math.sqrt(variance)
    assert stats.kstest(draws, "norm").pvalue > ALPHA
    index = (stats.norm.cdf(draws) * 1000).astype(int)
    assert stats.chisquare(np.bincount(index, minlength=1000)).pvalue > ALPHA


@pytest.mark.parametrize("variance", [2, 2**18, 2**19, 2**42])
def test_moments(variance: int) -> None:
    # From variance 2 on the moments up to the eighth are those of the Gaussian within 1e-9.
    draws = discrete_gaussian(variance, N, stream(9)) / math.sqrt(variance)
    z = stats.norm.isf(ALPHA / 8)
    for order, mean, square in ((1, 0, 1), (2, 1, 3), (3, 0, 15), (4, 3, 105)):
        assert abs((draws**order).mean() - mean) < z * math.sqrt((square - mean**2) / N)


@pytest.mark.parametrize("variance", [2**19, 2**42])
def test_tails_have_their_weight(variance: int) -> None:
    draws = discrete_gaussian(variance, 2 * N, stream(11))
    for t in (2.0, 3.0, 4.0, 4.5):
        count = int((np.abs(draws) > t * math.sqrt(variance)).sum())
        assert stats.binomtest(count, 2 * N, 2 * stats.norm.sf(t)).pvalue > ALPHA / 8


@pytest.mark.parametrize("variance", [2**24, 2**42, 2**60])
def test_the_lowest_bits_are_uniform(variance: int) -> None:
    draws = discrete_gaussian(variance, N, stream(5))
    assert stats.chisquare(np.bincount(draws & 63, minlength=64)).pvalue > ALPHA


@pytest.mark.parametrize(("variance", "shares"), [(1, 3), (2, 5), (2**18, 2), (2**19, 3)])
def test_the_sum_of_shares_has_the_convolved_law(variance: int, shares: int) -> None:
    total = sum(discrete_gaussian(variance, N // 2, stream(40 + i)) for i in range(shares))
    # Where convolving is too much work the sum is the discrete Gaussian to 10^-300 (next test).
    law = reference.sum_table(variance, shares, 60) if variance <= 2 else table(shares * variance)
    assert law_p_value(np.asarray(total), law, 60) > ALPHA


@pytest.mark.parametrize(("variance", "shares"), [(1, 2), (1, 4), (2, 3), (3, 2)])
def test_the_sum_of_shares_is_within_the_published_ratio_of_a_discrete_gaussian(
    variance: int, shares: int
) -> None:
    """arXiv 2102.06387, Theorem 1: |ln ratio| <= tau = 10 sum_{k<h} exp(-2 pi^2 v k / (k + 1))."""
    radius = 40
    tau = 10 * sum(math.exp(-2 * math.pi**2 * variance * k / (k + 1)) for k in range(1, shares))
    total = reference.sum_table(variance, shares, 2 * radius)[radius : 3 * radius + 1]
    single = reference.table(variance * shares, 2 * radius)[radius : 3 * radius + 1]
    inner = slice(radius - 6, radius + 7)
    ratio = np.abs(np.log(total[inner] / single[inner])).max()
    assert 1e-13 < ratio <= tau + 1e-12 if variance < 3 else ratio <= tau + 1e-12


@pytest.mark.parametrize("variance", [1, 2, 77, 900])
def test_the_weights_are_the_law_to_128_bits(variance: int) -> None:
    weights, radius = integer_weights(variance, 128), tail_radius(variance)
    assert len(weights) == 2 * radius + 1
    assert sum(weights) == 1 << 128
    with mpmath.workdps(60):
        for k in (0, 1, -2, radius // 3, radius):
            slack = 2 * radius + 1 if k == 0 else 1
            assert abs(weights[radius + k] - reference.pmf(k, variance) * 2**128) <= slack + 2
        beyond = 2 * mpmath.fsum(reference.pmf(k, variance) for k in range(radius + 1, 2 * radius + 40))
        assert beyond < mpmath.mpf(2) ** -130


def test_float_ratios_are_within_their_error_of_the_precise_ones() -> None:
    for variance in (2**18 + 1, 2**41 + 7, 2**60):
        sigma = math.isqrt(variance)
        for t in (0.001, 0.7, 3.3, 12.9, 27.5):
            k = int(t * sigma)
            precise = precise_ratio(k, variance)
            exact = mpmath.log(mpmath.mpf(precise.numerator)) - mpmath.log(mpmath.mpf(precise.denominator))
            got = float(log_ratio(np.array([float(k)]), variance)[0])
            assert abs(got - float(exact)) <= log_ratio_error(variance)
            with mpmath.workprec(400):
                true = mpmath.exp(-(mpmath.mpf(k) ** 2) / (2 * variance))
                assert (
                    abs(mpmath.mpf(precise.numerator) / precise.denominator / true - 1)
                    < mpmath.mpf(2) ** -180
                )


@pytest.mark.parametrize("law", [SKELLAM, DISCRETE_GAUSSIAN], ids=["skellam", "gaussian"])
def test_few_wide_bins_give_the_same_law(law: Law) -> None:
    """With 32 bins most draws go through the rejection that 8192 bins almost never reach."""
    made = envelope(law, 2**19, 5)
    assert float(made.sure.max()) / 2.0 ** (64 - made.offset_bits) < 0.95
    assert law_p_value(made.draw(N, stream(3)), table(2**19), 200) > ALPHA


def test_a_sampler_that_accepts_every_candidate_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Envelope, "_accept", lambda self, k, bins, coin, words: np.ones(k.shape, dtype=bool))
    draws = envelope(DISCRETE_GAUSSIAN, 2**19, 5).draw(N, stream(3))
    assert law_p_value(draws, table(2**19), 200) < 1e-100


def test_a_sampler_with_one_percent_too_little_noise_is_caught() -> None:
    def thin(k: np.ndarray, variance: int) -> np.ndarray:
        return np.asarray(log_ratio(k, variance) / 0.98)

    broken = dataclasses.replace(DISCRETE_GAUSSIAN, name="thin", log_ratio=thin)
    draws = envelope(broken, 2**42).draw(N, stream(9)) / 2.0**21
    assert abs((draws**2).mean() - 1) > stats.norm.isf(ALPHA / 8) * math.sqrt(2 / N)
    index = (stats.norm.cdf(draws) * 1000).astype(int)
    assert stats.chisquare(np.bincount(index, minlength=1000)).pvalue < ALPHA


def test_a_sampler_that_rounds_a_coarse_gaussian_is_caught() -> None:
    """Noise on every fourth integer has the right moments and the wrong law: the low bits tell."""
    draws = 4 * np.rint(np.random.default_rng(1).normal(size=N) * 2.0**10).astype(np.int64)
    assert abs((draws / 2.0**12).var() - 1) < stats.norm.isf(ALPHA / 8) * math.sqrt(2 / N)
    assert stats.chisquare(np.bincount(draws & 63, minlength=64)).pvalue < 1e-100

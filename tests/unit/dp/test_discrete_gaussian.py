"""Sums of discrete Gaussian shares: distance from a rounded Gaussian, and every price, against exact sums."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from reference import dp as reference

from fedpriv.dp import (
    PoissonDiscreteGaussian,
    delta_pld,
    discrete_gaussian_hellinger_squared,
    discrete_gaussian_rdp,
    discrete_gaussian_tv,
    epsilon_discrete_gaussian_rdp,
    epsilon_pld,
    epsilon_rdp,
    sampled_discrete_gaussian_rdp,
    skellam_gaussian_tv,
)
from fedpriv.errors import UsageError


@pytest.mark.parametrize(("share", "shares"), [(1, 1), (1, 2), (1, 3), (2, 2), (4, 3), (9, 1), (5, 2)])
def test_the_bound_is_above_the_exact_distance_of_a_sum(share: int, shares: int) -> None:
    tv, hellinger = reference.discrete_gaussian_distances(share, shares)
    assert tv <= discrete_gaussian_tv(share, shares, 1)
    if shares == 1:
        bound = discrete_gaussian_hellinger_squared(share)
        assert hellinger <= bound <= hellinger * (1 + 1e-6) + 1e-20


@pytest.mark.parametrize("variance", [100, 1023, 1024, 4096])
def test_one_share_in_the_proven_range_and_below_it(variance: int) -> None:
    with mpmath.workdps(40):
        sigma = math.isqrt(variance)
        norm = mpmath.fsum(
            mpmath.exp(-mpmath.mpf(k * k) / (2 * variance)) for k in range(-14 * sigma, 14 * sigma)
        )
        hellinger = mpmath.fsum(
            (
                mpmath.sqrt(mpmath.exp(-mpmath.mpf(k * k) / (2 * variance)) / norm)
                - mpmath.sqrt(reference.rounded_gaussian_pmf(k, variance))
            )
            ** 2
            for k in range(-14 * sigma, 14 * sigma)
        )
    bound = discrete_gaussian_hellinger_squared(variance)
    assert float(hellinger) <= bound <= 1.07 * float(hellinger)
    assert float(hellinger) * variance**2 == pytest.approx(1 / 1152, rel=0.05)


@pytest.mark.parametrize("variance", [2**10, 2**14, 2**20])
def test_each_step_of_the_proof_holds_pointwise(variance: int) -> None:
    """|ln P/Q - (1 - t^2) / (24 mu)| <= (t^4 / 960 + 1 / 640) / mu^2, for every t."""
    with mpmath.workdps(60):
        norm = mpmath.sqrt(2 * mpmath.pi * variance)  # theta(mu) - 1 < e^-20000
        for t in np.linspace(0, 9, 40):
            k = int(t * math.sqrt(variance))
            s2 = mpmath.mpf(k * k) / variance
            ratio = mpmath.log(mpmath.exp(-s2 / 2) / norm / reference.rounded_gaussian_pmf(k, variance))
            rest = ratio - (1 - s2) / (24 * variance)
            assert abs(rest) * variance**2 <= s2**2 / 960 + mpmath.mpf(1) / 640


def test_discrete_gaussian_shares_are_nearer_to_gaussian_noise_than_skellam_ones() -> None:
    assert discrete_gaussian_tv(2**30, 8, 1000) < 0.25 * skellam_gaussian_tv(2**33, 1000)


PAIRS = [(16, 1, 5), (25, 4, 20), (100, 9, 30), (1, 3, 2)]


@pytest.mark.parametrize("rate", [0.05, 0.4, 1.0])
@pytest.mark.parametrize(("share", "shares", "sensitivity"), PAIRS)
def test_a_round_is_never_below_its_exact_divergence(
    share: int, shares: int, sensitivity: int, rate: float
) -> None:
    radius = 12 * math.isqrt(share * shares) + 20
    table = reference.summed_shares_table(share, shares, radius + sensitivity)
    mixture, noise = reference.shifted_pair(table, sensitivity, rate)
    event = PoissonDiscreteGaussian(share, shares, sensitivity, 1, rate)
    for epsilon in (0.0, 0.1, 0.5, 1.5, 3.0):
        ours = delta_pld([(event, 1)], epsilon, interval=1e-3)
        assert reference.hockey_stick(mixture, noise, epsilon) <= ours + 1e-12
        assert reference.hockey_stick(noise, mixture, epsilon) <= ours + 1e-12


@pytest.mark.parametrize("order", [2, 3, 5, 9])
@pytest.mark.parametrize(("share", "shares", "sensitivity"), PAIRS)
def test_the_renyi_curves_are_never_below_the_exact_divergence(
    share: int, shares: int, sensitivity: int, order: int
) -> None:
    radius = 12 * math.isqrt(share * shares) + 20
    table = reference.summed_shares_table(share, shares, radius + sensitivity)
    for rate in (1.0, 0.3, 0.01):
        mixture, noise = reference.shifted_pair(table, sensitivity, rate)
        keep = (mixture > 1e-25) & (noise > 1e-25)
        event = PoissonDiscreteGaussian(share, shares, sensitivity, 1, rate)
        bound = sampled_discrete_gaussian_rdp(event, [order])[0]
        assert reference.renyi(mixture[keep], noise[keep], order) <= bound * (1 + 1e-9) + 1e-9
        assert reference.renyi(noise[keep], mixture[keep], order) <= bound * (1 + 1e-9) + 1e-9
    direct = discrete_gaussian_rdp(
        order, share_variance=share, shares=shares, l2=sensitivity, l1=sensitivity, dimension=1
    )
    assert direct >= order * sensitivity**2 / (2 * share * shares)


def test_at_fine_scale_it_costs_what_gaussian_noise_costs() -> None:
    fine = PoissonDiscreteGaussian(2**39, 8, 2**21, 75_000, 0.05)
    assert fine.noise_multiplier == 1.0
    by_rdp = epsilon_rdp([(fine, 50)], 1e-5)
    assert epsilon_pld([(fine, 50)], 1e-5, interval=1e-3) < by_rdp
    assert epsilon_discrete_gaussian_rdp(fine, 50, 1e-5) > by_rdp


def test_nonsense_is_refused() -> None:
    for arguments in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
        with pytest.raises(UsageError):
            discrete_gaussian_tv(*arguments)
    with pytest.raises(UsageError):
        discrete_gaussian_hellinger_squared(0)
    with pytest.raises(UsageError):
        discrete_gaussian_rdp(2, share_variance=0.4, shares=1, l2=1, l1=1, dimension=1)
    with pytest.raises(UsageError):
        discrete_gaussian_rdp(2, share_variance=4, shares=1, l2=2, l1=1, dimension=1)

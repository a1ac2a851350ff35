"""Both views of the same events: right against references, never below the truth, and cheap per round."""

from __future__ import annotations

import math
import time

import dp_accounting
import numpy as np
import pytest
from dp_accounting import pld, rdp
from reference import dp as reference
from scipy import stats

from fedpriv.dp import (
    PoissonGaussian,
    PoissonSkellam,
    RdpFilter,
    delta_pld,
    epsilon_pld,
    epsilon_rdp,
    epsilon_skellam_rdp,
    sampled_skellam_rdp,
    skellam_gaussian_tv,
    skellam_rdp,
)
from fedpriv.dp.accountant import coarsened
from fedpriv.dp.gaussian_rdp import ORDERS, sampled_gaussian_rdp
from fedpriv.errors import UnsafeParameters, UsageError

RUN = [(PoissonGaussian(1.651, 512 / 10_630), 50)]
FINE = PoissonSkellam(2**42, 2**21, 75_000, 0.05)


@pytest.mark.parametrize(
    ("sigma", "rate", "rounds", "by_pld", "by_rdp"),
    [
        pytest.param(0.8, 0.01, 10_000, 10.0537, 10.935, marks=pytest.mark.slow),
        pytest.param(1.0, 64 / 60_000, 14_062, 0.6112, 0.8724, marks=pytest.mark.slow),
        (1.1, 256 / 60_000, 14_040, 2.3796, 2.594),
    ],
)
def test_published_settings_to_four_digits(
    sigma: float, rate: float, rounds: int, by_pld: float, by_rdp: float
) -> None:
    counted = [(PoissonGaussian(sigma, rate), rounds)]
    assert epsilon_pld(counted, 1e-5) == pytest.approx(by_pld, abs=6e-5)
    assert epsilon_rdp(counted, 1e-5) == pytest.approx(by_rdp, abs=6e-4)


def test_both_views_are_those_of_dp_accounting() -> None:
    counted = [*RUN, (PoissonGaussian(1.1, 0.02), 30), (PoissonGaussian(5.0, 1.0), 2)]
    for engine, ours in ((pld.PLDAccountant(), epsilon_pld), (rdp.RdpAccountant(), epsilon_rdp)):
        for event, count in counted:
            gaussian = dp_accounting.GaussianDpEvent(event.noise_multiplier)
            engine.compose(dp_accounting.PoissonSampledDpEvent(event.sampling_rate, gaussian), count)
        assert ours(counted, 1e-5) == pytest.approx(engine.get_epsilon(1e-5), rel=1e-9)


@pytest.mark.parametrize("epsilon", [0.01, 0.3, 1.0, 2.5])
@pytest.mark.parametrize(("sigma", "rate"), [(0.6, 0.05), (1.0, 0.3), (2.0, 1.0)])
def test_one_round_is_never_below_the_exact_divergence(sigma: float, rate: float, epsilon: float) -> None:
    exact = reference.sampled_gaussian_delta(sigma, rate, epsilon)
    ours = delta_pld([(PoissonGaussian(sigma, rate), 1)], epsilon)
    assert exact - 1e-10 <= ours <= exact * 1.001 + 1e-9


@pytest.mark.parametrize("epsilon", [0.2, 1.0, 2.0])
def test_many_rounds_are_above_a_composition_that_rounds_losses_down(epsilon: float) -> None:
    lower = reference.composed_gaussian_delta_lower(1.0, 0.1, 20, epsilon)
    ours = delta_pld([(PoissonGaussian(1.0, 0.1), 20)], epsilon)
    assert lower <= ours <= lower * 1.25 + 1e-9


@pytest.mark.parametrize("rate", [0.05, 0.4, 1.0])
@pytest.mark.parametrize(("sensitivity", "variance"), [(20, 400), (40, 900), (64, 64**2 * 4)])
def test_a_skellam_round_is_never_below_its_exact_divergence(
    sensitivity: int, variance: int, rate: float
) -> None:
    mixture, noise = reference.sampled_pair(variance, sensitivity, rate, 14 * math.isqrt(variance) + 20)
    event = PoissonSkellam(variance, sensitivity, 1, rate)
    for epsilon in (0.0, 0.1, 0.5, 1.5, 3.0):
        exact = max(
            reference.hockey_stick(mixture, noise, epsilon), reference.hockey_stick(noise, mixture, epsilon)
        )
        assert exact - 1e-12 <= delta_pld([(event, 1)], epsilon)


@pytest.mark.parametrize("order", [2, 3, 5, 9])
@pytest.mark.parametrize(("sensitivity", "variance"), [(1, 4), (5, 100), (40, 900), (64, 64**2 * 4)])
def test_the_skellam_renyi_curves_are_never_below_the_exact_divergence(
    sensitivity: int, variance: int, order: int
) -> None:
    for rate in (1.0, 0.3, 0.01):
        mixture, noise = reference.sampled_pair(variance, sensitivity, rate, 14 * math.isqrt(variance) + 20)
        keep = (mixture > 1e-60) & (noise > 1e-60)
        exact = max(
            reference.renyi(mixture[keep], noise[keep], order),
            reference.renyi(noise[keep], mixture[keep], order),
        )
        bound = sampled_skellam_rdp(PoissonSkellam(variance, sensitivity, 1, rate), [order])[0]
        assert exact <= bound * (1 + 1e-9) + 1e-12
    direct = skellam_rdp(order, variance=variance, l2=sensitivity, l1=sensitivity)
    assert direct >= order * sensitivity**2 / (2 * variance)


def test_at_fine_scale_skellam_costs_what_gaussian_noise_costs() -> None:
    gaussian = [(PoissonGaussian(1.0, 0.05), 50)]
    for view in (epsilon_pld, epsilon_rdp):
        coupled, plain = view([(FINE, 50)], 1e-5), view(gaussian, 1e-5)
        assert plain <= coupled <= plain * 1.0002
    assert epsilon_skellam_rdp(FINE, 50, 1e-5) > epsilon_rdp([(FINE, 50)], 1e-5)


def test_the_slack_is_paid_in_delta() -> None:
    slack = 50 * skellam_gaussian_tv(2**42, 75_000)
    epsilon = epsilon_pld([(FINE, 50)], 1e-5)
    gaussian = delta_pld([(PoissonGaussian(1.0, 0.05), 50)], epsilon)
    assert gaussian + (1 + math.exp(epsilon)) * slack <= 1e-5 * (1 + 1e-9)
    assert delta_pld([(FINE, 50)], epsilon) == pytest.approx(1e-5, rel=1e-4)


def test_a_scale_that_is_too_coarse_is_refused_with_the_reason() -> None:
    coarse = PoissonSkellam(2**20, 2**10, 75_000, 0.05)
    for view in (epsilon_pld, epsilon_rdp):
        with pytest.raises(UnsafeParameters, match="too coarse"):
            view([(coarse, 50)], 1e-5)
    assert delta_pld([(coarse, 50)], 3.0) > 1e-5


def test_the_filter_adds_up_to_the_batch_and_looks_ahead_without_spending() -> None:
    events = [PoissonGaussian(1.1, 0.02), FINE, PoissonGaussian(0.9, 0.01), FINE]
    spent = RdpFilter()
    assert spent.epsilon(1e-5) == 0.0
    for event in events:
        ahead = spent.epsilon_after(event, 3, 1e-5)
        before = spent.epsilon(1e-5)
        spent.add(event, 3)
        assert spent.epsilon(1e-5) == ahead > before
    assert spent.epsilon(1e-5) == pytest.approx(epsilon_rdp([(e, 3) for e in events], 1e-5), rel=1e-12)


def test_no_events_cost_nothing() -> None:
    assert epsilon_pld([], 1e-5) == epsilon_rdp([], 1e-5) == 0.0
    assert epsilon_pld([(FINE, 0)], 1e-5) == epsilon_rdp([(FINE, 0)], 1e-5) == 0.0


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, 2.0, math.nan])
def test_delta_must_lie_between_0_and_1(delta: float) -> None:
    for view in (epsilon_pld, epsilon_rdp):
        with pytest.raises(UsageError, match="delta"):
            view(RUN, delta)
    with pytest.raises(UsageError, match="delta"):
        RdpFilter().epsilon(delta)


def test_tiny_deltas_are_left_to_rdp() -> None:
    with pytest.raises(UsageError, match="1e-12"):
        epsilon_pld(RUN, 1e-13)
    assert epsilon_rdp(RUN, 1e-13) > epsilon_rdp(RUN, 1e-12)


def test_negative_counts_and_epsilons_are_refused() -> None:
    with pytest.raises(UsageError, match="negative"):
        epsilon_rdp([(FINE, -1)], 1e-5)
    for epsilon in (-1.0, math.inf, math.nan):
        with pytest.raises(UsageError, match="epsilon"):
            delta_pld(RUN, epsilon)
    with pytest.raises(UsageError, match="interval"):
        epsilon_pld(RUN, 1e-5, interval=0.0)


def test_coarse_buckets_only_raise_epsilon() -> None:
    tight = epsilon_pld(RUN, 1e-5)
    assert tight <= epsilon_pld(RUN, 1e-5, interval=1e-3) <= epsilon_pld(RUN, 1e-5, interval=1e-2)


def test_merging_keys_makes_each_event_at_least_as_bad() -> None:
    rng = np.random.default_rng(0)
    groups = {
        (float(z), float(q)): 1
        for z, q in zip(rng.uniform(0.5, 3, 500), rng.uniform(1e-4, 1, 500), strict=True)
    }
    merged = coarsened(groups)
    assert sum(merged.values()) == 500
    for z, q in groups:
        assert any(a <= z and b >= q and a >= z * 0.98 and b <= q * 1.02 for a, b in merged)
    few = dict(list(groups.items())[:64])
    assert coarsened(few) == few


def test_two_hundred_distinct_rounds_with_epsilon_after_each_take_seconds() -> None:
    events = [PoissonGaussian(1.0 + 0.003 * i, 0.05) for i in range(200)]
    start = time.process_time()
    spent = RdpFilter()
    curve = []
    for event in events:
        spent.add(event)
        curve.append(spent.epsilon(1e-5))
    assert time.process_time() - start < 10.0
    assert curve == sorted(curve)
    assert epsilon_pld([(e, 1) for e in events], 1e-5, interval=1e-3) < curve[-1]


@pytest.mark.parametrize(
    ("sigma", "rate"), [(0.3, 0.2), (0.62, 0.05), (1.1, 0.004), (3.0, 0.1), (20.0, 0.9), (5.0, 1e-9)]
)
def test_the_renyi_curve_is_that_of_dp_accounting(sigma: float, rate: float) -> None:
    engine = rdp.RdpAccountant(orders=ORDERS)
    engine.compose(dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(sigma)))
    theirs, ours = engine._rdp, sampled_gaussian_rdp(sigma, rate)
    usable = np.isfinite(theirs) & (theirs > 1e-12)
    assert ours[usable] == pytest.approx(theirs[usable], rel=1e-9, abs=1e-10)
    assert list(ORDERS) == pytest.approx(rdp.rdp_privacy_accountant.DEFAULT_RDP_ORDERS)
    assert (ours >= 0).all()


def test_ten_thousand_rounds_one_by_one_cost_what_they_cost_at_once() -> None:
    event = PoissonSkellam(2**60, 2**28, 75_000, 0.01)
    spent = RdpFilter()
    spent.add(event)
    for _ in range(10_000):
        spent.add(event)
    assert spent.epsilon(1e-5) == pytest.approx(epsilon_rdp([(event, 10_001)], 1e-5), rel=1e-9)


@pytest.mark.parametrize(("sigma", "rate"), [(0.7, 0.05), (1.1, 0.3), (3.0, 1.0)])
def test_the_gaussian_renyi_curve_is_never_below_the_integral(sigma: float, rate: float) -> None:
    for index in (9, list(ORDERS).index(3.0), list(ORDERS).index(12.0)):
        order = float(ORDERS[index])
        x = np.linspace(-14 * sigma - 1, 14 * sigma + order + 1, 200_001)
        noise = stats.norm.pdf(x, 0, sigma) * (x[1] - x[0])
        mixture = (1 - rate) * noise + rate * stats.norm.pdf(x, 1, sigma) * (x[1] - x[0])
        exact = max(reference.renyi(mixture, noise, order), reference.renyi(noise, mixture, order))
        assert exact * (1 - 1e-7) - 1e-9 <= sampled_gaussian_rdp(sigma, rate)[index] <= exact * 1.05 + 1e-6

"""Group figures and figures over clients: never below exact divergences, and the smaller bound."""

from __future__ import annotations

import math

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution
from reference import dp as reference
from scipy import stats

from fedpriv.dp import (
    BandedMatrixRound,
    PoissonGaussian,
    PoissonSkellam,
    SkellamWithQuantile,
    delta_pld,
    epsilon_group,
    epsilon_local,
    epsilon_pld,
)
from fedpriv.dp.group import _by_mixture, _by_rule
from fedpriv.dp.mixture import group_pld
from fedpriv.errors import UnsafeParameters, UsageError


@pytest.mark.parametrize(("k", "z", "q"), [(1, 1.0, 0.05), (2, 1.0, 0.05), (3, 0.8, 0.3)])
def test_the_distribution_of_a_group_is_that_of_dp_accounting(k: int, z: float, q: float) -> None:
    ours = group_pld(k, z, q, 0.05)
    chances = list(stats.binom.pmf(range(k + 1), k, q))
    theirs = privacy_loss_distribution.from_mixture_gaussian_mechanism(
        z, list(range(k + 1)), chances, value_discretization_interval=0.05
    )
    for epsilon in (0.0, 0.1, 1.0, 3.0, 6.0):
        assert ours.get_delta_for_epsilon(epsilon) == pytest.approx(
            theirs.get_delta_for_epsilon(epsilon), rel=1e-6, abs=1e-13
        )
    assert ours.self_compose(20).get_epsilon_for_delta(1e-5) == pytest.approx(
        theirs.self_compose(20).get_epsilon_for_delta(1e-5), rel=1e-6
    )


@pytest.mark.parametrize("rate", [0.1, 0.5])
@pytest.mark.parametrize("k", [2, 4])
def test_a_group_in_one_gaussian_round_is_never_below_its_exact_divergence(k: int, rate: float) -> None:
    z = 1.3
    x = np.linspace(-14 * z, 14 * z + k, 400_001)
    step = x[1] - x[0]
    noise = stats.norm.pdf(x, 0, z)
    mixture = sum(
        math.comb(k, j) * rate**j * (1 - rate) ** (k - j) * stats.norm.pdf(x, j, z) for j in range(k + 1)
    )
    ours = group_pld(k, z, rate, 1e-3)
    for epsilon in (0.0, 0.3, 1.0, 2.5):
        added = step * reference.hockey_stick(noise, mixture, epsilon)
        removed = step * reference.hockey_stick(mixture, noise, epsilon)
        delta = ours.get_delta_for_epsilon(epsilon)
        assert max(added, removed) - 1e-9 <= delta <= max(added, removed) * 1.001 + 1e-9


@pytest.mark.parametrize("k", [2, 3])
def test_a_group_in_one_integer_round_is_never_below_its_exact_divergence(k: int) -> None:
    sensitivity, variance, rate, delta = 300, 900**2, 0.2, 1e-3
    table = reference.skellam_table(variance, 11 * 900)
    mixture, noise = reference.group_tables(table, sensitivity, rate, k)
    epsilon = epsilon_group([(PoissonSkellam(variance, sensitivity, 1, rate), 1)], k, delta)
    assert (
        max(reference.hockey_stick(mixture, noise, epsilon), reference.hockey_stick(noise, mixture, epsilon))
        <= delta
    )
    assert reference.hockey_stick(mixture, noise, 0.97 * epsilon) > delta * 0.9  # and it is tight


def test_the_mixture_is_tighter_than_the_rule_and_the_smaller_is_returned() -> None:
    run = [(PoissonGaussian(1.65, 0.05), 50)]
    mixture, rule = _by_mixture(run, 3, 1e-5), _by_rule(run, 3, 1e-5)
    assert 3 * epsilon_pld(run, 1e-5) < mixture < rule
    assert epsilon_group(run, 3, 1e-5) == mixture


def test_the_rule_holds_at_the_figure_that_it_gives() -> None:
    run = [(PoissonGaussian(1.65, 0.05), 50)]
    epsilon = _by_rule(run, 3, 1e-5)
    once = delta_pld(run, epsilon / 3)
    assert once * math.expm1(epsilon) / math.expm1(epsilon / 3) <= 1e-5 * (1 + 1e-9)


def test_without_sampling_a_group_is_a_gaussian_of_k_times_the_sensitivity() -> None:
    run = [(PoissonGaussian(9.0, 1.0), 4), (BandedMatrixRound(9.0, bands=5), 10)]
    expected = epsilon_pld([(PoissonGaussian(3.0, 1.0), 6)], 1e-5)
    assert epsilon_group(run, 3, 1e-5) == pytest.approx(expected, rel=1e-3)


def test_a_group_of_one_and_groups_that_are_none() -> None:
    run = [(PoissonGaussian(5.0, 1.0), 5)]
    assert epsilon_group(run, 1, 1e-5) == epsilon_pld(run, 1e-5)
    assert epsilon_group([], 3, 1e-5) == 0.0
    for k in (0, 1001):
        with pytest.raises(UsageError, match="group"):
            epsilon_group(run, k, 1e-5)
    with pytest.raises(UnsafeParameters, match="too coarse"):
        epsilon_group([(PoissonSkellam(2**20, 2**10, 75_000, 1.0), 50)], 2, 1e-5)


def test_the_bit_of_the_quantile_is_paid_with_the_update() -> None:
    """Two coordinates, summed outcome by outcome: the update's and the bit's."""
    event = SkellamWithQuantile(400, 15, 1, bit_variance=64, bit_sensitivity=5, sampling_rate=1.0)
    assert event.noise_multiplier**-2 == pytest.approx(15**2 / 400 + 5**2 / 64)
    update = reference.skellam_table(400, 320)
    bit = reference.skellam_table(64, 150)
    p = np.outer(update[:-15], bit[:-5])
    q = np.outer(update[15:], bit[5:])
    for epsilon in (0.0, 0.5, 1.5, 3.0):
        exact = max(reference.hockey_stick(p, q, epsilon), reference.hockey_stick(q, p, epsilon))
        assert exact <= delta_pld([(event, 1)], epsilon, interval=1e-3) + 1e-12
    unpaid = delta_pld([(PoissonSkellam(400, 15, 1, 1.0), 1)], 0.5, interval=1e-3)
    assert unpaid < 0.9 * max(reference.hockey_stick(p, q, 0.5), reference.hockey_stick(q, p, 0.5))


CLIENTS = {
    "a": [(PoissonGaussian(1.5, 0.01), 100)],
    "b": [(PoissonGaussian(1.5, 0.02), 90)],
    "c": [(PoissonGaussian(1.2, 0.02), 7), (PoissonGaussian(2.0, 0.05), 10)],
}


def test_disjoint_clients_pay_the_largest_figure_others_all_of_them() -> None:
    single = [epsilon_pld(counted, 1e-5, interval=1e-3) for counted in CLIENTS.values()]
    disjoint = epsilon_local(CLIENTS, 1e-5, disjoint=True, interval=1e-3)
    together = epsilon_local(CLIENTS, 1e-5, disjoint=False, interval=1e-3)
    assert disjoint == max(single)
    everything = [entry for counted in CLIENTS.values() for entry in counted]
    assert together == epsilon_pld(everything, 1e-5, interval=1e-3) > disjoint
    assert epsilon_local({"only": []}, 1e-5, disjoint=True) == 0.0
    with pytest.raises(UsageError, match="no clients"):
        epsilon_local({}, 1e-5, disjoint=True)

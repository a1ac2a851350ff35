"""The bounds of section 10 and the group figures, against mechanisms whose attacks are known exactly."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest

from fedpriv import dp
from fedpriv.report.figures import advantage, at_realised_noise, chosen_counts, highest_tpr
from fedpriv.report.wording import one_in, rounded_up, times

NORMAL = NormalDist()


def gaussian_delta(mu: float, epsilon: float) -> float:
    """δ(ε) of a Gaussian mechanism with sensitivity over noise ``mu`` (Balle and Wang 2018, theorem 8)."""
    low, high = NORMAL.cdf(mu / 2 - epsilon / mu), NORMAL.cdf(-mu / 2 - epsilon / mu)
    return low - math.exp(epsilon) * high


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("fpr", [1e-4, 1e-3, 1e-2, 0.1, 0.5])
def test_the_best_attack_on_gaussian_noise_stays_below_the_bound(mu: float, fpr: float) -> None:
    bounds = [(epsilon / 10, gaussian_delta(mu, epsilon / 10)) for epsilon in range(1, 80)]
    best = NORMAL.cdf(NORMAL.inv_cdf(fpr) + mu)
    assert best - 1e-12 <= highest_tpr(bounds, fpr) <= min(1.0, 1.2 * best)
    assert 2 * NORMAL.cdf(mu / 2) - 1 <= advantage(bounds)


def test_randomised_response_reaches_the_bound() -> None:
    epsilon = 1.3
    keep = math.exp(epsilon) / (1 + math.exp(epsilon))
    assert highest_tpr([(epsilon, 0.0)], 1 - keep) == pytest.approx(keep)
    assert advantage([(epsilon, 0.0)]) == pytest.approx(2 * keep - 1)


def test_a_further_bound_never_weakens_the_others() -> None:
    assert highest_tpr([(3.0, 1e-5), (4.0, 1e-7)], 0.01) <= highest_tpr([(3.0, 1e-5)], 0.01)


def test_without_a_bound_everything_is_possible() -> None:
    assert highest_tpr([], 0.01) == 1.0
    assert advantage([]) == 1.0


def test_chosen_counts_keep_both_ends_and_never_exceed_the_most() -> None:
    for total in range(1, 300):
        counts = chosen_counts(total)
        assert counts[0] == 1
        assert counts[-1] == total
        assert counts == sorted(set(counts))
        assert len(counts) <= 24


def test_what_is_printed_is_never_less_than_what_is_true() -> None:
    for value in (0.0001, 2.99949, 2.9995, 3.0, 12.3456):
        assert float(rounded_up(value)) >= value - 1e-9
        assert float(times(math.exp(value)).replace(",", "")) >= math.exp(value) - 1e-6
    assert one_in(3e-6) == "1 in 333,333"


def test_the_epsilon_at_realised_noise_is_that_of_the_noise_that_was_there() -> None:
    event = dp.PoissonSkellam(noise_variance=10**12, sensitivity=10**6, dimension=50, sampling_rate=0.1)
    louder = dp.PoissonSkellam(
        noise_variance=144 * 10**10, sensitivity=10**6, dimension=50, sampling_rate=0.1
    )
    planned = dp.epsilon_pld([(event, 10)], 1e-5)
    found = at_realised_noise(event, [1.2] * 6 + [1.0] * 2, spent=10, delta=1e-5)
    assert found == pytest.approx(dp.epsilon_pld([(event, 4), (louder, 6)], 1e-5), rel=1e-3)
    assert found is not None
    assert found < planned
    assert at_realised_noise(event, [0.5] * 10, spent=10, delta=1e-5) == pytest.approx(planned, rel=1e-3)
    assert at_realised_noise(event, [], spent=0, delta=1e-5) == 0.0
    assert at_realised_noise(dp.PoissonGaussian(1.0, 0.1), [1.2], spent=1, delta=1e-5) is None

"""The one-shot estimate against the Gaussian mechanism, and a plain integral."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from fedpriv.audit import cosine_estimate, gaussian_delta
from fedpriv.audit.one_shot import normal_delta
from fedpriv.errors import UsageError


@pytest.mark.parametrize(("epsilon", "mean"), [(0.0, 1.0), (1.0, 0.5), (3.0, 2.0)])
def test_equal_spreads_are_the_gaussian_mechanism(epsilon: float, mean: float) -> None:
    assert normal_delta(epsilon, mean, 1.0) == pytest.approx(gaussian_delta(mean, epsilon), rel=1e-3)


@pytest.mark.parametrize(("epsilon", "mean", "std"), [(0.5, 1.0, 1.4), (1.0, 0.3, 0.6)])
def test_unequal_spreads_are_the_larger_integral(epsilon: float, mean: float, std: float) -> None:
    null, other = norm(0.0, 1.0), norm(mean, std)

    def excess(p: object, q: object) -> float:
        gap = lambda x: max(0.0, p.pdf(x) - math.exp(epsilon) * q.pdf(x))  # type: ignore[attr-defined]  # noqa: E731
        return float(quad(gap, -12, 12, limit=500)[0])

    assert normal_delta(epsilon, mean, std) == pytest.approx(
        max(excess(null, other), excess(other, null)), rel=2e-3, abs=1e-6
    )


def test_the_estimate_finds_the_epsilon_of_a_gaussian_mechanism() -> None:
    # True epsilon 4.38 at mu = 1.  Mean and spread of 20,000 cosines are known to 0.7 % and 0.5 %.
    rng = np.random.default_rng(1)
    found = cosine_estimate(rng.normal(1.0, 1.0, 20_000) / 50.0, 2500, 1e-5)
    assert found == pytest.approx(4.38, abs=0.2)


def test_no_signal_is_nothing_and_no_noise_is_none() -> None:
    rng = np.random.default_rng(2)
    quiet = cosine_estimate(rng.normal(0.0, 1.0, 100_000) / 10.0, 100, 1e-2)
    assert quiet == pytest.approx(0.0, abs=0.02)
    assert cosine_estimate(1.0 + rng.normal(0.0, 1e-6, 50), 10_000, 1e-5) is None


def test_what_cannot_be_estimated_is_refused() -> None:
    for cosines, dimension, delta in ((np.zeros(1), 10, 1e-5), (np.zeros(9), 0, 1e-5), (np.zeros(9), 9, 0.0)):
        with pytest.raises(UsageError):
            cosine_estimate(cosines, dimension, delta)

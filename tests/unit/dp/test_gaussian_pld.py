"""One round's privacy-loss distribution beside dp-accounting's own, which finds threshold after threshold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as library
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.dp.gaussian_pld import gaussian_pld

LOSSES = (-3.0, -0.5, 0.0, 0.1, 1.0, 4.0, 12.0)


@pytest.mark.parametrize("rate", [1e-4, 0.0482, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("multiplier", [0.4, 1.1, 30.0])
def test_it_is_the_librarys(multiplier: float, rate: float) -> None:
    ours = gaussian_pld(multiplier, rate, 1e-3)
    theirs = library.from_gaussian_mechanism(
        multiplier, value_discretization_interval=1e-3, sampling_prob=rate
    )
    deltas = [made.get_delta_for_epsilon(list(LOSSES)) for made in (ours, theirs)]
    np.testing.assert_allclose(deltas[0], deltas[1], rtol=1e-8, atol=1e-12)
    for rounds in (1, 100):
        found = [made.self_compose(rounds).get_epsilon_for_delta(1e-6) for made in (ours, theirs)]
        assert found[0] == pytest.approx(found[1], rel=1e-7, abs=1e-7)


@settings(max_examples=60)
@given(
    multiplier=st.floats(0.3, 50.0),
    rate=st.one_of(st.just(1.0), st.floats(1e-6, 1.0)),
    epsilon=st.floats(-2.0, 8.0),
)
def test_it_is_never_below_the_law(multiplier: float, rate: float, epsilon: float) -> None:
    """The hockey-stick divergence, integrated over the noise, in both directions."""
    x = np.linspace(-12.0 * multiplier - 1.0, 12.0 * multiplier + 1.0, 200_001)
    step = x[1] - x[0]
    without = np.exp(-(x**2) / (2.0 * multiplier**2)) / (multiplier * math.sqrt(2.0 * math.pi))
    shifted = np.exp(-((x - 1.0) ** 2) / (2.0 * multiplier**2)) / (multiplier * math.sqrt(2.0 * math.pi))
    with_it = (1.0 - rate) * without + rate * shifted
    least = max(
        float(np.maximum(0.0, one - math.exp(epsilon) * other).sum() * step)
        for one, other in ((with_it, without), (without, with_it))
    )
    found = gaussian_pld(multiplier, rate, 1e-2).get_delta_for_epsilon(epsilon)
    assert found >= least - 1e-7  # of the integration, and of what lies beyond it
    assert found <= least + 1e-2  # buckets of 0.01 move the divergence by no more

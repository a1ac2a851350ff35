"""The privacy-loss distribution of one record in one Poisson-sampled Gaussian round.

It is dp-accounting's but for rounding: its bounds, its distribution functions, its discretisation.  Only the
thresholds, some hundred thousand of them, are found all at once here, and one by one there.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["gaussian_pld"]


@lru_cache(maxsize=8)
def gaussian_pld(multiplier: float, rate: float, interval: float) -> Any:
    """Return the distribution of one round, as dp-accounting's ``from_gaussian_mechanism`` does.

    Args:
        multiplier: z, noise over sensitivity.
        rate: q in (0, 1], the chance of a record to be in the round.
        interval: width of a privacy-loss bucket.
    """
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

    removed = _pmf(multiplier, rate, interval, added=False)
    if rate == 1.0:  # both are the same
        return PrivacyLossDistribution(removed)
    return PrivacyLossDistribution(removed, _pmf(multiplier, rate, interval, added=True))


def _pmf(multiplier: float, rate: float, interval: float, *, added: bool) -> Any:
    """Return the pessimistic distribution by Connect the Dots (2207.04380, Algorithm 1)."""
    from dp_accounting.pld import pld_pmf
    from dp_accounting.pld.privacy_loss_mechanism import AdjacencyType, GaussianPrivacyLoss

    kind = AdjacencyType.ADD if added else AdjacencyType.REMOVE
    loss = GaussianPrivacyLoss(multiplier, sampling_prob=rate, adjacency_type=kind)
    bounds = loss.connect_dots_bounds()
    first, last = math.floor(bounds.epsilon_lower / interval), math.ceil(bounds.epsilon_upper / interval)
    epsilons = np.arange(first, last + 1) * interval
    # A sampled record's loss does not go beyond the loss of not having been sampled, at one end.
    end = math.inf if rate == 1.0 else -math.log1p(-rate)
    reached = epsilons < end if added else epsilons > -end
    deltas = np.zeros(len(epsilons)) if added else -np.expm1(epsilons)
    x = _thresholds(epsilons[reached], multiplier, rate, added=added)
    lower = np.exp(epsilons[reached] + loss.mu_lower_log_cdf(x))
    deltas[reached] = loss.mu_upper_cdf(x) - lower
    deltas = np.clip(deltas, 0.0, 1.0)
    return pld_pmf.create_pmf_pessimistic_connect_dots_fixed_gap(interval, first, last, deltas)


def _thresholds(
    losses: NDArray[np.float64], multiplier: float, rate: float, *, added: bool
) -> NDArray[np.float64]:
    """Return the noise x at which each privacy loss is reached; it falls in x.

    Without sampling x = -1/2 - z^2 loss where the record is removed, and 1 more where it is added.
    """
    sign = -1.0 if added else 1.0
    whole = losses
    if rate < 1.0:
        # sign * ln(1 + (e^(sign * loss) - 1) / q), as the difference of two exponentials
        top = sign * losses - math.log(rate)
        with np.errstate(divide="ignore"):
            whole = sign * (top + np.log1p(-np.exp(math.log(1.0 / rate - 1.0) - top)))
    return (0.5 if added else -0.5) - whole * multiplier**2

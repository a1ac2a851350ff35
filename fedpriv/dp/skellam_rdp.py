"""Renyi DP of Skellam noise by itself, without a detour over Gaussian noise: a looser bound, kept as a check.

Sources: Agarwal, Kairouz and Liu 2021 (arXiv 2110.04995, Theorem 3.5) for the mechanism; Zhu and Wang 2019
(Poisson subsampling for any mechanism, Theorem 5) for the sampled one.  Integer orders only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.dp.events import PoissonSkellam
from fedpriv.errors import UsageError

__all__ = ["epsilon_skellam_rdp", "sampled_skellam_rdp", "skellam_rdp"]

_ORDERS: Final = (*range(2, 65), *range(72, 257, 8))


def skellam_rdp(
    order: NDArray[np.float64] | int, *, variance: float, l2: float, l1: float
) -> NDArray[np.float64]:
    """Return the RDP of one unsampled Skellam release at integer orders.

    alpha l2^2 / (2 mu) + min(((2 alpha - 1) l2^2 + 6 l1) / (4 mu^2), 3 l1 / (2 mu)), with mu the variance and
    l1, l2 the sensitivities in grid units.

    >>> float(skellam_rdp(2, variance=100.0, l2=10.0, l1=10.0))
    1.009
    """
    if variance <= 0.0 or l2 < 0.0 or l1 < l2:
        raise UsageError(f"variance {variance}, l2 {l2}, l1 {l1}: need variance > 0 and l1 >= l2 >= 0")
    a = np.asarray(order, dtype=np.float64)
    extra = np.minimum(((2 * a - 1) * l2**2 + 6 * l1) / (4 * variance**2), 3 * l1 / (2 * variance))
    return np.asarray(a * l2**2 / (2 * variance) + extra)


def sampled_skellam_rdp(event: PoissonSkellam, orders: Sequence[int] = _ORDERS) -> NDArray[np.float64]:
    """Return the RDP of one Poisson-sampled Skellam round at integer orders of at least 2."""
    from scipy.special import gammaln, logsumexp

    if any(a < 2 for a in orders):
        raise UsageError("the orders of the sampled bound are integers from 2 on")
    l2 = float(event.sensitivity)
    l1 = min(math.sqrt(event.dimension) * l2, l2 * l2)
    q = event.sampling_rate
    top = max(orders)
    ladder = np.arange(2, top + 1)
    unsampled = skellam_rdp(ladder.astype(np.float64), variance=float(event.noise_variance), l2=l2, l1=l1)
    if q == 1.0:
        return np.asarray(unsampled[np.asarray(orders) - 2])
    log_q, log_p = math.log(q), math.log1p(-q)
    out = np.empty(len(orders))
    for i, a in enumerate(orders):
        j = ladder[: a - 1].astype(np.float64)
        log_binomial = gammaln(a + 1) - gammaln(j + 1) - gammaln(a - j + 1)
        terms = log_binomial + (a - j) * log_p + j * log_q + (j - 1) * unsampled[: a - 1]
        terms[1:] += math.log(3.0)
        first = (a - 1) * log_p + math.log(a * q - q + 1)
        out[i] = logsumexp(np.append(terms, first)) / (a - 1)
    return np.maximum(out, 0.0)


def epsilon_skellam_rdp(event: PoissonSkellam, rounds: int, delta: float) -> float:
    """Return the epsilon of ``rounds`` rounds at ``delta`` by this bound; above the coupled accountant's."""
    if not 0.0 < delta < 1.0 or rounds < 1:
        raise UsageError(f"delta {delta} must lie in (0, 1) and rounds {rounds} be at least 1")
    a = np.asarray(_ORDERS, dtype=np.float64)
    curve = rounds * sampled_skellam_rdp(event)
    return max(0.0, float(np.min(curve + np.log1p(-1.0 / a) - np.log(delta * a) / (a - 1.0))))

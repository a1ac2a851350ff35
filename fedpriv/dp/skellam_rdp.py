"""Renyi DP of Skellam noise by itself, without a detour over Gaussian noise: a looser bound, kept as a check.

Sources: Agarwal, Kairouz and Liu 2021 (arXiv 2110.04995, Theorem 3.5) for the mechanism; Zhu and Wang 2019
(Poisson subsampling for any mechanism, Theorem 5) for the sampled one.  Integer orders only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedpriv.dp.events import PoissonSkellam
from fedpriv.dp.zhu_wang import INTEGER_ORDERS, epsilon_at_integer_orders, sampled_rdp
from fedpriv.errors import UsageError

__all__ = ["epsilon_skellam_rdp", "sampled_skellam_rdp", "skellam_rdp"]


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


def sampled_skellam_rdp(event: PoissonSkellam, orders: Sequence[int] = INTEGER_ORDERS) -> NDArray[np.float64]:
    """Return the RDP of one Poisson-sampled Skellam round at integer orders of at least 2."""
    l2 = float(event.sensitivity)
    l1 = min(math.sqrt(event.dimension) * l2, l2 * l2)

    def unsampled(order: NDArray[np.float64]) -> NDArray[np.float64]:
        return skellam_rdp(order, variance=float(event.noise_variance), l2=l2, l1=l1)

    return sampled_rdp(unsampled, event.sampling_rate, orders)


def epsilon_skellam_rdp(event: PoissonSkellam, rounds: int, delta: float) -> float:
    """Return the epsilon of ``rounds`` rounds at ``delta`` by this bound; above the coupled accountant's."""
    return epsilon_at_integer_orders(sampled_skellam_rdp(event), rounds, delta)

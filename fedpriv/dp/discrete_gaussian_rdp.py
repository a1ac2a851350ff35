"""Renyi DP of summed discrete Gaussian shares by themselves: looser than the coupled bound, a check.

Source: Kairouz, Liu and Steinke 2021 (arXiv 2102.06387, Proposition 14), with the subsampling bound of
``dp.zhu_wang``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedpriv.dp.events import PoissonDiscreteGaussian
from fedpriv.dp.zhu_wang import INTEGER_ORDERS, epsilon_at_integer_orders, sampled_rdp
from fedpriv.errors import UsageError

__all__ = ["discrete_gaussian_rdp", "epsilon_discrete_gaussian_rdp", "sampled_discrete_gaussian_rdp"]


def discrete_gaussian_rdp(
    order: NDArray[np.float64] | float,
    *,
    share_variance: float,
    shares: int,
    l2: float,
    l1: float,
    dimension: int,
) -> NDArray[np.float64]:
    """Return the RDP of one unsampled release with ``shares`` discrete Gaussian shares, at orders above 1.

    With t = 10 sum_{k=1}^{h-1} e^(-2 pi^2 v k/(k+1)) and A = l2 / sqrt(h v) the least of a A^2/2 + t d,
    (a/2)(A^2 + 2 t l1 / sqrt(h v) + t^2 d) and (a/2)(A + t sqrt d)^2.  The sensitivities are integers' norms.

    Raises:
        UsageError: v below 1/2, where the bound is not proven, or norms that are none.

    >>> float(discrete_gaussian_rdp(2, share_variance=25.0, shares=4, l2=10.0, l1=10.0, dimension=3))
    1.0
    """
    if share_variance < 0.5 or shares < 1 or dimension < 1 or not l1 >= l2 >= 0.0:
        raise UsageError(
            f"share variance {share_variance}, shares {shares}, l2 {l2}, l1 {l1}, dimension {dimension}:"
            " need a variance of at least 1/2 and l1 >= l2 >= 0"
        )
    a = np.asarray(order, dtype=np.float64)
    k = np.arange(1.0, shares)
    gap = 10.0 * float(np.sum(np.exp(-2.0 * math.pi**2 * share_variance * k / (k + 1.0))))
    sigma = math.sqrt(shares * share_variance)
    ratio = l2 / sigma
    bounds = (
        a * ratio**2 / 2.0 + gap * dimension,
        a / 2.0 * (ratio**2 + 2.0 * gap * l1 / sigma + gap**2 * dimension),
        a / 2.0 * (ratio + gap * math.sqrt(dimension)) ** 2,
    )
    return np.asarray(np.minimum(np.minimum(bounds[0], bounds[1]), bounds[2]))


def sampled_discrete_gaussian_rdp(
    event: PoissonDiscreteGaussian, orders: Sequence[int] = INTEGER_ORDERS
) -> NDArray[np.float64]:
    """Return the RDP of one Poisson-sampled round at integer orders of at least 2."""
    l2 = float(event.sensitivity)
    l1 = min(math.sqrt(event.dimension) * l2, l2 * l2)

    def unsampled(order: NDArray[np.float64]) -> NDArray[np.float64]:
        return discrete_gaussian_rdp(
            order,
            share_variance=float(event.share_variance),
            shares=event.shares,
            l2=l2,
            l1=l1,
            dimension=event.dimension,
        )

    return sampled_rdp(unsampled, event.sampling_rate, orders)


def epsilon_discrete_gaussian_rdp(event: PoissonDiscreteGaussian, rounds: int, delta: float) -> float:
    """Return the epsilon of ``rounds`` rounds at ``delta`` by this bound; above the coupled accountant's."""
    return epsilon_at_integer_orders(sampled_discrete_gaussian_rdp(event), rounds, delta)

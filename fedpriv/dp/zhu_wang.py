"""Poisson subsampling of any mechanism, in Renyi DP at integer orders (Zhu and Wang 2019, Theorem 5)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UsageError

__all__ = ["INTEGER_ORDERS", "epsilon_at_integer_orders", "sampled_rdp"]

INTEGER_ORDERS: Final = (*range(2, 65), *range(72, 257, 8))

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def sampled_rdp(unsampled: Curve, rate: float, orders: Sequence[int] = INTEGER_ORDERS) -> NDArray[np.float64]:
    """Return the RDP of one Poisson-sampled round at integer orders of at least 2.

    1/(a-1) ln[(1-q)^(a-1) (aq - q + 1) + C(a,2) q^2 (1-q)^(a-2) e^(r(2)) + 3 sum_{l>=3} C(a,l) (1-q)^(a-l)
    q^l e^((l-1) r(l))], with r the curve without sampling.

    Args:
        unsampled: r at an array of orders 2, 3, ...
        rate: q, in (0, 1].

    Raises:
        UsageError: an order below 2.
    """
    from scipy.special import gammaln, logsumexp

    if any(a < 2 for a in orders):
        raise UsageError("the orders of the sampled bound are integers from 2 on")
    ladder = np.arange(2, max(orders) + 1, dtype=np.float64)
    curve = unsampled(ladder)
    if rate == 1.0:
        return np.asarray(curve[np.asarray(orders) - 2])
    log_q, log_p = math.log(rate), math.log1p(-rate)
    out = np.empty(len(orders))
    for i, a in enumerate(orders):
        j = ladder[: a - 1]
        log_binomial = gammaln(a + 1) - gammaln(j + 1) - gammaln(a - j + 1)
        terms = log_binomial + (a - j) * log_p + j * log_q + (j - 1) * curve[: a - 1]
        terms[1:] += math.log(3.0)
        first = (a - 1) * log_p + math.log(a * rate - rate + 1)
        out[i] = logsumexp(np.append(terms, first)) / (a - 1)
    return np.maximum(out, 0.0)


def epsilon_at_integer_orders(curve: NDArray[np.float64], rounds: int, delta: float) -> float:
    """Return the epsilon of ``rounds`` rounds with this curve over ``INTEGER_ORDERS`` (2004.00010)."""
    if not 0.0 < delta < 1.0 or rounds < 1:
        raise UsageError(f"delta {delta} must lie in (0, 1) and rounds {rounds} be at least 1")
    a = np.asarray(INTEGER_ORDERS, dtype=np.float64)
    return max(0.0, float(np.min(rounds * curve + np.log1p(-1.0 / a) - np.log(delta * a) / (a - 1.0))))

"""The discrete Gaussian from its definition, and the law of a sum of shares by convolution.

Written from protocols/dp/spec.md alone; nothing is imported from the package.
"""

from __future__ import annotations

from functools import lru_cache

import mpmath
import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=16)
def _total(variance: int) -> mpmath.mpf:
    """The sum of exp(-j^2 / 2v) over all integers, term by term."""
    spread = 18 * int(mpmath.sqrt(variance)) + 20
    return 1 + 2 * mpmath.fsum(mpmath.exp(-mpmath.mpf(j * j) / (2 * variance)) for j in range(1, spread))


def pmf(k: int, variance: int) -> mpmath.mpf:
    """exp(-k^2 / 2v) over the sum of it over all integers, 60 digits; for small variances."""
    with mpmath.workdps(60):
        return mpmath.exp(-mpmath.mpf(k * k) / (2 * variance)) / _total(variance)


def table(variance: int, radius: int) -> NDArray[np.float64]:
    """P(-radius..radius) in float64."""
    k = np.arange(-radius, radius + 1, dtype=np.float64)
    weights = np.exp(-k * k / (2.0 * variance))
    return np.asarray(weights / weights.sum())


def sum_table(variance: int, shares: int, radius: int) -> NDArray[np.float64]:
    """The law of the sum of ``shares`` independent draws on -radius..radius, term by term."""
    one = table(variance, radius)
    total = one
    for _ in range(shares - 1):
        full = np.convolve(total, one)
        total = full[radius : radius + 2 * radius + 1]
    return total

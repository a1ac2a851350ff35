"""An estimate of ε from how far a run's movement points along its canaries: no bound, and no verdict.

A direction that took no part has a cosine with the movement that is N(0, 1/d) in d dimensions; those that
took part have some other normal law, which is fitted.  The ε of telling the two laws apart is the estimate.
It holds for this adversary only, says nothing of any other, and has no confidence of its own.

Source: Andrew et al. 2023 (arXiv 2302.03098, section 4, Algorithm 2).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UsageError

__all__ = ["cosine_estimate", "normal_delta"]

_POINTS: Final = 20_001
_WIDTH: Final = 12.0
_LARGEST: Final = 200.0


def normal_delta(epsilon: float, mean: float, std: float) -> float:
    """Return the least δ at which N(0, 1) and N(``mean``, ``std``²) are (ε, δ)-close, in either direction.

    >>> round(normal_delta(1.0, 1.0, 1.0), 4)
    0.1269
    """
    reach = _WIDTH * max(1.0, std)
    x = np.linspace(min(0.0, mean) - reach, max(0.0, mean) + reach, _POINTS)
    null = -0.5 * x * x
    other = -0.5 * ((x - mean) / std) ** 2 - math.log(std)
    step = float(x[1] - x[0]) / math.sqrt(2.0 * math.pi)

    def excess(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
        more = first > epsilon + second
        return step * float((np.exp(first[more]) - np.exp(epsilon + second[more])).sum())

    return max(excess(null, other), excess(other, null))


def cosine_estimate(cosines: NDArray[np.float64], dimension: int, delta: float) -> float | None:
    """Return the ε at ``delta`` of telling the fitted law of ``cosines`` from N(0, 1/d).

    Args:
        cosines: of the canaries that took part with the run's movement, shape (k,), k at least 2.
        dimension: d.
        delta: in (0, 1).

    Returns:
        None where the estimate would pass 200.

    Raises:
        UsageError: fewer than two cosines, no dimension, or a delta outside (0, 1).

    >>> rng = np.random.default_rng(0)
    >>> round(cosine_estimate(rng.normal(1.0, 1.0, 100_000) / 100, 10_000, 1e-5), 1)
    4.4
    """
    if cosines.ndim != 1 or cosines.size < 2 or dimension < 1 or not 0.0 < delta < 1.0:
        raise UsageError(
            f"{cosines.shape} cosines in {dimension} dimensions at delta {delta}: need two or more, and a "
            "delta in (0, 1)"
        )
    scaled = cosines * math.sqrt(dimension)
    mean, std = float(scaled.mean()), float(scaled.std(ddof=1))
    if not (math.isfinite(mean) and 0.0 < std < math.inf) or normal_delta(_LARGEST, mean, std) > delta:
        return None
    low, high = 0.0, _LARGEST
    if normal_delta(0.0, mean, std) <= delta:
        return 0.0
    for _ in range(40):
        middle = (low + high) / 2.0
        if normal_delta(middle, mean, std) > delta:
            low = middle
        else:
            high = middle
    return high

"""How far Skellam noise is from a rounded Gaussian of the same variance: the bridge to Gaussian accounting.

Integer data x give round(x + G) = x + round(G), so the distance between "add Skellam" and "add Gaussian,
then round" is that between the two noises, whatever the data are.  Rounding is post-processing.  A run of T
rounds is therefore (epsilon, delta_G(epsilon) + (1 + e^epsilon) * T * TV_d)-DP, with delta_G that of the
Gaussian run.
Proof and constants: ``protocols/dp/spec.md``, section "Coupling".
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

from fedpriv.dp.skellam_law import TAIL_LOG2, integer_weights, tail_radius
from fedpriv.errors import UsageError

__all__ = ["hellinger_squared", "skellam_gaussian_tv"]

# Theorem 2: sum over k of (sqrt P - sqrt Q)^2 <= 0.0169 / mu^2 for mu >= 2^10; its limit is 26 / (2304 mu^2).
_HELLINGER_CONSTANT: Final = 0.0169
_PROVEN_FROM: Final = 1 << 10


@lru_cache(maxsize=64)
def _numeric_hellinger_squared(variance: int) -> float:
    """Bound sum (sqrt P - sqrt Q)^2 by evaluating it to 60 digits, tails of both laws included."""
    from mpmath import mp  # type: ignore[import-untyped]

    bits = 192
    weights = integer_weights(variance, bits)
    radius = tail_radius(variance)
    with mp.workprec(bits):
        sigma = mp.sqrt(2 * mp.mpf(variance))
        total = mp.mpf(0)
        for k in range(radius + 1):
            low = mp.erfc((k - mp.mpf("0.5")) / sigma)
            q = (low - mp.erfc((k + mp.mpf("0.5")) / sigma)) / 2
            p = mp.ldexp(mp.mpf(weights[radius + k]), -bits)
            total += (1 if k == 0 else 2) * (mp.sqrt(p) - mp.sqrt(q)) ** 2
        total += mp.ldexp(1, TAIL_LOG2) + mp.erfc((radius + mp.mpf("0.5")) / sigma)
        # A weight is off by 2^-192 (the middle one by 2 K 2^-192) and by a factor 1 + 2^-129.
        total += (2 * radius + 1) * mp.ldexp(1, -80)
        return math.nextafter(float(total) * (1.0 + 2.0**-30), 1.0)


def hellinger_squared(variance: int) -> float:
    """Bound sum_k (sqrt P(k) - sqrt Q(k))^2 between Skellam(variance) and the rounded N(0, variance).

    Proven in closed form from variance 2^10 on; below it the sum itself is evaluated to 60 digits.

    Raises:
        UsageError: a variance below 1.
    """
    if variance < 1:
        raise UsageError(f"the noise variance is {variance}; it must be at least 1")
    if variance < _PROVEN_FROM:
        return min(2.0, _numeric_hellinger_squared(variance))
    return _HELLINGER_CONSTANT / float(variance) ** 2


def skellam_gaussian_tv(variance: int, dimension: int) -> float:
    """Bound the total variation between d coordinates of Skellam(variance) and of round(N(0, variance)).

    Rigorous: TV_d <= sqrt(d * h) with h the squared Hellinger sum of one coordinate, at most 0.0169 / mu^2.

    Args:
        variance: of the noise in each coordinate, squared grid units.
        dimension: d, number of coordinates.

    Raises:
        UsageError: variance or dimension below 1.

    >>> f"{skellam_gaussian_tv(2**42, 75_000):.1e}"
    '8.1e-12'
    """
    if dimension < 1:
        raise UsageError(f"the dimension is {dimension}; it must be at least 1")
    return min(1.0, math.sqrt(dimension * hellinger_squared(variance)) * (1.0 + 2.0**-50))

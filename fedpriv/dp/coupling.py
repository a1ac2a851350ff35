"""How far integer noise is from a rounded Gaussian of the same variance: the bridge to Gaussian accounting.

Integer data x give round(x + G) = x + round(G), so the distance between "add integer noise" and "add
Gaussian, then round" is that between the two noises, whatever the data are.  Rounding is post-processing.  A
run of T rounds is therefore (epsilon, delta_G(epsilon) + (1 + e^epsilon) * T * TV_d)-DP, with delta_G that
of the Gaussian run.
Proofs and constants: ``protocols/dp/spec.md``, section "Coupling" for Skellam noise, 7.6 for sums of discrete
Gaussians.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

from fedpriv.dp.skellam_law import TAIL_LOG2, integer_weights, tail_radius
from fedpriv.errors import UsageError

__all__ = [
    "discrete_gaussian_hellinger_squared",
    "discrete_gaussian_tv",
    "hellinger_squared",
    "skellam_gaussian_tv",
]

# Theorem 2: sum over k of (sqrt P - sqrt Q)^2 <= 0.0169 / mu^2 for mu >= 2^10; its limit is 26 / (2304 mu^2).
_HELLINGER_CONSTANT: Final = 0.0169
_PROVEN_FROM: Final = 1 << 10
# 7.6 of the specification: the same sum for the discrete Gaussian; its limit is 1 / (1152 mu^2).
_DISCRETE_GAUSSIAN_CONSTANT: Final = 0.00092


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


@lru_cache(maxsize=64)
def _numeric_discrete_gaussian(variance: int) -> float:
    """Bound sum (sqrt P - sqrt Q)^2 for P = N_Z(0, variance) to 50 digits, tails included."""
    from mpmath import mp

    with mp.workprec(192):
        mu = mp.mpf(variance)
        root = mp.sqrt(2 * mu)
        radius = 14 * math.isqrt(variance) + 20
        weights = [mp.exp(-(k * k) / (2 * mu)) for k in range(radius + 1)]
        norm = 2 * mp.fsum(weights) - 1  # what lies beyond weighs e^-98 and is added below
        total = mp.mpf(0)
        for k, weight in enumerate(weights):
            low, high = mp.erfc((k - mp.mpf("0.5")) / root), mp.erfc((k + mp.mpf("0.5")) / root)
            total += (1 if k == 0 else 2) * (mp.sqrt(weight / norm) - mp.sqrt((low - high) / 2)) ** 2
        total += mp.mpf("1e-37")  # both tails, and the norm's
        return math.nextafter(float(total) * (1.0 + 2.0**-30), 1.0)


def discrete_gaussian_hellinger_squared(variance: int) -> float:
    """Bound sum_k (sqrt P(k) - sqrt Q(k))^2 between N_Z(0, variance) and the rounded N(0, variance).

    Raises:
        UsageError: a variance below 1.

    >>> 1 / 1152 < discrete_gaussian_hellinger_squared(2**20) * 2**40 < 1.07 / 1152
    True
    """
    if variance < 1:
        raise UsageError(f"the noise variance is {variance}; it must be at least 1")
    if variance < _PROVEN_FROM:
        return min(2.0, _numeric_discrete_gaussian(variance))
    return _DISCRETE_GAUSSIAN_CONSTANT / float(variance) ** 2


def discrete_gaussian_tv(share_variance: int, shares: int, dimension: int) -> float:
    """Bound the total variation, in d coordinates, of h summed shares N_Z(0, v) from round(N(0, h v)).

    sqrt(d h(hv)) for one discrete Gaussian of variance hv, plus d times 2.01 sum_{k=1}^{h-1} e^{-2 pi^2 v
    k/(k+1)} for the sum not being one (theta-function bound, 7.6 of the specification).

    Args:
        share_variance: v, parameter of one share, squared grid units.
        shares: h, number of independent shares.
        dimension: d, number of coordinates.

    Raises:
        UsageError: an argument below 1.

    >>> f"{discrete_gaussian_tv(2**39, 8, 75_000):.1e}"
    '1.9e-12'
    """
    if min(share_variance, shares, dimension) < 1:
        raise UsageError(
            f"share variance {share_variance}, shares {shares}, dimension {dimension}: each must be positive"
        )
    variance = share_variance * shares
    one = math.sqrt(dimension * discrete_gaussian_hellinger_squared(variance))
    # e^{-2 pi^2 v k/(k+1)} is at most e^{-9.8 v} for k = 1, at most e^{-13.1 v} for the h - 2 others.
    first = math.exp(-9.8 * min(share_variance, 70)) if shares > 1 else 0.0
    others = (shares - 2) * math.exp(-13.1 * min(share_variance, 50)) if shares > 2 else 0.0
    return min(1.0, (one + dimension * 2.01 * (first + others)) * (1.0 + 2.0**-40))

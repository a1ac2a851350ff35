"""The discrete Gaussian law: P(k) proportional to exp(-k^2 / (2 v)) on the integers, parameter v.

Its variance is below v, by less than 3e-7 of it at v = 1 and less than 2e-15 from v = 2 on
(``protocols/dp/spec.md``, section "Sampler").
The sum of n draws is *not* discrete Gaussian; how far it is, the accountant of that mechanism says.
Definition and moment bound: Canonne, Kamath, Steinke, arXiv 2004.00010.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["integer_weights", "log_ratio", "log_ratio_error", "precise_ratio", "tail_radius"]

_PRECISION: Final = 320  # working bits of the high-precision evaluation
_RADIUS_SQUARED: Final = 183  # at least 2 * 132 ln 2 = 182.994


def tail_radius(variance: int) -> int:
    """Return K with P[|X| > K] < 2^-130, by the bound P[X >= k] <= exp(-k^2 / (2 v)).

    >>> tail_radius(1)
    14
    """
    return math.isqrt(_RADIUS_SQUARED * variance) + 1


def log_ratio(k: NDArray[np.float64], variance: int) -> NDArray[np.float64]:
    """Return ln(P(k) / P(0)) in float64, within ``log_ratio_error``; |k| <= 28 sqrt(variance), any shape."""
    return np.asarray(k * k / (-2.0 * float(variance)))


def log_ratio_error(variance: int) -> float:
    """Bound the absolute error of ``log_ratio``: three roundings of a number of at most 392."""
    return 2.0**-42


def precise_ratio(k: int, variance: int) -> Fraction:
    """Return P(k) / P(0) with relative error below 2^-180, as a fraction with a power-of-two denominator."""
    from mpmath import mp  # type: ignore[import-untyped]

    with mp.workprec(_PRECISION):
        mantissa, exponent = mp.exp(-mp.mpf(k * k) / (2 * variance)).man_exp
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def integer_weights(variance: int, bits: int) -> list[int]:
    """Return integers W(-K..K) that add up to 2^bits: the law on |k| <= K, floored, W(0) taking the rest.

    Meant for small variances (the list has 2K + 1 entries).
    """
    from mpmath import mp

    with mp.workprec(2 * bits + 32):
        scale = mp.mpf(2) ** (2 * bits)
        unnormalised = [
            int(mp.floor(scale * mp.exp(-mp.mpf(k * k) / (2 * variance))))
            for k in range(tail_radius(variance) + 1)
        ]
    total = unnormalised[0] + 2 * sum(unnormalised[1:])
    half = [(weight << bits) // total for weight in unnormalised]
    half[0] = (1 << bits) - 2 * sum(half[1:])
    return half[:0:-1] + half

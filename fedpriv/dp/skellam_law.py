"""The Skellam law: P(k) = e^{-mu} I_k(mu), the difference of two Poisson(mu / 2) variables, of variance mu.

Three evaluations, each with its error stated.  ``protocols/dp/spec.md`` (section "The Skellam law") proves
the identity that they share: with w = sqrt(mu^2 + k^2),

    P(k) = exp(w - mu - k asinh(k / mu)) * (1 / 2 pi) Int_{-pi}^{pi} e^{-w (1 - cos u)} cos(k (u - sin u)) du,

the saddle-point tilt of the inversion integral.  No term cancels, at any variance.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["integer_weights", "log_ratio", "log_ratio_error", "precise_ratio", "tail_radius"]

_PRECISION: Final = 320  # working bits of the high-precision evaluation
_NATS: Final = 160.0  # aliasing and truncation of the periodic trapezoid rule: below e^-160 each
TAIL_LOG2: Final = -130  # support is cut where both tails together weigh less than 2^TAIL_LOG2


def _chernoff(k: int, variance: int) -> float:
    """Return ln of the bound on P[X >= k]: w - mu - k asinh(k / mu), decreasing in k."""
    w = math.hypot(variance, k)
    return k * (k / (w + variance)) - k * math.asinh(k / variance)


@lru_cache(maxsize=64)
def tail_radius(variance: int) -> int:
    """Return K with P[|X| > K] < 2^-130, the smallest that the Chernoff bound proves."""
    target = (TAIL_LOG2 - 2) * math.log(2.0)
    low, high = 0, 64 + 14 * math.isqrt(variance)
    while _chernoff(high, variance) > target:
        high *= 2
    while high - low > 1:
        middle = (low + high) // 2
        if _chernoff(middle, variance) <= target:
            high = middle
        else:
            low = middle
    return high


def log_ratio(k: NDArray[np.float64], variance: int) -> NDArray[np.float64]:
    """Return ln(P(k) / P(0)) in float64, within ``log_ratio_error(variance)``.

    Needs variance >= 2^18 and |k| <= 28 sqrt(variance); k integer-valued, any shape.
    """
    mu = float(variance)
    x = k / mu
    y = x * x
    # 1 + x asinh(x) - sqrt(1 + x^2) = x^2/2 (1 - y/12 + y^2/40 - 5 y^3/448 + 7 y^4/1152 - 21 y^5/5632 + ...)
    series = 1.0 - y * (
        1.0 / 12.0 - y * (1.0 / 40.0 - y * (5.0 / 448.0 - y * (7.0 / 1152.0 - y * (21.0 / 5632.0))))
    )
    w = mu * np.sqrt(1.0 + y)
    first = (1.0 / w - 1.0 / mu) / 8.0 - 5.0 * y / (24.0 * w) * (mu / w) ** 2
    return np.asarray(-0.5 * k * x * series - 0.25 * np.log1p(y) + first)


def log_ratio_error(variance: int) -> float:
    """Bound the absolute error of ``log_ratio``: float64 rounding plus the remainder of the expansion."""
    return 2.0**-40 + 512.0 / float(variance) ** 2


@lru_cache(maxsize=256)
def _log_pmf(k: int, variance: int) -> Any:
    """Return ln P(k) as an mpf with about 190 correct bits relative to P(k)."""
    from mpmath import mp  # type: ignore[import-untyped]

    with mp.workprec(_PRECISION):
        w = mp.sqrt(mp.mpf(variance) ** 2 + mp.mpf(k) ** 2)
        scale = float(w)
        # The M-point rule on the full period equals the sum of the tilted law over k + M Z: its error is a
        # tail of that law, by Bernstein's inequality below 2 exp(-M^2 / (2 w + 2 M / 3)).
        points = math.ceil(_NATS / 3.0 + math.sqrt((_NATS / 3.0) ** 2 + 2.0 * _NATS * scale)) + 1
        step = 2 * mp.pi / points
        total = mp.mpf(1)
        for j in range(1, points // 2 + 1):
            u = j * step
            exponent = 2 * w * mp.sin(u / 2) ** 2
            if exponent > _NATS + 60:
                break
            term = mp.exp(-exponent) * mp.cos(k * (u - mp.sin(u)))
            total += term if 2 * j == points else 2 * term
        tilt = mp.mpf(k) ** 2 / (w + variance) - k * mp.asinh(mp.mpf(k) / variance)
        return tilt + mp.log(total / points)


def precise_ratio(k: int, variance: int) -> Fraction:
    """Return P(k) / P(0) with relative error below 2^-180, as a fraction with a power-of-two denominator."""
    from mpmath import mp

    with mp.workprec(_PRECISION):
        value = mp.exp(_log_pmf(abs(k), variance) - _log_pmf(0, variance))
        mantissa, exponent = value.man_exp
    power = Fraction(2) ** int(exponent)
    return Fraction(int(mantissa)) * power


def integer_weights(variance: int, bits: int) -> list[int]:
    """Return integers W(-K..K) that add up to 2^bits: the law on |k| <= K, floored, W(0) taking the rest.

    Backward recurrence of r_k = I_{k+1}/I_k, r_{k-1} = mu / (2k + mu r_k), in integers: the map contracts and
    all terms are positive, so no digit is lost.  Meant for small variances (the list has 2K + 1 entries).
    """
    radius = tail_radius(variance)
    fraction_bits = 2 * bits
    one = 1 << fraction_bits
    ratios = [0] * (radius + 1)
    r = 0
    for k in range(2 * radius + 64, 0, -1):
        r = (variance << (2 * fraction_bits)) // ((2 * k << fraction_bits) + variance * r)
        if k <= radius:
            ratios[k - 1] = r
    unnormalised = [one]
    for k in range(radius):
        unnormalised.append(unnormalised[k] * ratios[k] >> fraction_bits)
    total = one + 2 * sum(unnormalised[1:])
    half = [(weight << bits) // total for weight in unnormalised]
    half[0] = (1 << bits) - 2 * sum(half[1:])
    return half[:0:-1] + half

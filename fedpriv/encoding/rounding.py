"""Conditional stochastic rounding: a clipped vector to integers, unbiased but for a condition on the norm.

Rounding each coordinate up with the chance of its fraction keeps the mean and lets the norm grow.  The draw
is repeated until the norm is within a bound, which is then the sensitivity, exactly: however the coins fall,
no integer vector above it leaves.  Source: arXiv 2102.06387, section 4.1; proof in ``protocols/dp/spec.md``,
section "Encoding".  ``FixedPoint.quantise`` rounds to nearest instead: no inflation, but biased.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.encoding.scale import MAX_SENSITIVITY
from fedpriv.errors import UnsafeParameters, UsageError

__all__ = ["BETA", "StochasticRounding", "Words", "rounded_square_bound"]

Words = Callable[[int], NDArray[np.uint64]]
"""A source of entropy: n -> n fresh uniform 64-bit words."""

BETA: Final = math.exp(-0.5)  # most chance of one draw to be rejected
_TRIES: Final = 256  # all of them fail with probability at most BETA^256 = 2^-184
_MARGIN: Final = Fraction(1, 1 << 40)  # covers the roundings of the bound's own square roots


def rounded_square_bound(norm: float, dimension: int, beta: float = BETA) -> float:
    """Bound ||Y||^2 for Y the rounding of a vector of l2 norm ``norm``, but for a chance of ``beta``.

    min{ (r + sqrt d)^2, r^2 + d/4 + sqrt(2 ln(1/beta)) (r + sqrt d / 2) }; the first holds always.

    Args:
        norm: r, in grid units.
        dimension: d.
        beta: chance that the second may be exceeded, in (0, 1).

    >>> rounded_square_bound(100.0, 4)
    10102.0
    """
    if not (norm >= 0.0 and math.isfinite(norm) and dimension >= 1 and 0.0 < beta < 1.0):
        raise UsageError(
            f"norm {norm}, dimension {dimension} and beta {beta}: need r >= 0, d >= 1, 0 < beta < 1"
        )
    root = math.sqrt(dimension)
    likely = norm**2 + dimension / 4.0 + math.sqrt(-2.0 * math.log(beta)) * (norm + root / 2.0)
    return min((norm + root) ** 2, likely)


@dataclass(frozen=True, slots=True)
class StochasticRounding:
    """Rounds a vector of l2 norm at most C to integers of l2 norm at most ``sensitivity``.

    Attributes:
        clip: C, model units.
        scale_log2: one grid unit is ``2**-scale_log2`` model units.
        dimension: d.
        beta: most chance of one draw to be rejected.

    Raises:
        UsageError: a field out of its range.
        UnsafeParameters: a sensitivity above 2^30.

    >>> StochasticRounding(clip=1.0, scale_log2=12, dimension=75_000).sensitivity
    4099
    """

    clip: float
    scale_log2: int
    dimension: int
    beta: float = BETA

    def __post_init__(self) -> None:
        if not (math.isfinite(self.clip) and self.clip > 0.0):
            raise UsageError(f"clip is {self.clip}; the l2 bound must be positive and finite")
        if abs(self.scale_log2) > 1000 or self.dimension < 1 or not 0.0 < self.beta < 1.0:
            raise UsageError(
                f"scale_log2 {self.scale_log2}, dimension {self.dimension} and beta {self.beta}: need a grid"
                " within 2^-1000 and 2^1000, d >= 1 and 0 < beta < 1"
            )
        if self.sensitivity > MAX_SENSITIVITY:
            raise UnsafeParameters(f"sensitivity {self.sensitivity} is above 2^30; change the scale")

    @property
    def radius(self) -> float:
        """r = C * 2**scale_log2, the l2 bound before rounding, grid units."""
        try:
            return math.ldexp(self.clip, self.scale_log2)
        except OverflowError:
            return math.inf

    @property
    def sensitivity(self) -> int:
        """The least integer that is no smaller than the bound on the norm: what every event must use."""
        if not self.radius <= MAX_SENSITIVITY:
            return MAX_SENSITIVITY + 1
        square = Fraction(rounded_square_bound(self.radius, self.dimension, self.beta)) * (1 + _MARGIN)
        return math.isqrt(math.ceil(square) - 1) + 1

    @property
    def bias_bound(self) -> float:
        """Bound the l2 distance from the mean of what leaves to the vector, grid units (spec, section 9)."""
        root, odds = math.sqrt(self.dimension), 1.0 - self.beta
        return min(self.beta * root, math.sqrt(self.beta) * root / 2.0) / odds

    def round(self, vector: NDArray[np.floating], words: Words) -> NDArray[np.int64]:
        """Clip a vector to C, round it, and draw again until its integer norm is within the sensitivity.

        Args:
            vector: shape (d,), float32 or float64, model units; scaled into the ball when it is outside.
            words: n -> uint64 array of n fresh uniform words; d are read for each draw.  Chances are rounded
                down to multiples of 2^-53.

        Returns:
            int64, shape (d,), of l2 norm at most ``sensitivity``, checked in integers.

        Raises:
            UsageError: another shape or dtype, a NaN or an infinity.
            UnsafeParameters: 256 draws in a row were too long, which a working generator does not do.

        >>> generator = np.random.PCG64(7)
        >>> rounding = StochasticRounding(clip=1.0, scale_log2=4, dimension=3)
        >>> rounding.round(np.array([0.5, 0.03125, 9.0]), lambda n: generator.random_raw(n)).tolist()
        [1, 0, 16]
        """
        below, fraction = self._split(vector)
        longest = self.sensitivity**2
        for _ in range(_TRIES):
            coins = (words(self.dimension) >> np.uint64(11)).astype(np.float64) * 2.0**-53
            integers = below + (coins < fraction)
            # The float sum only keeps the integer one from overflowing: its relative error is far below 1.
            estimate = float(np.einsum("i,i->", integers.astype(np.float64), integers.astype(np.float64)))
            if estimate < 2.0**62 and int(np.einsum("i,i->", integers, integers)) <= longest:
                return integers
        raise UnsafeParameters(
            f"{_TRIES} roundings in a row were longer than the sensitivity {self.sensitivity}",
            hint="the source of randomness does not give uniform words; replace it",
        )

    def _split(self, vector: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The clipped, scaled vector as its floor and the fraction above it."""
        if vector.shape != (self.dimension,) or vector.dtype not in (np.float32, np.float64):
            raise UsageError(
                f"the vector has shape {vector.shape} and dtype {vector.dtype}; need float32 or float64 of"
                f" shape ({self.dimension},)"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = np.multiply(vector, math.ldexp(1.0, self.scale_log2), dtype=np.float64)
            square = float(np.einsum("i,i->", scaled, scaled))
        if not math.isfinite(square):
            raise UsageError("the vector holds a NaN, an infinity or a number too large to square")
        if square > self.radius**2:
            scaled *= self.radius / math.sqrt(square) * (1.0 - 2.0**-50)
        floor = np.floor(scaled)
        return floor.astype(np.int64), scaled - floor

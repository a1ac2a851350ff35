"""Which power-of-two grid a vector of bounded norm is rounded to: the finest one whose noisy sum fits."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Final, TypeVar

from fedpriv.errors import UnsafeParameters

__all__ = ["MAX_SENSITIVITY", "finest_scale", "grid_sensitivity", "noise_tail"]

# S^2 and every intermediate norm fit in int64; Skellam shares stay samplable.
MAX_SENSITIVITY: Final = 1 << 30
_MIN_RESOLUTION: Final = 16.0  # S / sqrt(d): fewer steps than this in a coordinate and rounding is not noise

Fitted = TypeVar("Fitted")


def _power_of_two(exponent: int) -> Fraction:
    return Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)


def grid_sensitivity(clip: float, scale_log2: int) -> int:
    """Return S = floor(C * 2**scale_log2), exactly.

    >>> grid_sensitivity(0.75, 3)
    6
    """
    return math.floor(Fraction(clip) * _power_of_two(scale_log2))


def noise_tail(dimension: int, failure: float) -> float:
    """How many standard deviations no coordinate of integer noise exceeds, but for a chance of ``failure``.

    The discrete Gaussian's tail is 2 exp(-t^2 / 2); Skellam's 2 exp(-t^2/2 + t^4/(24 mu)), and the added 1
    absorbs the quartic term once mu >= t^3 / 12.
    """
    return math.sqrt(2.0 * math.log(2.0 * dimension / failure)) + 1.0


def finest_scale(
    clip: float, bits: int, dimension: int, fits: Callable[[int, int], tuple[int, Fitted] | None], what: str
) -> tuple[int, Fitted]:
    """Return the largest ``scale_log2`` that fits into ``bits``, with what ``fits`` says of it.

    Args:
        clip: C, the l2 bound in model units.
        bits: the modulus is ``2**bits``.
        dimension: d.
        fits: (scale_log2, bits) -> (S, anything), or None where the noisy sum may wrap or S is out of range.
        what: the sum in words, for the message.

    Raises:
        UnsafeParameters: fewer than 16 grid steps in S / sqrt(d); the message names the bits needed.
    """

    # The finest grid that any sensitivity in 1..2^30 can use; coarser ones follow one step at a time.
    finest = 31 - math.frexp(clip)[1]

    def search(width: int) -> tuple[int, Fitted] | None:
        for scale_log2 in range(finest, finest - 34, -1):
            found = fits(scale_log2, width)
            if found is not None:
                return (scale_log2, found[1]) if found[0] >= _MIN_RESOLUTION * math.sqrt(dimension) else None
        return None

    result = search(bits)
    if result is not None:
        return result
    needed = next((width for width in range(bits + 1, 63) if search(width) is not None), None)
    raise UnsafeParameters(
        f"{what} is too coarse in {bits} bits",
        hint=f"use bits = {needed}" if needed else "lower the batch, the noise or the dimension",
    )

"""Exact integer noise and Poisson sampling from a stream of random 64-bit words.

The law of a sample has no floating-point in it.  Entropy is the argument ``words``: a callable that returns n
fresh uniform 64-bit words as a uint64 array (a cipher's keystream in production), so that every draw can be
replayed and each guarantee rests on the generator alone.

``skellam`` and ``discrete_gaussian`` differ from their laws by at most 2^-112 in total variation for each
coordinate: 2^-130 from cutting the support at about 13.6 standard deviations or beyond, and, in the table for
small variances, (2K + 1) 2^-128 <= 2^-114 from rounding its weights (``protocols/dp/spec.md``, section
"Sampler").
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.dp.integer_sampler import DISCRETE_GAUSSIAN, SKELLAM, Law, Words, draw
from fedpriv.errors import UsageError

__all__ = [
    "MAX_VARIANCE",
    "TOTAL_VARIATION_LOG2",
    "Words",
    "discrete_gaussian",
    "poisson_sample",
    "skellam",
]

MAX_VARIANCE: Final = 1 << 60
TOTAL_VARIATION_LOG2: Final = -112  # of one coordinate of a sampler to its law


def skellam(variance: int, size: int, words: Words) -> NDArray[np.int64]:
    """Draw ``size`` independent Skellam integers: the difference of two Poisson(variance / 2) variables.

    Exact but for a total variation of at most 2^-112 a coordinate.  Closed under sums: shares of variances
    v_1, ..., v_n add up to a Skellam of variance v_1 + ... + v_n.

    Args:
        variance: 0 to 2^60, squared grid units; 0 gives zeros (and reads no word).
        size: number of draws.
        words: n -> uint64 array of n fresh uniform words.

    Returns:
        int64, shape (size,).

    Raises:
        UsageError: variance or size out of range.

    >>> generator = np.random.PCG64(7)  # a test generator; guarantees need a cryptographic one
    >>> draws = skellam(10**12, 100_000, lambda n: generator.random_raw(n))
    >>> bool(abs(draws.var() / 10**12 - 1) < 0.03)
    True
    """
    return _draw(SKELLAM, variance, size, words)


def discrete_gaussian(variance: int, size: int, words: Words) -> NDArray[np.int64]:
    """Draw ``size`` independent integers of the discrete Gaussian N_Z(0, variance).

    Exact but for a total variation of at most 2^-112 a coordinate, like ``skellam``.  *Not* closed under
    sums: n shares add up to something near N_Z(0, n * variance), and the event says how near.

    Args:
        variance: the parameter v of P(k) ~ exp(-k^2 / (2 v)), 0 to 2^60, squared grid units; 0 gives zeros
            (and reads no word).
        size: number of draws.
        words: n -> uint64 array of n fresh uniform words.

    Returns:
        int64, shape (size,).

    Raises:
        UsageError: variance or size out of range.

    >>> generator = np.random.PCG64(7)  # a test generator; guarantees need a cryptographic one
    >>> draws = discrete_gaussian(10**12, 100_000, lambda n: generator.random_raw(n))
    >>> bool(abs(draws.var() / 10**12 - 1) < 0.03)
    True
    """
    return _draw(DISCRETE_GAUSSIAN, variance, size, words)


def _draw(law: Law, variance: int, size: int, words: Words) -> NDArray[np.int64]:
    if not 0 <= variance <= MAX_VARIANCE:
        raise UsageError(f"the noise variance is {variance}; the sampler covers 0 to 2^60")
    if size < 0:
        raise UsageError(f"cannot draw {size} samples")
    if variance == 0 or size == 0:
        return np.zeros(size, dtype=np.int64)
    return draw(law, variance, size, words)


def poisson_sample(count: int, rate: float, words: Words) -> NDArray[np.int64]:
    """Choose each of ``count`` records independently with probability ``rate``, rounded down to 2^-64.

    Rounding down is the safe direction: a smaller rate reveals less.

    Returns:
        int64, the chosen indices in ascending order; possibly empty.

    Raises:
        UsageError: a negative count, or a rate outside [0, 1].

    >>> generator = np.random.PCG64(7)
    >>> poisson_sample(5, 1.0, lambda n: generator.random_raw(n))
    array([0, 1, 2, 3, 4])
    """
    if count < 0 or not 0.0 <= rate <= 1.0:
        raise UsageError(f"cannot sample {count} records at rate {rate}; the rate must lie in [0, 1]")
    threshold = math.floor(Fraction(rate) * (1 << 64))
    if threshold == 1 << 64:
        return np.arange(count, dtype=np.int64)
    return np.flatnonzero(words(count) < np.uint64(threshold)).astype(np.int64)

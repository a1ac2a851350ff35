"""Exact integer noise and Poisson sampling from a stream of random 64-bit words.

The law of a sample has no floating-point in it.  Entropy is the argument ``words``: a callable that returns n
fresh uniform 64-bit words as a uint64 array (a cipher's keystream in production), so that every draw can be
replayed and each guarantee rests on the generator alone.

``skellam`` differs from the Skellam law by at most 2^-112 in total variation for each coordinate: 2^-130 from
cutting the support at about 13.6 standard deviations or beyond, and, in the table for small variances,
(2K + 1) 2^-128 <= 2^-114 from rounding its weights (``protocols/dp/spec.md``, section "Sampler").
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.dp.skellam_law import integer_weights, log_ratio, log_ratio_error, precise_ratio, tail_radius
from fedpriv.errors import UsageError

__all__ = ["MAX_VARIANCE", "TOTAL_VARIATION_LOG2", "Words", "poisson_sample", "skellam"]

Words = Callable[[int], NDArray[np.uint64]]

MAX_VARIANCE: Final = 1 << 60
TOTAL_VARIATION_LOG2: Final = -112  # of one coordinate of ``skellam`` to the Skellam law

_TABLE_UP_TO: Final = 1 << 18  # variances up to here are drawn from a table of the whole support
_TABLE_BITS: Final = 128
_BIN_BITS: Final = 13  # 2^13 bins cover the support of a large variance
_CHUNK: Final = 1 << 15  # samples a pass: the working set stays in the second-level cache

# Half-width, in units of the acceptance probability, of the zone in which float64 does not decide.  It covers
# the rounding of exp and of the stored logarithms; a wider zone is sound too, only slower.
UNDECIDED: float = 2.0**-36


@dataclass(frozen=True, slots=True)
class _Alias:
    """Walker's alias method in integers: column c keeps itself when its residual is below ``keep[c]``."""

    column_bits: int
    keep: list[int]
    other: NDArray[np.int64]


def _alias(weights: list[int], total_bits: int) -> _Alias:
    """Split integer weights that add up to 2^total_bits over 2^a columns of equal capacity, exactly."""
    column_bits = max(1, (len(weights) - 1).bit_length())
    columns = 1 << column_bits
    capacity = 1 << (total_bits - column_bits)
    left = weights + [0] * (columns - len(weights))
    keep = [capacity] * columns
    other = np.arange(columns, dtype=np.int64)
    small = [c for c in range(columns) if left[c] < capacity]
    large = [c for c in range(columns) if left[c] >= capacity]
    while small:
        poor, rich = small.pop(), large[-1]
        keep[poor], other[poor] = left[poor], rich
        left[rich] -= capacity - left[poor]
        if left[rich] < capacity:
            small.append(large.pop())
    return _Alias(column_bits, keep, other)


@dataclass(frozen=True, slots=True)
class _Table:
    """The whole support of a small variance as an alias table of 128-bit weights."""

    radius: int
    alias: _Alias
    keep_high: NDArray[np.uint64] = field(repr=False)

    def draw(self, size: int, words: Words) -> NDArray[np.int64]:
        column_bits = np.uint64(self.alias.column_bits)
        first = words(size)
        column = (first & np.uint64((1 << self.alias.column_bits) - 1)).astype(np.int64)
        residual = first >> column_bits
        threshold = self.keep_high[column]
        kept = residual < threshold
        for tie in np.flatnonzero(residual == threshold):  # the second word decides; once in 2^50 draws
            kept[tie] = int(words(1)[0]) < self.alias.keep[int(column[tie])] & ((1 << 64) - 1)
        return np.where(kept, column, self.alias.other[column]) - self.radius


@lru_cache(maxsize=16)
def _table(variance: int) -> _Table:
    alias = _alias(integer_weights(variance, _TABLE_BITS), _TABLE_BITS)
    high = np.array([threshold >> 64 for threshold in alias.keep], dtype=np.uint64)
    return _Table(tail_radius(variance), alias, high)


@dataclass(frozen=True, slots=True)
class _Envelope:
    """Bins of 2^m integers with integer heights H above A * P(k)/P(0); A is an exact integer."""

    variance: int
    offset_bits: int
    amplitude: int
    heights: list[int]
    log_heights: NDArray[np.float64] = field(repr=False)  # ln(H / A)
    alias: _Alias = field(repr=False)
    keep: NDArray[np.uint64] = field(repr=False)
    sure: NDArray[np.uint64] = field(repr=False)  # accept below this without looking at k

    def draw(self, size: int, words: Words) -> NDArray[np.int64]:
        out = np.empty(size, dtype=np.int64)
        filled = 0
        while filled < size:
            wanted = min(_CHUNK, size - filled)
            found = self._pass(wanted + (wanted >> 7) + 8, words)[: size - filled]
            out[filled : filled + found.size] = found
            filled += found.size
        return out

    def _pass(self, count: int, words: Words) -> NDArray[np.int64]:
        stream = words(2 * count)
        first, second = stream[:count], stream[count:]
        column = (first & np.uint64((1 << _BIN_BITS) - 1)).astype(np.int64)
        bins = np.where(first >> np.uint64(_BIN_BITS) < self.keep[column], column, self.alias.other[column])
        offset_bits = np.uint64(self.offset_bits)
        offset = (second & np.uint64((1 << self.offset_bits) - 1)).view(np.int64)
        coin = second >> offset_bits
        k = ((bins - (1 << (_BIN_BITS - 1))) << self.offset_bits) + offset
        accepted = coin < self.sure[bins]
        unsure = np.flatnonzero(~accepted)
        accepted[unsure] = self._accept(k[unsure], bins[unsure], coin[unsure], words)
        return k[accepted]

    def _accept(
        self, k: NDArray[np.int64], bins: NDArray[np.int64], coin: NDArray[np.uint64], words: Words
    ) -> NDArray[np.bool_]:
        """Accept with probability exactly A * P(k) / (P(0) * H): float64 decides outside a narrow zone."""
        resolution = math.ldexp(1.0, self.offset_bits - 64)
        chance = np.exp(log_ratio(k.astype(np.float64), self.variance) - self.log_heights[bins])
        uniform = coin.astype(np.float64) * resolution
        band = UNDECIDED + log_ratio_error(self.variance) + resolution
        accepted = uniform < chance
        for i in np.flatnonzero(np.abs(uniform - chance) <= band):
            accepted[i] = self._resolve(int(k[i]), int(bins[i]), int(coin[i]), words)
        return np.asarray(accepted)

    def _resolve(self, k: int, bin_: int, coin: int, words: Words) -> bool:
        """Decide with 128 more random bits against 180 correct bits of the probability."""
        more = words(2)
        numerator = (coin << 128) | (int(more[0]) << 64) | int(more[1])
        uniform = Fraction(numerator, 1 << (64 - self.offset_bits + 128))
        return uniform * self.heights[bin_] < self.amplitude * precise_ratio(k, self.variance)


@lru_cache(maxsize=16)
def _envelope(variance: int) -> _Envelope:
    bins = 1 << _BIN_BITS
    half = bins // 2
    offset_bits = max(0, math.ceil(math.log2((tail_radius(variance) + 1) / half)))
    width = 1 << offset_bits
    starts = (np.arange(bins, dtype=np.int64) - half) * width
    ends = starts + (width - 1)
    # The law falls away from 0: a bin's largest value is at the end nearest to 0, its least at the other.
    near = np.where(starts >= 0, starts, ends)
    far = np.where(starts >= 0, ends, starts)
    log_top = log_ratio(near.astype(np.float64), variance)
    log_low = log_ratio(far.astype(np.float64), variance)
    margin = 1.0 + 2.0**-35 + 4.0 * log_ratio_error(variance)
    top = np.exp(log_top) * margin
    amplitude = math.floor(2.0**64 * (1.0 - 2.0**-30) / float(top.sum()))  # the sum below stays under 2^64
    heights = [math.floor(amplitude * float(value)) + 1 for value in top]
    heights[half] += (1 << 64) - sum(heights)  # any height above the law is an envelope
    log_heights = np.log(np.array([float(height) for height in heights])) - math.log(amplitude)
    alias = _alias(heights, 64)
    keep = np.array(alias.keep, dtype=np.uint64)
    ratio = np.exp(log_low - log_heights) * (2.0 - margin)
    sure = np.floor(np.ldexp(ratio, 64 - offset_bits - 1)).astype(np.uint64) * np.uint64(2)
    return _Envelope(variance, offset_bits, amplitude, heights, log_heights, alias, keep, sure)


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
    if not 0 <= variance <= MAX_VARIANCE:
        raise UsageError(f"the noise variance is {variance}; the sampler covers 0 to 2^60")
    if size < 0:
        raise UsageError(f"cannot draw {size} samples")
    if variance == 0 or size == 0:
        return np.zeros(size, dtype=np.int64)
    if variance <= _TABLE_UP_TO:
        return _table(variance).draw(size, words)
    return _envelope(variance).draw(size, words)


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

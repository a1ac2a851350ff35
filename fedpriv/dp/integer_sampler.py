"""Exact draws from a law on the integers: an alias table for small variances, else bins with rejection.

One machine, several laws.  A ``Law`` says how heavy an integer is, with the error of each evaluation stated;
``draw`` turns uniform words into integers that follow it.  No floating-point is in the law of what comes out:
float64 decides only where its error bound says that it can (``protocols/dp/spec.md``, section "Sampler").
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

from fedpriv.dp import discrete_gaussian_law, skellam_law

__all__ = ["DISCRETE_GAUSSIAN", "SKELLAM", "Envelope", "Law", "Table", "Words", "draw", "envelope", "table"]

Words = Callable[[int], NDArray[np.uint64]]

TABLE_UP_TO: Final = 1 << 18  # variances up to here are drawn from a table of the whole support
_TABLE_BITS: Final = 128
_BIN_BITS: Final = 13  # 2^13 bins cover the support of a large variance
_CHUNK: Final = 1 << 15  # samples a pass: the working set stays in the second-level cache

# Half-width, in units of the acceptance probability, of the zone in which float64 does not decide.  It covers
# the rounding of exp and of the stored logarithms; a wider zone is sound too, only slower.
UNDECIDED: float = 2.0**-36


@dataclass(frozen=True, slots=True)
class Law:
    """A symmetric law on the integers that falls away from 0, as functions of its one parameter.

    Attributes:
        tail_radius: variance -> K with P[|X| > K] < 2^-130.
        integer_weights: (variance, bits) -> 2K + 1 integers that add up to 2^bits, each floor(2^bits P(k))
            but for the middle one.
        log_ratio: (k, variance) -> ln(P(k) / P(0)) in float64, for variance > 2^18 and |k| <= 28 deviations.
        log_ratio_error: variance -> bound on the absolute error of ``log_ratio``.
        precise_ratio: (k, variance) -> P(k) / P(0) with relative error below 2^-180.
    """

    name: str
    tail_radius: Callable[[int], int]
    integer_weights: Callable[[int, int], list[int]]
    log_ratio: Callable[[NDArray[np.float64], int], NDArray[np.float64]]
    log_ratio_error: Callable[[int], float]
    precise_ratio: Callable[[int, int], Fraction]


SKELLAM: Final = Law(
    "Skellam",
    skellam_law.tail_radius,
    skellam_law.integer_weights,
    skellam_law.log_ratio,
    skellam_law.log_ratio_error,
    skellam_law.precise_ratio,
)
DISCRETE_GAUSSIAN: Final = Law(
    "discrete Gaussian",
    discrete_gaussian_law.tail_radius,
    discrete_gaussian_law.integer_weights,
    discrete_gaussian_law.log_ratio,
    discrete_gaussian_law.log_ratio_error,
    discrete_gaussian_law.precise_ratio,
)


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
class Table:
    """The whole support of a small variance as an alias table of 128-bit weights."""

    radius: int
    alias: _Alias
    keep_high: NDArray[np.uint64] = field(repr=False)

    def draw(self, size: int, words: Words) -> NDArray[np.int64]:
        """Draw ``size`` integers."""
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
def table(law: Law, variance: int) -> Table:
    """Build the alias table of a law."""
    alias = _alias(law.integer_weights(variance, _TABLE_BITS), _TABLE_BITS)
    high = np.array([threshold >> 64 for threshold in alias.keep], dtype=np.uint64)
    return Table(law.tail_radius(variance), alias, high)


@dataclass(frozen=True, slots=True)
class Envelope:
    """Bins of 2^m integers with integer heights H above A * P(k)/P(0); A is an exact integer."""

    law: Law
    variance: int
    bin_bits: int
    offset_bits: int
    amplitude: int
    heights: list[int]
    log_heights: NDArray[np.float64] = field(repr=False)  # ln(H / A)
    alias: _Alias = field(repr=False)
    keep: NDArray[np.uint64] = field(repr=False)
    sure: NDArray[np.uint64] = field(repr=False)  # accept below this without looking at k

    def draw(self, size: int, words: Words) -> NDArray[np.int64]:
        """Draw ``size`` integers."""
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
        column = (first & np.uint64((1 << self.bin_bits) - 1)).astype(np.int64)
        bins = np.where(
            first >> np.uint64(self.bin_bits) < self.keep[column], column, self.alias.other[column]
        )
        offset_bits = np.uint64(self.offset_bits)
        offset = (second & np.uint64((1 << self.offset_bits) - 1)).view(np.int64)
        coin = second >> offset_bits
        k = ((bins - (1 << (self.bin_bits - 1))) << self.offset_bits) + offset
        accepted = coin < self.sure[bins]
        unsure = np.flatnonzero(~accepted)
        accepted[unsure] = self._accept(k[unsure], bins[unsure], coin[unsure], words)
        return k[accepted]

    def _accept(
        self, k: NDArray[np.int64], bins: NDArray[np.int64], coin: NDArray[np.uint64], words: Words
    ) -> NDArray[np.bool_]:
        """Accept with probability exactly A * P(k) / (P(0) * H): float64 decides outside a narrow zone."""
        resolution = math.ldexp(1.0, self.offset_bits - 64)
        chance = np.exp(self.law.log_ratio(k.astype(np.float64), self.variance) - self.log_heights[bins])
        uniform = coin.astype(np.float64) * resolution
        band = UNDECIDED + self.law.log_ratio_error(self.variance) + resolution
        accepted = uniform < chance
        for i in np.flatnonzero(np.abs(uniform - chance) <= band):
            accepted[i] = self._resolve(int(k[i]), int(bins[i]), int(coin[i]), words)
        return np.asarray(accepted)

    def _resolve(self, k: int, bin_: int, coin: int, words: Words) -> bool:
        """Decide with 128 more random bits against 180 correct bits of the probability."""
        more = words(2)
        numerator = (coin << 128) | (int(more[0]) << 64) | int(more[1])
        uniform = Fraction(numerator, 1 << (64 - self.offset_bits + 128))
        return uniform * self.heights[bin_] < self.amplitude * self.law.precise_ratio(k, self.variance)


@lru_cache(maxsize=16)
def envelope(law: Law, variance: int, bin_bits: int = _BIN_BITS) -> Envelope:
    """Build the bins of a law; fewer bins give the same law, more slowly."""
    bins = 1 << bin_bits
    half = bins // 2
    offset_bits = max(0, math.ceil(math.log2((law.tail_radius(variance) + 1) / half)))
    width = 1 << offset_bits
    starts = (np.arange(bins, dtype=np.int64) - half) * width
    ends = starts + (width - 1)
    # The law falls away from 0: a bin's largest value is at the end nearest to 0, its least at the other.
    near = np.where(starts >= 0, starts, ends)
    far = np.where(starts >= 0, ends, starts)
    log_top = law.log_ratio(near.astype(np.float64), variance)
    log_low = law.log_ratio(far.astype(np.float64), variance)
    margin = 1.0 + 2.0**-35 + 4.0 * law.log_ratio_error(variance)
    top = np.exp(log_top) * margin
    amplitude = math.floor(2.0**64 * (1.0 - 2.0**-30) / float(top.sum()))  # the sum below stays under 2^64
    heights = [math.floor(amplitude * float(value)) + 1 for value in top]
    heights[half] += (1 << 64) - sum(heights)  # any height above the law is an envelope
    log_heights = np.log(np.array([float(height) for height in heights])) - math.log(amplitude)
    alias = _alias(heights, 64)
    keep = np.array(alias.keep, dtype=np.uint64)
    ratio = np.exp(log_low - log_heights) * (2.0 - margin)
    sure = np.floor(np.ldexp(ratio, 64 - offset_bits - 1)).astype(np.uint64) * np.uint64(2)
    return Envelope(law, variance, bin_bits, offset_bits, amplitude, heights, log_heights, alias, keep, sure)


def draw(law: Law, variance: int, size: int, words: Words) -> NDArray[np.int64]:
    """Draw ``size`` independent integers of a law; the caller has checked that 1 <= variance <= 2^60."""
    if variance <= TABLE_UP_TO:
        return table(law, variance).draw(size, words)
    return envelope(law, variance).draw(size, words)

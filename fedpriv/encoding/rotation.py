"""A random rotation that spreads a vector evenly over its coordinates: random signs and Walsh-Hadamard.

A vector of l2 norm C can put all of it on one coordinate; after the rotation each coordinate is about
C / sqrt(d) but for a sub-Gaussian factor, so a sum of n vectors fits into fewer bits
(``protocols/dp/spec.md``, section "Encoding").  No norm changes: sensitivity and noise are those of the
unrotated vector.

The idea is that of arXiv 2102.06387, which pads d to a power of two.  Here nothing is padded: with m the
largest power of two up to d, one transform turns the first m coordinates and a second, with signs of its own,
the last m.  They overlap, as 2 m > d, and each coordinate leaves with the tail of a transform of length m.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.encoding.rounding import Words
from fedpriv.errors import UsageError

__all__ = ["Rotation", "rotated_tail", "walsh_hadamard"]

_STEP: Final = (
    4  # stages a pass: products with the 16 x 16 matrix, five times faster than sums and differences
)
_BLOCK: Final = 1 << 14  # elements a product: cache-resident, and too small for a BLAS to start threads over
_MAX_DIMENSION: Final = 1 << 32


@lru_cache(maxsize=16)
def _matrix(stages: int, dtype: str) -> NDArray[Any]:
    """The Hadamard matrix of order 2^stages, entries +-1."""
    one = np.array([[1.0, 1.0], [1.0, -1.0]])
    matrix = np.ones((1, 1))
    for _ in range(stages):
        matrix = np.kron(one, matrix)
    matrix = matrix.astype(dtype)
    matrix.flags.writeable = False
    return matrix


def walsh_hadamard(vector: NDArray[np.floating]) -> None:
    """Multiply by the Walsh-Hadamard matrix (entries +-1, natural order), in place.

    Twice is multiplication by the length; divided by sqrt(length) the transform is orthonormal.  Beside the
    vector it takes a scratch of 2^14 numbers.

    Args:
        vector: shape (2^k,), contiguous float32 or float64, changed in place.

    Raises:
        UsageError: another shape, dtype or layout.

    >>> x = np.array([1.0, 0.0, 0.0, 2.0]); walsh_hadamard(x); x
    array([ 3., -1., -1.,  3.])
    """
    length = vector.size
    if vector.ndim != 1 or length < 1 or length & (length - 1):
        raise UsageError(f"a Walsh-Hadamard transform takes a power of two of numbers, not {vector.shape}")
    if vector.dtype not in (np.float32, np.float64) or not vector.flags.c_contiguous:
        raise UsageError("a Walsh-Hadamard transform takes contiguous float32 or float64 numbers")
    stages = length.bit_length() - 1
    scratch = np.empty(min(length, _BLOCK), dtype=vector.dtype)
    done = 0
    while done < stages:
        step = min(_STEP, stages - done)
        matrix = _matrix(step, vector.dtype.str)
        order, inner = 1 << step, 1 << done
        if inner == 1:
            rows = vector.reshape(-1, order)
            count = _BLOCK // order
            for first in range(0, len(rows), count):
                _replace(rows[first : first + count], matrix, scratch, left=False)
        else:
            groups = vector.reshape(-1, order, inner)
            width = min(inner, _BLOCK // order)
            count = _BLOCK // (order * width)
            for first in range(0, len(groups), count):
                for column in range(0, inner, width):
                    piece = groups[first : first + count, :, column : column + width]
                    _replace(piece, matrix, scratch, left=True)
        done += step


def _replace(piece: NDArray[Any], matrix: NDArray[Any], scratch: NDArray[Any], *, left: bool) -> None:
    """Overwrite a piece by its product with the matrix."""
    target = scratch[: piece.size].reshape(piece.shape)
    np.matmul(matrix, piece, out=target) if left else np.matmul(piece, matrix, out=target)
    piece[...] = target


def _finite(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """The vector, once it is known to hold numbers only."""
    if not np.isfinite(vector).all():
        raise UsageError("the vector holds a NaN, an infinity or a number too large to add up")
    return vector


def rotated_tail(dimension: int, failure: float) -> float:
    """Bound the largest coordinate of a rotated vector of norm 1, but for a chance of ``failure``.

    Each coordinate is a sum of independent signs times numbers whose squares add up to at most 1 / m, with m
    the largest power of two up to d: P[|y_k| > t] <= 2 exp(-m t^2 / 2) by Hoeffding, and d coordinates.
    The signs must not have been known to whoever chose the vector.  Never above 1, the norm itself.

    Args:
        dimension: d, number of coordinates.
        failure: chance that any coordinate is larger, in (0, 1).

    >>> round(rotated_tail(75_000, 2.0**-40), 4)
    0.0348
    """
    if dimension < 1 or not 0.0 < failure < 1.0:
        raise UsageError(f"dimension {dimension} and failure {failure}: need d >= 1 and a chance in (0, 1)")
    half = 1 << (dimension.bit_length() - 1)
    return min(1.0, math.sqrt(2.0 * math.log(2.0 * dimension / failure) / half))


@dataclass(frozen=True, slots=True)
class Rotation:
    """One random rotation of R^d; every party that draws it from the same words has the same one.

    A fresh one a round: its signs must be independent of the vectors that it turns.  It need not be secret
    from anybody, and no privacy rests on it.

    Attributes:
        dimension: d, 1 to 2^32.
        signs: two packed rows of ceil(m / 8) bytes, one for each transform; a bit set is a minus.

    Raises:
        UsageError: a dimension or signs out of shape.

    >>> generator = np.random.PCG64(7)  # in a run: a keystream under the round's public seed
    >>> turn = Rotation.draw(5, lambda n: generator.random_raw(n))
    >>> flat = turn.rotate(np.array([1.0, 0.0, 0.0, 0.0, 0.0]))
    >>> bool(np.allclose(turn.inverse(flat), [1, 0, 0, 0, 0]))
    True
    """

    dimension: int
    signs: NDArray[np.uint8] = field(repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.dimension <= _MAX_DIMENSION:
            raise UsageError(f"the dimension is {self.dimension}; a rotation covers 1 to 2^32")
        shape = (2, -(-self.length // 8))
        if self.signs.dtype != np.uint8 or self.signs.shape != shape:
            raise UsageError(f"the signs of a rotation are {shape} bytes, not {self.signs.shape}")

    @classmethod
    def draw(cls, dimension: int, words: Words) -> Rotation:
        """Draw the signs: for each of the two transforms ceil(m / 64) words, lowest bit first."""
        if not 1 <= dimension <= _MAX_DIMENSION:
            raise UsageError(f"the dimension is {dimension}; a rotation covers 1 to 2^32")
        half = 1 << (dimension.bit_length() - 1)
        count = -(-half // 64)
        raw = words(2 * count).astype("<u8").view(np.uint8).reshape(2, -1)
        return cls(dimension, np.ascontiguousarray(raw[:, : -(-half // 8)]))

    @property
    def length(self) -> int:
        """m, the largest power of two up to d: the length of each transform."""
        return 1 << (self.dimension.bit_length() - 1)

    def rotate(self, vector: NDArray[np.floating]) -> NDArray[np.float64]:
        """Turn a vector; its norm stays, but for rounding.

        Args:
            vector: shape (d,), float32 or float64; left as it is.

        Returns:
            float64, shape (d,), within 2^-43 of the exact image in l2, relative to its norm.

        Raises:
            UsageError: another shape or dtype, a NaN, an infinity, or a number too large to add up.
        """
        turned = self._copy(vector)
        with np.errstate(over="ignore", invalid="ignore"):
            self._turn(turned, *map(self._factors, self.signs))
        return _finite(turned)

    def rows(self, vectors: NDArray[np.floating]) -> Iterator[NDArray[np.float64]]:
        """Turn many vectors, each as ``rotate`` does and by itself: a function of that vector, to the bit.

        Beside them it keeps three vectors, however many there are.

        Args:
            vectors: shape (B, d), float32 or float64; left as they are.

        Yields:
            float64, shape (d,), in order; the next overwrites it.  What is not finite comes out not finite.

        Raises:
            UsageError: another shape or dtype.
        """
        if vectors.ndim != 2:
            raise UsageError(f"rows to rotate have shape {vectors.shape}; need (B, {self.dimension})")
        first, second = map(self._factors, self.signs)
        turned = np.empty(self.dimension)
        for vector in vectors:
            self._check(vector)
            np.copyto(turned, vector)
            with np.errstate(over="ignore", invalid="ignore"):
                self._turn(turned, first, second)
            yield turned

    def inverse(self, vector: NDArray[np.floating]) -> NDArray[np.float64]:
        """Turn a vector, or a sum of turned vectors, back: as ``rotate``, the other way round."""
        turned = self._copy(vector)
        with np.errstate(over="ignore", invalid="ignore"):
            if self.length != self.dimension:
                self._turn_back(turned[-self.length :], self.signs[1])
            self._turn_back(turned[: self.length], self.signs[0])
        return _finite(turned)

    def _copy(self, vector: NDArray[np.floating]) -> NDArray[np.float64]:
        self._check(vector)
        return vector.astype(np.float64)

    def _check(self, vector: NDArray[np.floating]) -> None:
        if vector.shape != (self.dimension,) or vector.dtype not in (np.float32, np.float64):
            raise UsageError(
                f"a rotation of {self.dimension} coordinates takes float32 or float64 of that many, not"
                f" {vector.dtype} of shape {vector.shape}"
            )

    def _factors(self, signs: NDArray[np.uint8]) -> NDArray[np.float64]:
        bits = np.unpackbits(signs, count=self.length, bitorder="little")
        return np.array([1.0, -1.0])[bits] / math.sqrt(self.length)

    def _turn(
        self, vector: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64]
    ) -> None:
        piece = vector[: self.length]
        piece *= first
        walsh_hadamard(piece)
        if self.length != self.dimension:
            piece = vector[-self.length :]
            piece *= second
            walsh_hadamard(piece)

    def _turn_back(self, piece: NDArray[np.float64], signs: NDArray[np.uint8]) -> None:
        walsh_hadamard(piece)
        piece *= self._factors(signs)

"""Banded matrix factorisation: noise that later rounds take back in part, for central trust.

A lower triangular Toeplitz C with b diagonals; the server releases x_i + (C^{-1} Z)_i with Z independent
Gaussian noise, which is a function of C x + Z.  Sources: Denisov et al. 2022 (arXiv 2202.08312),
Choquette-Choo et al. 2023 (2306.08153; 2211.06530 for several participations), the square root as C:
Fichtenberger et al. 2023 (2202.11205). The event is `BandedMatrixRound`; the argument for its price is 7.8 of
``protocols/dp/spec.md``.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UsageError

__all__ = ["CorrelatedNoise", "banded_sqrt"]

_MOST_BANDS: Final = 4096


def banded_sqrt(bands: int, rounds: int) -> NDArray[np.float64]:
    """Return the diagonals of C, the main one first: the square root of the prefix sum, cut to ``bands``.

    c_0 = 1, c_m = c_{m-1} (2m - 1) / (2m), all scaled so that no column of C has a norm above 1 (exactly).

    Args:
        bands: b; each unit takes part at most once in any b consecutive rounds.
        rounds: n, rounds of the run; min(b, n) diagonals are returned.

    Raises:
        UsageError: bands outside 1 to 4096, or no rounds.

    >>> banded_sqrt(3, 100).round(4).tolist()
    [0.848, 0.424, 0.318]
    >>> banded_sqrt(1, 100).tolist()
    [1.0]
    """
    if not 1 <= bands <= _MOST_BANDS:
        raise UsageError(f"the matrix has {bands} bands; 1 to {_MOST_BANDS} are possible")
    if rounds < 1:
        raise UsageError(f"rounds is {rounds}; at least one round is needed")
    m = np.arange(1.0, min(bands, rounds))
    c = np.concatenate([[1.0], np.cumprod((2.0 * m - 1.0) / (2.0 * m))])
    c /= np.sqrt(np.sum(c * c))
    while sum(Fraction(value) ** 2 for value in c.tolist()) > 1:
        c = np.nextafter(c, 0.0)
    return np.asarray(c)


class CorrelatedNoise:
    """C^{-1} Z, one row a round, in memory for the last b - 1 rows.

    Row i is (z_i - c_1 y_{i-1} - ... - c_{b-1} y_{i-b+1}) / c_0, the y being the rows before.  Fresh
    independent noise z is an argument; its scale is the caller's: noise multiplier times sensitivity for a C
    whose columns have norm at most 1.

    Args:
        diagonals: c_0, ..., c_{b-1} as from `banded_sqrt`, c_0 positive.
        dimension: d, coordinates of a row.
        rows: what `rows` returned earlier, to go on from there.

    Raises:
        UsageError: shapes that do not fit, or a value that is not finite.

    >>> noise = CorrelatedNoise(np.array([1.0, 0.5]), 2)
    >>> noise.next(np.array([1.0, 2.0])).tolist(), noise.next(np.zeros(2)).tolist()
    ([1.0, 2.0], [-0.5, -1.0])
    """

    __slots__ = ("_diagonals", "_next", "_rows")

    def __init__(
        self, diagonals: NDArray[np.float64], dimension: int, rows: NDArray[np.float64] | None = None
    ) -> None:
        c = np.array(diagonals, dtype=np.float64)
        if c.ndim != 1 or not c.size or not np.isfinite(c).all() or not c[0] > 0.0:
            raise UsageError("the diagonals of a banded matrix are finite numbers, the main one positive")
        if dimension < 1:
            raise UsageError(f"the dimension is {dimension}; it must be at least 1")
        shape = (c.size - 1, dimension)
        kept = np.zeros(shape) if rows is None else np.array(rows, dtype=np.float64)
        if kept.shape != shape or not np.isfinite(kept).all():
            raise UsageError(f"the rows to go on from have shape {kept.shape}; finite ones of {shape} fit")
        self._diagonals = c
        self._rows = kept  # a ring: row r of the run stands at r modulo b - 1
        self._next = 0

    def next(self, fresh: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the noise of the next round, made of ``fresh`` (shape (d,)) and the rows before.

        Raises:
            UsageError: ``fresh`` has another shape or is not finite.
        """
        z = np.array(fresh, dtype=np.float64)
        if z.shape != self._rows.shape[1:] or not np.isfinite(z).all():
            raise UsageError(
                f"fresh noise of shape {z.shape}; finite noise of {self._rows.shape[1:]} is needed"
            )
        back = len(self._rows)
        for m in range(1, back + 1):
            z -= self._diagonals[m] * self._rows[(self._next - m) % back]
        z /= self._diagonals[0]
        if back:
            self._rows[self._next] = z
            self._next = (self._next + 1) % back
        return z

    @property
    def rows(self) -> NDArray[np.float64]:
        """The last b - 1 rows, oldest first, shape (b - 1, d): all that the next rounds need.  Secret."""
        return np.roll(self._rows, -self._next, axis=0)

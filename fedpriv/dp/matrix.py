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

__all__ = ["banded_sqrt"]

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

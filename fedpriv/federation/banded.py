"""Sums released through a banded matrix: noise that later rounds take back in part (spec 11.8).

The server, trusted under ``central``, forms the rows of C x from the exact sums x of this and the last b - 1
rounds, on a lattice finer than the grid, and adds integer noise Z.  That is the whole release; what is handed
on is solved from it and from what was handed on before, which costs nothing.

The exact sums live in memory and nowhere else.  After a lost round, and after a run was taken up again, rows
start anew: C then has fewer entries, and no column of it is longer for that, so the guarantee stays and only
the correlation is lost.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedpriv import dp
from fedpriv.errors import UnsafeParameters

__all__ = ["BandedRelease", "FineNoise"]

_FINEST: Final = 58  # log2 of the variance on the lattice: the sampler goes to 60
_EXACT: Final = 2.0**51  # of b^1.5 n S: b products and sums in doubles are then off by a quarter at most
_SLACK_SHARE: Final = 2.0**-20  # of delta, that the distance of all the noise from a Gaussian may take


class FineNoise:
    """The noise of one row on a lattice of steps 2^-fine grid units.

    Args:
        noise: the plan; its server's variance over the grid is what the event states.
        bands: b.

    Attributes:
        fine: log2 of lattice steps in a grid unit.
        sensitivity: by how much one participation moves all rows together, in lattice steps: S 2^fine, and
            2 sqrt(d b) for the rounding of the rows.
        variance: of each coordinate of Z, in squared lattice steps: as many times the sensitivity as planned.
    """

    def __init__(self, noise: dp.NoisePlan, bands: int) -> None:
        self.fine = max(0, math.floor((_FINEST - math.log2(noise.server_variance)) / 2))
        rounding = math.isqrt(4 * noise.dimension * bands - 1) + 1
        self.sensitivity = (noise.sensitivity << self.fine) + rounding
        self.variance = math.ceil(Fraction(noise.server_variance, noise.sensitivity**2) * self.sensitivity**2)
        self.dimension = noise.dimension
        self._clients, self._bands = noise.clients, bands
        self._largest = bands**1.5 * noise.clients * (noise.sensitivity << self.fine)

    def slack(self, rounds: int) -> float:
        """Distance in total variation of all rows' noise from rounded Gaussian noise."""
        return rounds * dp.skellam_gaussian_tv(self.variance, self.dimension)

    def check(self, rounds: int, *, epsilon: float, delta: float) -> None:
        """Refuse a plan whose event, which is that of Gaussian noise, would leave too much unsaid.

        Raises:
            UnsafeParameters: (1 + e^epsilon) slack is more than 2^-20 of ``delta``, or sums are so large that
                rows in double precision are not exact to a quarter of a lattice step.
        """
        if self._largest >= _EXACT:
            raise UnsafeParameters(
                f"{self._clients} clients a round in {self._bands} bands are too many for exact rows",
                hint="use fewer bits, or more noise",
            )
        if epsilon > 700.0 or (1.0 + math.exp(epsilon)) * self.slack(rounds) > _SLACK_SHARE * delta:
            raise UnsafeParameters(
                "the banded matrix mechanism is priced as Gaussian noise, and its integer noise is too "
                f"coarse for delta = {delta:g} at epsilon = {epsilon:.3g}",
                hint="use more noise, fewer rounds or a larger delta",
            )


class BandedRelease:
    """The rows of C x + Z, one a round, and the estimates of x that are solved from them.

    >>> noise = dp.NoisePlan(trust="central", clients=4, min_survivors=2, max_colluders=0,
    ...                      noise_multiplier=1.0, sensitivity=2**20, dimension=2, sampling_rate=1.0)
    >>> release = BandedRelease(noise, bands=2, rounds=10)
    >>> release.fine.fine
    9
    """

    def __init__(self, noise: dp.NoisePlan, *, bands: int, rounds: int) -> None:
        self.fine = FineNoise(noise, bands)
        self._diagonals = dp.banded_sqrt(bands, rounds)
        self._sums: list[NDArray[np.int64]] = []
        self._estimates: list[NDArray[np.float64]] = []

    def reset(self) -> None:
        """Forget the rounds before: the next row is the first of a block of its own."""
        self._sums.clear()
        self._estimates.clear()

    def row(self, total: NDArray[np.int64]) -> NDArray[np.int64]:
        """Take in the sum of this round and return its row of C x, to a step of the lattice.  Secret."""
        self._sums.insert(0, total)
        del self._sums[len(self._diagonals) :]
        row = np.zeros(total.shape)
        for diagonal, past in zip(self._diagonals, self._sums, strict=False):
            row += diagonal * past.astype(np.float64)
        return np.rint(np.ldexp(row, self.fine.fine)).astype(np.int64)

    def next(self, total: NDArray[np.int64], words: dp.Words) -> NDArray[np.float64]:
        """Release the next row and return the estimate of ``total``, float64, in grid units.

        Args:
            total: the exact sum of this round, int64, shape ``(dimension,)``.
            words: the source of the noise.
        """
        lattice = self.row(total) + dp.skellam(self.fine.variance, total.size, words)
        estimate = np.ldexp(lattice.astype(np.float64), -self.fine.fine)
        for diagonal, past_estimate in zip(self._diagonals[1:], self._estimates, strict=False):
            estimate -= diagonal * past_estimate
        estimate /= self._diagonals[0]
        self._estimates.insert(0, estimate)
        del self._estimates[len(self._diagonals) - 1 :]
        return estimate

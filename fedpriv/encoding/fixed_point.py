"""Real vectors as integers modulo 2^b, with a sensitivity that holds in integers.

Each contribution (one record's clipped gradient, or one client's update) becomes an *integer* vector of l2
norm at most S before anything is summed.  Sums of integers are exact, so adding or removing a contribution
moves the sum by at most S: no rounding term, no floating-point gap (``protocols/dp/spec.md``, section
"Sensitivity").
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.encoding.rotation import rotated_tail
from fedpriv.encoding.scale import MAX_SENSITIVITY, finest_scale, grid_sensitivity, noise_tail
from fedpriv.errors import UnsafeParameters, UsageError

__all__ = ["FixedPoint"]

_EXACT_FLOAT: Final = float(1 << 53)  # sums of integers of absolute values below this are exact in float64
_BLOCK: Final = 1 << 15  # coordinates at a time: a row of millions is read from memory, and nothing else is


def _square(row: NDArray[np.float64]) -> float:
    """Return the sum of squares; not by BLAS, whose threads wait for one another when cores are busy."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.einsum("i,i->", row, row))


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """A fixed-point grid for sums modulo ``2**bits``.

    Attributes:
        bits: the modulus is ``2**bits``, 2 to 62.
        clients: most clients whose vectors are added.
        clip: C, the l2 bound of one contribution, in model units.
        scale_log2: one grid unit is ``2**-scale_log2`` model units; may be negative.
        sensitivity: S = floor(C * 2**scale_log2), the l2 bound of one integer contribution.
        client_bound: L; each coordinate of a client's sum is clamped into [-L, L].

    Raises:
        UsageError: a field out of its range.
        UnsafeParameters: ``sensitivity`` is not what ``clip`` and ``scale_log2`` give, or ``clients`` clamped
            sums do not fit into the modulus.
    """

    bits: int
    clients: int
    clip: float
    scale_log2: int
    sensitivity: int
    client_bound: int

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 62:
            raise UsageError(f"bits is {self.bits}; the modulus 2^bits needs 2 to 62")
        if self.clients < 1:
            raise UsageError(f"clients is {self.clients}; at least one client must contribute")
        if not (math.isfinite(self.clip) and self.clip > 0.0):
            raise UsageError(f"clip is {self.clip}; the l2 bound must be positive and finite")
        if abs(self.scale_log2) > 1000:
            raise UsageError(f"scale_log2 is {self.scale_log2}; the grid must be within 2^-1000 and 2^1000")
        if self.sensitivity != grid_sensitivity(self.clip, self.scale_log2):
            raise UnsafeParameters(
                f"sensitivity {self.sensitivity} is not floor({self.clip} * 2^{self.scale_log2})"
            )
        if not 1 <= self.sensitivity <= MAX_SENSITIVITY:
            raise UnsafeParameters(f"sensitivity {self.sensitivity} is outside 1..2^30; change the scale")
        if self.client_bound < 1 or self.clients * self.client_bound >= 1 << (self.bits - 1):
            raise UnsafeParameters(
                f"{self.clients} clients of up to {self.client_bound} a coordinate do not fit into"
                f" {self.bits} bits"
            )

    @classmethod
    def plan(
        cls,
        *,
        bits: int,
        clients: int,
        clip: float,
        expected_contributions: float,
        noise_multiplier: float,
        share_excess: float,
        dimension: int,
        rotated: int | None = None,
        beside: float = 0.0,
        failure: float = 2.0**-40,
    ) -> FixedPoint:
        """Choose the finest power-of-two grid on which the noisy sum does not wrap.

        With k = sqrt(2 ln(2 d / failure)) + 1 the plan guarantees ``clients * L + k * std < 2**(bits - 1)``,
        where ``std = z * S * sqrt(share_excess)`` is the noise of all clients, and ``clients * L >= 2 *
        expected_contributions * S``: a wrap has probability at most ``failure`` a round, and a clamp needs
        twice the expected batch to point along one axis.  Neither costs privacy (clamping is 1-Lipschitz in
        each coordinate, reduction modulo ``2**bits`` is post-processing).

        Where contributions are rotated before they are rounded, L need not hold twice a client's expected
        contributions on one axis, but their sum in any direction, turned (``protocols/dp/spec.md``, 9.8): L
        falls to about T = ``rotated_tail`` of what it was, and half of ``failure`` is for T.

        Args:
            expected_contributions: expected number of contributions in the *whole* sum.
            noise_multiplier: planned z; 0 for no noise.
            share_excess: variance of the noise of all clients over (zS)^2, at least 1 with noise.
            dimension: d, number of coordinates.
            rotated: how many of them a random rotation turns; None for none.
            beside: largest that a client adds to one of the others, in parts of S.
            failure: bound on the probability that any coordinate wraps, or, rotated, is clamped.

        Raises:
            UnsafeParameters: fewer than 16 grid steps in S / sqrt(d); the message names the bits needed.

        >>> FixedPoint.plan(bits=32, clients=8, clip=0.5, expected_contributions=512, noise_multiplier=1.0,
        ...                 share_excess=1.5, dimension=75_000).sensitivity
        1048576
        >>> FixedPoint.plan(bits=27, clients=8, clip=0.5, expected_contributions=512, noise_multiplier=1.0,
        ...                 share_excess=1.5, dimension=75_000, rotated=75_000).sensitivity
        1048576
        """
        if not (math.isfinite(clip) and clip > 0.0):
            raise UsageError(f"clip is {clip}; the l2 bound must be positive and finite")
        if dimension < 1 or clients < 1 or not 2 <= bits <= 62:
            raise UsageError(
                f"dimension {dimension}, clients {clients} and bits {bits}: need d, n >= 1 and 2 to 62"
            )
        if not (expected_contributions > 0.0 and math.isfinite(expected_contributions)):
            raise UsageError(f"expected_contributions is {expected_contributions}; it must be positive")
        if not (noise_multiplier >= 0.0 and share_excess >= 0.0 and 0.0 < failure < 1.0):
            raise UsageError("noise_multiplier and share_excess must not be negative, failure lies in (0, 1)")
        if (rotated is not None and not 1 <= rotated <= dimension) or not 0.0 <= beside < math.inf:
            raise UsageError(f"rotated is {rotated} of {dimension} and beside {beside}; out of range")
        noise_failure = failure if rotated is None else failure / 2.0
        tail = noise_tail(dimension, noise_failure) * noise_multiplier * math.sqrt(share_excess)
        spread = noise_multiplier * math.sqrt(max(share_excess, 1.0))
        each = 2 * Fraction(expected_contributions) / clients  # contributions of a client that L holds
        flat = None if rotated is None else Fraction(rotated_tail(rotated, failure / (2.0 * clients)))

        def fits(scale_log2: int, width: int) -> tuple[int, tuple[int, int]] | None:
            s = grid_sensitivity(clip, scale_log2)
            if s < 1 or s > MAX_SENSITIVITY or s * spread > MAX_SENSITIVITY:
                return None
            bound = max(s, math.ceil(each * s))
            if flat is not None:  # C 2^s is below S + 1, and rounding moves a coordinate by less than 1
                bound = min(bound, math.ceil(max(each, Fraction(1)) * ((s + 1) * flat + 1)))
            bound = max(bound, math.ceil(beside * s))
            return (s, (s, bound)) if clients * bound + math.ceil(tail * s) + 1 < 1 << (width - 1) else None

        what = f"a sum of {expected_contributions:g} expected contributions in {dimension} coordinates"
        scale_log2, (sensitivity, bound) = finest_scale(clip, bits, dimension, fits, what)
        return cls(
            bits=bits,
            clients=clients,
            clip=clip,
            scale_log2=scale_log2,
            sensitivity=sensitivity,
            client_bound=bound,
        )

    def quantise(self, contributions: NDArray[np.floating]) -> NDArray[np.int64]:
        """Round each row to integers of l2 norm at most S, and add the rows exactly.

        Args:
            contributions: shape (B, d), float32 or float64, one contribution a row, model units; B may be 0.

        Returns:
            int64, shape (d,).  ``abs`` of the sum is at most B * S in every coordinate.

        Raises:
            UsageError: not two-dimensional, not floating, a NaN or infinity, or B * S >= 2^53.

        >>> import numpy as np
        >>> grid = FixedPoint(bits=16, clients=2, clip=1.0, scale_log2=4, sensitivity=16, client_bound=64)
        >>> grid.quantise(np.array([[0.6, 0.8], [0.0, 9.0]], dtype=np.float32))
        array([ 9, 28])
        """
        if contributions.ndim != 2 or contributions.dtype not in (np.float32, np.float64):
            raise UsageError(
                f"contributions have shape {contributions.shape} and dtype {contributions.dtype};"
                " need (B, d) float32 or float64"
            )
        rows, dimension = contributions.shape
        if rows * self.sensitivity >= _EXACT_FLOAT:
            raise UsageError(f"{rows} contributions of norm {self.sensitivity} do not add up exactly")
        kept, total = [], np.zeros(dimension, dtype=np.int64)
        for row in contributions:
            estimate = sum(map(_square, self._blocks(row)))
            if not math.isfinite(estimate):
                raise UsageError("a contribution holds a NaN, an infinity or a number too large to square")
            if self._within(self._blocks(row), estimate):
                kept.append(row)
            else:
                total += self._shrink(row)
        scaled, added = np.empty((2, min(_BLOCK, dimension)))
        for begin in range(0, dimension, _BLOCK):
            part = total[begin : begin + _BLOCK]
            added[:] = 0.0
            for row in kept:
                added[: part.size] += self._rounded(row[begin : begin + _BLOCK], scaled)
            part += added[: part.size].astype(np.int64)
        return total

    def _blocks(self, row: NDArray[np.floating]) -> Iterator[NDArray[np.float64]]:
        """A row's integers, as floats, a block at a time; each overwrites the one before."""
        scaled = np.empty(min(_BLOCK, row.size))
        for begin in range(0, row.size, _BLOCK):
            yield self._rounded(row[begin : begin + _BLOCK], scaled)

    def _rounded(self, values: NDArray[np.floating], out: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values in grid units, rounded to nearest, at the start of ``out``."""
        found = out[: values.size]
        with np.errstate(over="ignore", invalid="ignore"):
            np.multiply(values, self._factor, out=found, dtype=np.float64)  # a power of two: exact
            return np.rint(found, out=found)

    @property
    def _factor(self) -> float:
        """Grid units in one model unit."""
        return math.ldexp(1.0, self.scale_log2)

    def _within(self, integers: Iterable[NDArray[np.float64]], estimate: float) -> bool:
        """Say whether integer-valued floats, in blocks, have l2 norm at most S, exactly.

        ``estimate`` is the sum of their squares in floats; the blocks are looked at where it does not tell.
        """
        bound = self.sensitivity**2
        # A float sum of squares of integers is exact below 2^53 whatever its order (every partial sum is an
        # integer below 2^53), and at least 2^53 when the true sum is: rounding is monotone.
        if estimate < _EXACT_FLOAT:
            return estimate <= bound
        if bound < 1 << 53 or estimate > 2.0**61:  # relative error of the float sum is below d * 2^-52 << 1
            return False
        exact = (block.astype(np.int64) for block in integers)  # sum of squares below 2^62: no overflow
        return sum(int(np.einsum("i,i->", block, block)) for block in exact) <= bound

    def _shrink(self, row: NDArray[np.floating]) -> NDArray[np.int64]:
        """Scale a row into the ball and truncate toward zero, until the exact norm is at most S."""
        scaled = row.astype(np.float64) * self._factor
        norm = math.sqrt(_square(scaled))
        factor = min(1.0, self.sensitivity / norm) if norm > 0.0 else 0.0
        step = 2.0**-50
        while True:
            truncated = np.trunc(scaled * factor)
            if self._within([truncated], _square(truncated)):
                return truncated.astype(np.int64)
            factor *= 1.0 - step
            step = min(0.5, 4.0 * step)

    def clamp(self, total: NDArray[np.int64]) -> NDArray[np.int64]:
        """Clamp every coordinate of one client's sum into [-L, L]; the sensitivity stays S (1-Lipschitz)."""
        return np.clip(total, -self.client_bound, self.client_bound)

    def to_residues(self, values: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return ``values mod 2**bits`` as uint64, same shape."""
        mask = np.uint64((1 << self.bits) - 1)
        return np.bitwise_and(values.astype(np.int64, copy=False).view(np.uint64), mask)

    def centre(self, residues: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the representatives in [-2**(bits-1), 2**(bits-1)) of residues below ``2**bits``.

        Raises:
            UsageError: wrong dtype, or a residue that is not below ``2**bits``.

        >>> import numpy as np
        >>> grid = FixedPoint(bits=8, clients=2, clip=1.0, scale_log2=4, sensitivity=16, client_bound=32)
        >>> grid.centre(grid.to_residues(np.array([-128, -1, 0, 127])))
        array([-128,   -1,    0,  127])
        """
        if residues.dtype != np.uint64:
            raise UsageError(f"residues have dtype {residues.dtype}; need uint64")
        if residues.size and int(residues.max()) >> self.bits:
            raise UsageError(f"a residue is not below 2^{self.bits}")
        half = np.int64(1 << (self.bits - 1))
        shifted = (residues + np.uint64(half)) & np.uint64((1 << self.bits) - 1)
        return shifted.view(np.int64) - half

    def decode(self, total: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return grid units as model units: ``total * 2**-scale_log2``, float64, same shape."""
        return np.ldexp(total.astype(np.float64), -self.scale_log2)

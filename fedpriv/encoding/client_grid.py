"""One vector a client: rotate, round, clamp, and decode the sum.

Where every client sends a single clipped vector (``unit = client``) the sum of n of them can be large in a
coordinate only if they all point there.  A random rotation rules that out, so the modulus need not hold n * S
but about n * S * sqrt(2 ln(..) / d): the same sensitivity in fewer bits (``protocols/dp/spec.md``, section
"Encoding").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fedpriv.encoding.fixed_point import FixedPoint
from fedpriv.encoding.rotation import Rotation, rotated_tail
from fedpriv.encoding.rounding import StochasticRounding, Words
from fedpriv.encoding.scale import MAX_SENSITIVITY, finest_scale, grid_sensitivity, noise_tail
from fedpriv.errors import UsageError

__all__ = ["ClientGrid", "RoundingMode"]

RoundingMode = Literal["nearest", "stochastic"]

_FAILURE: Final = 2.0**-40


@dataclass(frozen=True, slots=True)
class ClientGrid:
    """How one clipped vector a client becomes integers modulo ``2**bits``, and the sum a vector again.

    Attributes:
        fixed: the grid, the modulus and the clamp bound L.
        dimension: d; the integers have as many coordinates, rotated or not.
        rotated: whether vectors are rotated before they are rounded.
        rounding: ``nearest``: sensitivity S, as for records; ``stochastic``: unbiased, with the sensitivity
            of ``StochasticRounding``.

    >>> plan = ClientGrid.plan(bits=26, clients=338, clip=1.0, noise_multiplier=1.0, share_excess=1.3,
    ...                        dimension=131_072)
    >>> plan.sensitivity == 2**20, plan.fixed.client_bound < 2**15
    (True, True)
    >>> ClientGrid.plan(bits=30, clients=338, clip=1.0, noise_multiplier=1.0, share_excess=1.3,
    ...                 dimension=131_072, rotated=False).sensitivity == 2**20
    True
    """

    fixed: FixedPoint
    dimension: int
    rotated: bool = True
    rounding: RoundingMode = "nearest"

    def __post_init__(self) -> None:
        if self.rounding not in get_args(RoundingMode):
            raise UsageError(f"rounding is {self.rounding!r}; it must be nearest or stochastic")
        if self.dimension < 1:
            raise UsageError(f"the dimension is {self.dimension}; it must be at least 1")

    @classmethod
    def plan(
        cls,
        *,
        bits: int,
        clients: int,
        clip: float,
        noise_multiplier: float,
        share_excess: float,
        dimension: int,
        rotated: bool = True,
        rounding: RoundingMode = "nearest",
        failure: float = _FAILURE,
    ) -> ClientGrid:
        """Choose the finest power-of-two grid on which the noisy sum of one vector a client does not wrap.

        The plan guarantees ``clients * L + k * std < 2**(bits - 1)``.  Rotated, L is the bound that no
        coordinate of any client exceeds but for a chance of ``failure / 2``; else L is the sensitivity, which
        none exceeds.  The noise exceeds k std in some coordinate with a chance of ``failure / 2``.  A clamp
        or a wrap costs accuracy, not privacy.

        Args:
            clip: C, the l2 bound of one client's vector, model units.
            noise_multiplier: planned z over ``sensitivity``; 0 for no noise.
            share_excess: variance of the noise of all clients over (zS)^2, at least 1 with noise.
            dimension: d, number of coordinates.
            failure: bound on the chance that any coordinate is clamped or wraps in a round.

        Raises:
            UsageError: an argument out of its range.
            UnsafeParameters: fewer than 16 grid steps in S / sqrt(d); the message names the bits needed.
        """
        if not (math.isfinite(clip) and clip > 0.0):
            raise UsageError(f"clip is {clip}; the l2 bound must be positive and finite")
        if dimension < 1 or clients < 1 or not 2 <= bits <= 62:
            raise UsageError(
                f"dimension {dimension}, clients {clients} and bits {bits}: need d, n >= 1 and 2 to 62"
            )
        if not (noise_multiplier >= 0.0 and share_excess >= 0.0 and 0.0 < failure < 1.0):
            raise UsageError("noise_multiplier and share_excess must not be negative, failure lies in (0, 1)")
        tail = noise_tail(dimension, failure / 2.0) * noise_multiplier * math.sqrt(share_excess)
        spread = noise_multiplier * math.sqrt(max(share_excess, 1.0))
        flat = rotated_tail(dimension, failure / (2.0 * clients)) if rotated else 1.0

        def fits(scale_log2: int, width: int) -> tuple[int, FixedPoint] | None:
            plain = grid_sensitivity(clip, scale_log2)
            if not 1 <= plain <= MAX_SENSITIVITY // 2:
                return None
            s = plain
            if rounding == "stochastic":
                s = StochasticRounding(clip=clip, scale_log2=scale_log2, dimension=dimension).sensitivity
            bound = min(s, math.ceil(flat * (plain + 1)) + 1)  # rounding moves a coordinate by less than 1
            if s * spread > MAX_SENSITIVITY or clients * bound + math.ceil(tail * s) + 1 >= 1 << (width - 1):
                return None
            return plain, FixedPoint(
                bits=width,
                clients=clients,
                clip=clip,
                scale_log2=scale_log2,
                sensitivity=plain,
                client_bound=bound,
            )

        what = f"a sum of one vector of {dimension} coordinates from each of {clients} clients"
        _, fixed = finest_scale(clip, bits, dimension, fits, what)
        return cls(fixed, dimension, rotated, rounding)

    @property
    def sensitivity(self) -> int:
        """Exact l2 bound of one client's integers: what the event and the noise must use."""
        return self.fixed.sensitivity if self.rounding == "nearest" else self._stochastic().sensitivity

    def encode(
        self, vector: NDArray[np.floating], *, rotation: Rotation | None = None, words: Words | None = None
    ) -> NDArray[np.int64]:
        """Turn one client's vector into integers of l2 norm at most ``sensitivity``, each within [-L, L].

        Args:
            vector: shape (d,), float32 or float64, model units; scaled into the ball when it is outside.
            rotation: the round's, when ``rotated``.
            words: fresh uniform words, when ``rounding`` is stochastic.

        Returns:
            int64, shape (d,).

        Raises:
            UsageError: another shape or dtype, a number that is not finite, or a rotation or words missing or
                not asked for.
            UnsafeParameters: words that are not random.
        """
        self._check(rotation)
        if (words is None) == (self.rounding == "stochastic"):
            raise UsageError("random words are for stochastic rounding, and it needs them")
        if vector.shape != (self.dimension,):
            raise UsageError(f"the vector has shape {vector.shape}; the grid is for ({self.dimension},)")
        turned = vector if rotation is None else rotation.rotate(vector)
        rounded = (
            self.fixed.quantise(turned[None]) if words is None else self._stochastic().round(turned, words)
        )
        return self.fixed.clamp(rounded)

    def decode(self, total: NDArray[np.int64], *, rotation: Rotation | None = None) -> NDArray[np.float64]:
        """Return the sum in model units: ``total * 2**-scale_log2``, turned back.

        Args:
            total: int64, shape (d,): what ``fixed.centre`` gives.
            rotation: the round's, when ``rotated``.

        Returns:
            float64, shape (d,).
        """
        self._check(rotation)
        if total.shape != (self.dimension,):
            raise UsageError(f"the sum has shape {total.shape}; the grid is for ({self.dimension},)")
        values = self.fixed.decode(total)
        return values if rotation is None else rotation.inverse(values)

    def _check(self, rotation: Rotation | None) -> None:
        if (rotation is None) == self.rotated:
            raise UsageError("this grid needs a rotation" if self.rotated else "this grid has no rotation")
        if rotation is not None and rotation.dimension != self.dimension:
            raise UsageError(
                f"the rotation is of {rotation.dimension} coordinates, the grid of {self.dimension}"
            )

    def _stochastic(self) -> StochasticRounding:
        fixed = self.fixed
        return StochasticRounding(clip=fixed.clip, scale_log2=fixed.scale_log2, dimension=self.dimension)

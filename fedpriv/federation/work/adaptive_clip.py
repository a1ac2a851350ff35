"""A clipping norm that follows a quantile of the clients' update norms (Andrew et al. 2021, 1905.03871).

Each client adds one coordinate to its vector: whether its update was within the norm of the round.  The
coordinate is summed under the same secure sum and the same noise as the others, so the whole vector has one
sensitivity and one event (protocols/dp/spec.md, 11.4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from fedpriv.errors import UsageError

__all__ = ["AdaptiveClip"]

_FARTHEST: Final = 2.0**20  # how far the clip may go from where it began, either way
_WIDEST: Final = 2.0  # a noisy share of clients counts as at most this, and as at least 1 - this


@dataclass(frozen=True, slots=True)
class AdaptiveClip:
    """How the clipping norm moves from round to round.

    Attributes:
        initial: the norm of the first round, in model units.
        quantile: gamma, the share of clients whose updates should be within the norm.
        learning_rate: eta, the step in the logarithm of the norm.
        bit_units: B, grid units that one client's coordinate is away from zero.

    Raises:
        UsageError: a value out of range.

    >>> clip = AdaptiveClip(initial=0.5, quantile=0.5, learning_rate=0.2, bit_units=100)
    >>> clip.coordinate(0.4, 0.5), clip.coordinate(0.6, 0.5)
    (100, -100)
    >>> clip.share_within(200, survivors=4)
    0.75
    >>> clip.following(0.5, 0.5)
    0.5
    >>> clip.following(0.5, 1.0) < 0.5 < clip.following(0.5, 0.0)
    True
    """

    initial: float
    quantile: float
    learning_rate: float
    bit_units: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.initial) and self.initial > 0.0):
            raise UsageError(f"the initial clip is {self.initial}; it must be positive and finite")
        if not 0.0 < self.quantile < 1.0:
            raise UsageError(f"the quantile is {self.quantile}; it must lie strictly between 0 and 1")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0.0):
            raise UsageError(f"the clip's learning rate is {self.learning_rate}; it must be positive")
        if self.bit_units < 1:
            raise UsageError(f"the clip's coordinate has {self.bit_units} units; it needs at least 1")

    def coordinate(self, norm: float, clip: float) -> int:
        """What a client adds: B where its update is within ``clip``, else -B (a NaN is not within)."""
        return self.bit_units if norm <= clip else -self.bit_units

    def share_within(self, total: int, survivors: int) -> float:
        """The noisy share of ``survivors`` whose updates were within the norm, from the coordinate's sum."""
        return 0.5 + total / (2 * self.bit_units * survivors)

    def following(self, clip: float, share: float) -> float:
        """The norm of the next round: ``clip * exp(-eta (share - gamma))``, within 2^20 of the first."""
        seen = min(_WIDEST, max(1.0 - _WIDEST, share))
        moved = clip * math.exp(-self.learning_rate * (seen - self.quantile))
        return min(self.initial * _FARTHEST, max(self.initial / _FARTHEST, moved))

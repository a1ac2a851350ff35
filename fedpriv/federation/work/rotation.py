"""The random rotation of a round under its sum: contributions are turned before they are rounded, and their
sum is turned back when it is read (protocols/dp/spec.md, 9.8).

Server and clients draw the same one, from the public seed and the round's number.  Nothing rests on it but
how few bits a sum takes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from fedpriv.encoding import FixedPoint, Rotation
from fedpriv.federation.planning.plan import Noisy, Plan
from fedpriv.peft import public_words

__all__ = ["RoundRotation"]

_DRAW: Final = "rotation"


@dataclass(slots=True)
class RoundRotation:
    """The rotations of a run's rounds, or that there are none.

    Attributes:
        seed: public.
        dimension: d, coordinates that are turned: all that travel but the clip's.
        rotated: whether any are.
    """

    seed: int
    dimension: int
    rotated: bool
    _last: tuple[int, Rotation] | None = field(default=None, init=False, repr=False)

    @classmethod
    def of(cls, plan: Plan) -> Self:
        """Those of a run."""
        return cls(plan.seed, plan.coordinates, plan.rotated)

    def at(self, round_: int) -> Rotation | None:
        """The rotation of a round; None where nothing is turned."""
        if not self.rotated:
            return None
        if self._last is None or self._last[0] != round_:
            drawn = Rotation.draw(self.dimension, lambda count: public_words(self.seed, _DRAW, round_, count))
            self._last = (round_, drawn)
        return self._last[1]

    def quantise(self, grid: FixedPoint, rows: NDArray[np.floating], round_: int) -> NDArray[np.int64]:
        """Turn each row and make it integers of l2 norm at most S, which is checked last; return their sum.

        Args:
            grid: of the plan.
            rows: shape (B, d), float32 or float64, model units.
            round_: number of the round.

        Returns:
            int64, shape (d,).
        """
        rotation = self.at(round_)
        if rotation is None:
            return grid.quantise(rows)
        total = np.zeros(self.dimension, dtype=np.int64)
        for row in rotation.rows(rows):
            total += grid.quantise(row[np.newaxis])
        return total

    def back(self, round_: int, values: Noisy) -> Noisy:
        """Turn a sum of such integers back.

        Args:
            round_: number of the round.
            values: grid units, shape (d,) or longer; what is behind d was not turned, and stays.

        Returns:
            float64, same shape; ``values`` themselves where nothing is turned.
        """
        rotation = self.at(round_)
        if rotation is None:
            return values
        found = values.astype(np.float64)
        found[: self.dimension] = rotation.inverse(found[: self.dimension])
        return found

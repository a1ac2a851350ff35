"""Public directions that travel in place of coordinates: how the loss changes along each of a few."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UsageError
from fedpriv.peft.coordinates import Coordinates
from fedpriv.peft.public_choice import public_bits

__all__ = ["Directions"]

_NAME = "directions"
_Float = TypeVar("_Float", bound=np.floating)


@dataclass(frozen=True, slots=True)
class Directions(Coordinates):
    """The directions z_1 to z_k of one round, each of d public signs.

    What travels of a gradient g are the numbers <g, z_j> / sqrt(k), which are about as long as g is; and
    sums of z_j / sqrt(k) by these numbers are g on the average over all directions, as the signs are
    independent.

    Attributes:
        seed, round_: what the signs follow from (``public_bits``).

    >>> signs = Directions(size=5, width=2, seed=7, round_=1)
    >>> signs.sign(0).tolist()
    [-1, -1, 1, 1, 1]
    """

    seed: int = 0
    round_: int = 0

    def __post_init__(self) -> None:
        if not (1 <= self.width <= self.size and self.chosen is None and self.carried is None):
            raise UsageError(f"{self.width} directions do not fit a model of {self.size}")

    @property
    def count(self) -> int:
        return self.width

    @property
    def everything(self) -> bool:
        return False

    def of_client(self, holds: NDArray[np.bool_] | None) -> Self:
        if holds is not None:
            raise UsageError("directions are of the whole model, which every client has")
        return self

    def sign(self, number: int) -> NDArray[np.int8]:
        """Direction ``number``, from 0: int8, 1 or -1, shape (d,)."""
        bits = public_bits(self.seed, f"{_NAME}/{number}", self.round_, self.size)
        return 2 * bits.astype(np.int8) - 1

    def take(self, values: NDArray[_Float]) -> NDArray[_Float]:
        """The slopes of linear functions with these gradients, shape (..., d): shape (..., k).

        They may be longer in l2 than a gradient, so they are clipped, and not it.
        """
        slopes = np.stack([values @ signs for signs in self.each()], axis=-1) / np.sqrt(self.width)
        taken: NDArray[_Float] = slopes.astype(values.dtype)
        return taken

    def moves(self) -> None:
        """All coordinates of the model."""

    def spread(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum of the directions by these numbers, shape (k,), over sqrt(k): a gradient, shape (d,)."""
        total = np.zeros(self.size)
        for number, value in enumerate(vector / np.sqrt(self.width)):
            total += value * self.sign(number)
        return total

    def gradient(self, vector: NDArray[np.float64]) -> tuple[NDArray[np.float64], None]:
        return self.spread(vector), None

    def each(self) -> Iterator[NDArray[np.int8]]:
        """The directions in their order."""
        return map(self.sign, range(self.width))

"""Which coordinates of the model travel in one round.

The flat vector of the manifest is the model of a round: all that the server hands out.  What is summed is a
vector of some of its coordinates, as long in every round of a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UsageError

if TYPE_CHECKING:
    from fedpriv.peft.manifest import Manifest

__all__ = ["Coordinates"]

_Float = TypeVar("_Float", bound=np.floating)


@dataclass(frozen=True, slots=True)
class Coordinates:
    """The coordinates of one round, or what one client has of them.

    Attributes:
        size: d, coordinates of the model.
        width: k, length of the vector that travels, the same in every round.
        chosen: int64, strictly ascending, below d, at most k of them; ``None``: all, and k is d.  Where a
            round has fewer than k, the vector ends in zeros that mean nothing.
        carried: bool, shape (len(chosen),), those that a client has; its vector is zero elsewhere.
            ``None``: all.

    Raises ``UsageError`` where these do not fit together.

    >>> two = Coordinates(size=5, width=3, chosen=np.array([1, 4]))
    >>> two.take(np.array([[10.0, 11.0, 12.0, 13.0, 14.0]]))
    array([[11., 14.,  0.]])
    >>> two.meant(np.array([7.0, 8.0, 9.0]))
    array([7., 8.])
    """

    size: int
    width: int
    chosen: NDArray[np.int64] | None = None
    carried: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.chosen is None:
            fits = 1 <= self.size == self.width
        else:
            fits = 0 < self.chosen.size <= self.width <= self.size and bool(
                self.chosen[0] >= 0 and self.chosen[-1] < self.size and (np.diff(self.chosen) > 0).all()
            )
        if not fits or (self.carried is not None and self.carried.shape != (self.count,)):
            raise UsageError(
                f"the coordinates of a round do not fit a vector of {self.width} and a model of {self.size}"
            )

    @property
    def count(self) -> int:
        """How many coordinates of the vector mean something."""
        return self.size if self.chosen is None else int(self.chosen.size)

    @property
    def everything(self) -> bool:
        """Whether the vector is the whole model's."""
        return self.chosen is None and self.carried is None

    def of_client(self, holds: NDArray[np.bool_] | None) -> Self:
        """The same for a client that holds these coordinates of the model, bool, shape (d,); None: all."""
        if holds is None:
            return self
        carried = holds if self.chosen is None else holds[self.chosen]
        return type(self)(self.size, self.width, self.chosen, carried)

    def take(self, values: NDArray[_Float]) -> NDArray[_Float]:
        """The vectors that travel, shape (..., k), of vectors of the model, shape (..., d); a copy.

        No vector gets longer by it in l2.
        """
        if self.everything:
            return values.copy()
        taken = np.zeros((*values.shape[:-1], self.width), dtype=values.dtype)
        taken[..., : self.count] = values if self.chosen is None else values[..., self.chosen]
        if self.carried is not None:
            taken[..., : self.count][..., ~self.carried] = 0.0
        return taken

    def pieces(self, manifest: Manifest) -> Iterator[tuple[str, tuple[int, NDArray[np.int64] | None]]]:
        """What the vector is put together from: of each parameter that it has coordinates of, where these
        begin in the vector and which they are in the parameter (``None``: all, in their order)."""
        for entry, start in zip(manifest.entries, manifest.offsets, strict=True):
            if self.chosen is None:
                yield entry.name, (start, None)
                continue
            begin, end = np.searchsorted(self.chosen, [start, start + entry.size])
            if begin < end:
                whole = end - begin == entry.size
                yield entry.name, (int(begin), None if whole else self.chosen[begin:end] - start)

    def meant(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """The part of a vector that travelled which means something: shape (count,)."""
        return vector[: self.count]

    def gradient(self, vector: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64] | None]:
        """What a vector that travelled says of the model's gradient: values, and the coordinates of the
        model that they are of (``None``: all)."""
        return self.meant(vector), self.chosen

    def spread(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """A vector that travelled as a change of the model, shape (d,): zero at all other coordinates."""
        whole = np.zeros(self.size)
        found = self.meant(vector)
        if self.carried is not None:
            found = np.where(self.carried, found, 0.0)
        whole[slice(None) if self.chosen is None else self.chosen] = found
        return whole

    def moves(self) -> NDArray[np.bool_] | None:
        """Which coordinates of the model may move, bool, shape (d,); ``None``: all."""
        if self.everything:
            return None
        mask = np.zeros(self.size, dtype=np.bool_)
        mask[slice(None) if self.chosen is None else self.chosen] = (
            True if self.carried is None else self.carried
        )
        return mask

"""The coordinates of a run's rounds: those of the method, or, where less is sent, a public draw of them.

Server and clients derive them alike.  All that they follow from (configuration, manifest, round, model) is in
the context that the masks of a round are derived under, or in the protocol's own messages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UsageError
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.workplace import Workplace
from fedpriv.peft import Coordinates, Directions, Manifest, PeftSpec, public_words, smallest

__all__ = ["RoundCoordinates"]

_DRAW: Final = "rand-k"


@dataclass(slots=True)
class RoundCoordinates:
    """Which coordinates of the model travel in a round, and which of them a client has.

    Attributes:
        manifest, spec: of the model.
        start: the model that the run starts from, float32, shape (d,).
        width: k, coordinates that travel in every round, as planned.

    Raises:
        UsageError: more are planned than the method has.
    """

    manifest: Manifest
    spec: PeftSpec
    start: NDArray[np.float32]
    width: int
    _last: tuple[int, NDArray[np.float32], Coordinates] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        most = self.spec.kind.width(self.manifest, self.spec)
        if not 1 <= self.width <= most:
            raise UsageError(f"the plan sends {self.width} coordinates, and {self.spec.method} has {most}")

    @classmethod
    def of(cls, work: Workplace, plan: Plan) -> Self:
        """Those of a run."""
        return cls(work.manifest, work.spec, work.start, plan.coordinates)

    def at(self, round_: int, parameters: NDArray[np.float32]) -> Coordinates:
        """The coordinates of a round.

        Args:
            round_: its number, from 1.
            parameters: the model of the round, float32, shape (d,).
        """
        size = self.manifest.size
        if self.spec.kind.projected:
            return Directions(size, self.width, seed=self.spec.seed, round_=round_)
        if self.width == size and self.spec.kind.steady:
            return Coordinates(size, size)
        if self._last is not None:
            known, model, found = self._last
            if known == round_ and np.array_equal(model, parameters):
                return found
        found = Coordinates(size, self.width, self._chosen(round_, parameters))
        self._last = (round_, parameters.copy(), found)
        return found

    def of_client(
        self, round_: int, client: int, parameters: NDArray[np.float32]
    ) -> tuple[Coordinates, NDArray[np.float32]]:
        """A client's coordinates of a round, and its model, in which what it does not have is zero."""
        coordinates = self.at(round_, parameters)
        held = self.spec.kind.held(self.manifest, self.spec, client)
        if held is None:
            return coordinates, parameters
        return coordinates.of_client(held), np.where(held, parameters, np.float32(0.0))

    def shares(self, clients: int) -> NDArray[np.float64] | None:
        """The share of so many clients that has each coordinate of the model, shape (d,); ``None``: all have
        all."""
        total = np.zeros(self.manifest.size)
        for client in range(1, clients + 1):
            held = self.spec.kind.held(self.manifest, self.spec, client)
            if held is None:
                return None
            total += held
        return total / clients

    def _chosen(self, round_: int, parameters: NDArray[np.float32]) -> NDArray[np.int64] | None:
        own = self.spec.kind.coordinates(self.manifest, self.spec, round_, parameters - self.start)
        count = self.manifest.size if own is None else own.size
        if count <= self.width:
            return own
        drawn = smallest(public_words(self.spec.seed, _DRAW, round_, count), self.width)
        return drawn if own is None else own[drawn]

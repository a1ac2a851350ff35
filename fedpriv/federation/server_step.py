"""The server's step on the model after a round: on the coordinates that travelled, and on no others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedpriv.federation.work.coordinates import RoundCoordinates
from fedpriv.federation.workplace import Workplace
from fedpriv.peft import ServerState

if TYPE_CHECKING:
    from fedpriv.training import ServerOptimizer

__all__ = ["ServerStep"]


@dataclass(slots=True)
class ServerStep:
    """From the model of a round and what its sum stands for to the model of the next.

    All of it follows from noisy sums and public numbers, so it costs nothing.
    """

    work: Workplace
    coordinates: RoundCoordinates
    optimizer: ServerOptimizer
    _shares: NDArray[np.float64] | None = field(init=False)

    def __post_init__(self) -> None:
        self._shares = self.coordinates.shares(self.work.dataset.clients)

    def step(
        self, round_: int, parameters: NDArray[np.float32], gradient: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """The model after round ``round_``, float32, shape (d,).

        Args:
            round_: its number, from 1.
            parameters: the model of the round, shape (d,).
            gradient: what travelled, in model units (`RoundOutcome.gradient`), shape (k,).
        """
        coordinates = self.coordinates.at(round_, parameters)
        down, at = coordinates.gradient(gradient)
        if self._shares is not None:
            down = down / (self._shares if at is None else self._shares[at])
        optimizer, spec = self.optimizer, self.work.spec
        moved = optimizer.step(parameters, down, at=at)
        state = ServerState(moved, optimizer.first, optimizer.second)
        settled = spec.kind.settle(self.work.manifest, spec, state)
        optimizer.replace_moments(settled.first, settled.second)
        return settled.parameters

"""Canaries whose unit is a client: whole updates of the largest norm, each there by a coin.

There are more canaries than clients, so each is a unit of its own whose clipped and quantised update travels
in the vector of a real client.  Leaving one out moves the sum by at most S, as leaving a client out does: so
what the plan claims for a client holds for a canary.  None adds to the coordinate that moves the clip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedpriv.audit import LOUDNESS, Canaries
from fedpriv.errors import UsageError
from fedpriv.federation.work.client_work import ClientWork

__all__ = ["CanaryWork"]


@dataclass(slots=True)
class CanaryWork(ClientWork):
    """The clients' work, and beside each update those of the included canaries that travel with it.

    Attributes:
        canaries: all of them; those that are included are dealt out to the clients in turn.
        background: sum of the real clients' updates as they were sent, float64, shape (d,), one clip being
            the first round's.

    Raises:
        UsageError: so many canaries in so few parameters that a client's vector might not fit its bound.
    """

    canaries: Canaries
    background: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        ClientWork.__post_init__(self)
        self.background = np.zeros(self.canaries.dimension)
        signs = [self.canaries.signs[self._with(client)] for client in range(1, self.plan.noise.clients + 1)]
        most = max(int(np.abs(part.sum(axis=0, dtype=np.int64)).max()) for part in signs)
        grid = self.plan.grid
        if most * grid.sensitivity > grid.client_bound * math.sqrt(self.canaries.dimension):
            raise UsageError(
                f"{self.canaries.included.size:,} canaries do not fit into the vectors of "
                f"{self.plan.noise.clients} clients with {self.canaries.dimension:,} parameters.",
                hint="Use fewer with --canaries.",
            )

    def contribution(self, round_: int, client: int, parameters: NDArray[np.float32]) -> NDArray[np.int64]:
        """One client's update and those of its canaries, in grid units, shape ``(dimension,)``."""
        total = ClientWork.contribution(self, round_, client, parameters)
        own = total[: self.canaries.dimension]
        self.background += self.plan.grid.decode(own)
        loud = LOUDNESS * self.clip / self.plan.grid.clip
        for row in self.canaries.rows(self._with(client)):
            own += self._quantise(row.astype(np.float64) * loud)
        return total

    def _with(self, client: int) -> NDArray[np.int64]:
        """The canaries that travel with one client."""
        return np.flatnonzero(self.canaries.included)[client - 1 :: self.plan.noise.clients]

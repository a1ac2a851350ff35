"""Canaries whose unit is a client: whole updates of the largest norm, each there by a coin.

There are more canaries than clients, so each is a unit of its own whose clipped and quantised update travels
in the vector of a real client.  Leaving one out moves the sum by at most S, as leaving a client out does: so
what the plan claims for a client holds for a canary.  None adds to the coordinate that moves the clip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.audit import LOUDNESS, Canaries
from fedpriv.encoding import rotated_tail
from fedpriv.encoding.scale import noise_tail
from fedpriv.errors import UsageError
from fedpriv.federation.work.client_work import ClientWork

__all__ = ["CanaryWork"]

_FAILURE: Final = 2.0**-20  # chance of a wrap in a round that an audit bears


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
        if not (self._fits_turned() if self.plan.rotated else self._fits()):
            raise UsageError(
                f"{self.canaries.included.size:,} canaries do not fit into the vectors of "
                f"{self.plan.noise.clients} clients with {self.canaries.dimension:,} parameters.",
                hint="Use fewer with --canaries.",
            )

    def contribution(self, round_: int, client: int, parameters: NDArray[np.float32]) -> NDArray[np.int64]:
        """One client's update and those of its canaries, in grid units, shape ``(dimension,)``."""
        total = ClientWork.contribution(self, round_, client, parameters)
        own = total[: self.canaries.dimension]
        self.background += self.plan.in_model_units(self._rotation.back(round_, own))
        loud = LOUDNESS * self.clip / self.plan.grid.clip
        for row in self.canaries.rows(self._with(client)):
            own += self._quantise(row.astype(np.float64) * loud, round_)
        return total

    def _fits(self) -> bool:
        """Whether no client's canaries add up to more than its bound in a coordinate."""
        signs = [self.canaries.signs[self._with(client)] for client in range(1, self.plan.noise.clients + 1)]
        most = max(int(np.abs(part.sum(axis=0, dtype=np.int64)).max()) for part in signs)
        grid = self.plan.grid
        return most * grid.sensitivity <= grid.client_bound * math.sqrt(self.canaries.dimension)

    def _fits_turned(self) -> bool:
        """Whether the modulus has room for all canaries, turned, beside updates and noise.

        A client's bound holds one turned vector, and it carries many; but what noise all but never reaches
        is far more than that.
        """
        grid, noise, dimension = self.plan.grid, self.plan.noise, self.canaries.dimension
        signs = self.canaries.signs[self.canaries.included]
        norm = float(np.linalg.norm(signs.sum(axis=0, dtype=np.int64))) / math.sqrt(dimension)
        theirs = norm * grid.sensitivity * rotated_tail(dimension, _FAILURE) + len(signs)
        noisy = noise_tail(dimension, _FAILURE) * math.sqrt(noise.clients * noise.share_variance)
        return noise.clients * grid.client_bound + theirs + noisy < 1 << (grid.bits - 1)

    def _with(self, client: int) -> NDArray[np.int64]:
        """The canaries that travel with one client."""
        return np.flatnonzero(self.canaries.included)[client - 1 :: self.plan.noise.clients]

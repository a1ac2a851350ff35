"""How a round ended: with a sum, or without."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.federation.lora_gap import LoraGap

__all__ = ["REFUSED", "UPLOAD", "RoundLost", "RoundOutcome", "lost_at"]

UPLOAD: Final = "upload"
REFUSED: Final = "refused"
"""In the place of a stage: the client took no part, because a budget of its own did not allow it."""


@dataclass(frozen=True, slots=True)
class RoundOutcome:
    """What the server holds after a round.

    ``gradient`` is the direction that the noisy sum gives the server's optimiser, float64, shape
    ``(coordinates,)``: the sum over the expected batch, or minus the mean of the clients' updates.  ``clip``
    is the clipping norm that the round used; ``gap`` is measured in simulations that ask for it.
    """

    gradient: NDArray[np.float64]
    survivors: tuple[int, ...]
    dropped: tuple[tuple[int, str], ...]
    bytes_per_client: int
    aggregate_digest: str
    clip: float
    gap: LoraGap | None = None

    def naming(self, refused: Iterable[int]) -> RoundOutcome:
        """The same, with the clients that refused the round told from those that vanished."""
        dropped = {**dict(self.dropped), **dict.fromkeys(refused, REFUSED)}
        return replace(self, dropped=tuple(sorted(dropped.items())))


@dataclass(frozen=True, slots=True)
class RoundLost:
    """A round that ended without a sum.

    ``uploaded`` says whether the round had come to the stage in which clients send their vectors; where it
    had not, nothing that depends on a record left a client.
    """

    stage: str
    reason: str
    uploaded: bool


def lost_at(stage: str, stages: tuple[str, ...], reason: str) -> RoundLost:
    """A round that ended at one of the ``stages`` that it could have."""
    return RoundLost(stage, reason, uploaded=stages.index(stage) >= stages.index(UPLOAD))

"""How many bytes a client sends in a round, counted on its messages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpriv.aggregation import AggregationClient

__all__ = ["Metered"]


@dataclass(slots=True)
class Metered:
    """A client, with what it sends counted."""

    client: AggregationClient
    sent: int = 0

    def set_vector(self, residues: NDArray[np.uint64]) -> None:
        """Pass the vector on."""
        self.client.set_vector(residues)

    def handle(self, request: bytes) -> bytes:
        """Pass the request on and count the reply."""
        reply = self.client.handle(request)
        self.sent += len(reply)
        return reply

"""How many bytes a client sends in a round, counted on its messages."""

from __future__ import annotations

from collections.abc import Iterator
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

    def open_round(self, round_: int, context: bytes) -> None:
        """Begin a round and count from zero."""
        self.client.open_round(round_, context)
        self.sent = 0

    def level_secrets(self) -> tuple[bytes, ...]:
        """The client's level secrets of this round."""
        return self.client.level_secrets()

    def set_vectors(self, vectors: NDArray[np.uint64]) -> None:
        """Pass the vector on."""
        self.client.set_vectors(vectors)

    def handle(self, request: bytes) -> Iterator[bytes]:
        """Pass the request on and count the messages of the answer."""
        for message in self.client.handle(request):
            self.sent += len(message)
            yield message

"""What every way of summing looks like from the outside: a client, a server, and the stages between them.

Both are sans-IO: requests and replies are bytes, and whoever drives them moves the bytes.  A client that
does not answer a stage is left out of what follows; the server raises
:class:`~fedpriv.errors.TooFewParties` where too few are left, and then nothing was revealed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedpriv.crypto import SigningKey
from fedpriv.secagg import Session, Sum
from fedpriv.secagg.in_process import RoundClient, RoundServer

__all__ = ["AggregationClient", "AggregationServer", "Aggregator"]


class AggregationClient(RoundClient, Protocol):
    """One client in one round."""

    def set_vector(self, residues: NDArray[np.uint64]) -> None:
        """Give the vector to be summed: residues modulo ``2**bits``, shape ``(dimension,)``."""


AggregationServer: TypeAlias = RoundServer[Sum]
"""The server in one round; its result is the sum over the survivors, modulo ``2**bits``."""


class Aggregator(Protocol):
    """A way of summing, with its parameters fixed for a run."""

    @property
    def name(self) -> str:
        """The word that the configuration uses."""

    @property
    def hides_updates(self) -> bool:
        """Whether the server is kept from seeing a single client's update."""

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages of a round, in order; one exchange each."""

    @property
    def threshold(self) -> int:
        """The fewest survivors with which a round ends in a sum."""

    def client(
        self,
        client_id: int,
        session: Session,
        key: SigningKey,
        roster: Mapping[int, bytes],
        rand: Callable[[int], bytes],
    ) -> AggregationClient:
        """One client's side of the round that ``session`` names."""

    def server(self, session: Session, roster: Mapping[int, bytes]) -> AggregationServer:
        """The server's side of the round that ``session`` names."""

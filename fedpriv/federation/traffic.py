"""How many bytes a client sends and receives in a round: measured on the messages themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedpriv.aggregation import AggregationClient, Masked, Plain
from fedpriv.crypto import Keystream, SigningKey
from fedpriv.encoding.packing import packed_size
from fedpriv.secagg import Session, run_in_process

__all__ = ["Metered", "client_traffic"]


@dataclass(slots=True)
class Metered:
    """A client, with its traffic counted."""

    client: AggregationClient
    sent: int = 0
    received: int = 0

    def set_vector(self, residues: NDArray[np.uint64]) -> None:
        """Pass the vector on."""
        self.client.set_vector(residues)

    def handle(self, request: bytes) -> bytes:
        """Pass the request on and count both directions."""
        self.received += len(request)
        reply = self.client.handle(request)
        self.sent += len(reply)
        return reply


def client_traffic(aggregator: Masked | Plain, clients: int) -> int:
    """Bytes that one client sends in a round in which nobody drops out.

    A round of the real protocol is run with a vector of one coordinate, and the rest of the vector added.
    """
    if isinstance(aggregator, Plain):
        return packed_size(aggregator.bits, aggregator.dimension)
    params = replace(aggregator.params, dimension=1)
    small = Masked(params)
    stream = Keystream(bytes(32))  # nothing secret is summed here
    keys = {client: SigningKey.from_seed(stream.read(32)) for client in range(1, clients + 1)}
    roster = {client: key.public for client, key in keys.items()}
    session = Session(run_id=bytes(16), round=1, context=bytes(32))
    parties = {
        client: Metered(small.client(client, session, key, roster, stream.read))
        for client, key in keys.items()
    }
    for party in parties.values():
        party.set_vector(np.zeros(1, dtype=np.uint64))
    run_in_process(small.server(session, roster), parties, lambda stage, client: True)
    overhead = max(party.sent for party in parties.values()) - packed_size(params.bits, 1)
    return overhead + packed_size(params.bits, aggregator.params.dimension)

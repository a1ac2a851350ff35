"""What the server holds of one client after its upload: the residues in the messages as they arrived."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedpriv.aggregation import Ckks, Masked, Plain
from fedpriv.encoding import unpack
from fedpriv.encoding.packing import packed_size
from fedpriv.federation.traffic import Metered
from fedpriv.secagg.messages import UploadPart, decode_reply

__all__ = ["Tapped", "received_residues"]


@dataclass(slots=True)
class Tapped(Metered):
    """A client, with copies of what it sends in a round."""

    messages: list[bytes] = field(default_factory=list)

    def open_round(self, round_: int, context: bytes) -> None:
        """Begin a round and keep nothing of the one before."""
        Metered.open_round(self, round_, context)
        self.messages = []

    def handle(self, request: bytes) -> Iterator[bytes]:
        """Pass the request on, and keep the messages of the answer."""
        for message in Metered.handle(self, request):
            self.messages.append(message)
            yield message


def received_residues(aggregator: Masked | Plain | Ckks, messages: list[bytes]) -> NDArray[np.uint64] | None:
    """Read the vector in one client's ``messages`` of a round as the server does; it knows no more of it.

    Returns:
        uint64, shape (dimension,), each below ``2**bits``; None of an encrypted vector, which has no residue
        for a coordinate.
    """
    if isinstance(aggregator, Ckks):
        return None
    if isinstance(aggregator, Plain):
        size = packed_size(aggregator.bits, aggregator.dimension)
        return unpack(messages[0][:size], aggregator.bits, aggregator.dimension)
    (vector,) = aggregator.params.vectors
    replies = [decode_reply(message, aggregator.params) for message in messages]
    parts = [reply.data for reply in replies if isinstance(reply, UploadPart)]
    return np.concatenate(
        [unpack(data, vector.bits, count) for data, (_, count) in zip(parts, vector.parts, strict=True)]
    )

"""Summation under CKKS encryption: :mod:`fedpriv.ckks` behind the interface."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fedpriv import ckks
from fedpriv.aggregation.interface import AggregationClient, AggregationServer, KeyHolder
from fedpriv.ckks.mode import AUTHORITY
from fedpriv.ckks.ring import Ring
from fedpriv.ckks.ring_params import RingParams
from fedpriv.crypto import SigningKey
from fedpriv.errors import UsageError
from fedpriv.secagg import UPDATE, Sum

__all__ = ["Ckks"]


@lru_cache(maxsize=2)
def _ring(params: RingParams) -> Ring:
    """The arithmetic of all parties in this process: its tables are large, and hold no secret."""
    return Ring(params)


@dataclass(frozen=True, slots=True)
class Ckks:
    """Sums of encrypted vectors (``protocols/ckks/spec.md``), given back as residues modulo ``2**bits``.

    The encrypted sum is exact over the integers, so the residues are those that the masked sum gives.
    """

    params: ckks.CkksParams
    bits: int

    name = "ckks"

    @property
    def hides_updates(self) -> bool:
        """A key that every client has opens every update for the server that one of them works with."""
        return not (self.params.mode == "shared-key" and self.params.max_colluders)

    @property
    def has_authority(self) -> bool:
        return self.params.mode == "authority"

    @property
    def stages(self) -> tuple[str, ...]:
        made = ("confirm",) if self.has_authority else ("advertise", "deal", "commit", "reveal", "confirm")
        return (*made, "upload", "open")

    @property
    def threshold(self) -> int:
        return self.params.min_survivors

    def client(
        self,
        client_id: int,
        run_id: bytes,
        key: SigningKey,
        roster: Mapping[int, bytes],
        rand: Callable[[int], bytes],
        *,
        draw_level: Callable[[int], bytes] | None = None,
    ) -> AggregationClient:
        client = ckks.Client(self.params, run_id, client_id, key, roster, rand, ring=_ring(self.params.ring))
        return CkksClient(client, self.bits)

    def server(self, run_id: bytes, roster: Mapping[int, bytes]) -> AggregationServer:
        return CkksServer(ckks.Server(self.params, run_id, roster), self.bits)

    def authority(
        self, run_id: bytes, key: SigningKey, roster: Mapping[int, bytes], rand: Callable[[int], bytes]
    ) -> KeyHolder:
        """The key authority's side of the run; its number in ``roster`` is 0.

        Raises:
            UsageError: the key of this mode is with the clients.
        """
        if not self.has_authority:
            raise UsageError(f"in mode {self.params.mode} the clients hold the key, and no authority does")
        return ckks.Holder(self.params, run_id, AUTHORITY, key, roster, rand, ring=_ring(self.params.ring))


@dataclass(slots=True)
class CkksClient:
    """Takes residues, gives the protocol the integers nearest to zero that they stand for."""

    client: ckks.Client
    bits: int

    @property
    def sequence(self) -> int:
        return self.client.sequence

    def open_round(self, round_: int, context: bytes) -> None:
        self.client.open_round(round_, context)

    def level_secrets(self) -> tuple[bytes, ...]:
        return ()

    def set_vectors(self, vectors: NDArray[np.uint64]) -> None:
        if vectors.size and int(vectors.max()) >> self.bits:
            raise UsageError(f"a residue is not below 2^{self.bits}")
        spare = 64 - self.bits  # the shift back carries the sign bit in
        self.client.set_vectors((vectors << np.uint64(spare)).view(np.int64) >> np.int64(spare))

    def handle(self, request: bytes) -> Iterator[bytes]:
        return self.client.handle(request)

    def save(self) -> bytes:
        return self.client.save()

    def restore(self, data: bytes, *, least_sequence: int) -> None:
        self.client.restore(data, least_sequence=least_sequence)


@dataclass(slots=True)
class CkksServer:
    """Gives the sum as residues."""

    server: ckks.Server
    bits: int

    @property
    def stage(self) -> str:
        return self.server.stage

    @property
    def finished(self) -> bool:
        return self.server.finished

    @property
    def asked(self) -> tuple[int, ...]:
        return self.server.asked

    def open_round(
        self,
        round_: int,
        context: bytes,
        *,
        invite: Iterable[int] | None = None,
        prepare: bool = False,
    ) -> None:
        self.server.open_round(round_, context)

    def request(self, client_id: int) -> bytes:
        return self.server.request(client_id)

    def receive(self, client_id: int, message: bytes) -> None:
        self.server.receive(client_id, message)

    def advance(self) -> None:
        self.server.advance()

    def result(self) -> Sum:
        found = self.server.result()
        mask = np.uint64((1 << self.bits) - 1)
        return Sum(
            vectors={UPDATE: found.values.view(np.uint64) & mask},
            survivors=found.survivors,
            answered=found.answered,
        )

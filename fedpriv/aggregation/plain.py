"""Summation in the clear: the baseline, which hides nothing from the server and says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedpriv.crypto import SigningKey
from fedpriv.encoding import pack, unpack
from fedpriv.errors import TooFewParties, UnsafeParameters, UsageError
from fedpriv.secagg import UPDATE, Sum

__all__ = ["Plain"]


@dataclass(frozen=True, slots=True)
class Plain:
    """Every client sends its vector as it is; the server adds.  ``threshold`` survivors are needed."""

    clients: int
    bits: int
    dimension: int
    threshold: int

    name = "plain"
    hides_updates = False
    stages = ("upload",)

    def __post_init__(self) -> None:
        if not 1 <= self.threshold <= self.clients:
            raise UnsafeParameters(
                f"a threshold of {self.threshold} survivors does not fit {self.clients} clients",
                hint=f"choose min_survivors between 1 and {self.clients}",
            )

    def client(
        self,
        client_id: int,
        run_id: bytes,
        key: SigningKey,
        roster: Mapping[int, bytes],
        rand: Callable[[int], bytes],
    ) -> PlainClient:
        return PlainClient(self)

    def server(self, run_id: bytes, roster: Mapping[int, bytes]) -> PlainServer:
        return PlainServer(self)


@dataclass(slots=True)
class PlainClient:
    """Packs its vector and sends it."""

    plain: Plain
    _vector: NDArray[np.uint64] | None = field(default=None, repr=False)

    def open_round(self, round_: int, context: bytes) -> None:
        self._vector = None

    def set_vectors(self, vectors: NDArray[np.uint64]) -> None:
        self._vector = vectors

    def handle(self, request: bytes) -> Iterator[bytes]:
        if self._vector is None:
            raise UsageError("the client was asked for its vector before it was given one")
        return iter((pack(self._vector, self.plain.bits),))


@dataclass(slots=True)
class PlainServer:
    """Adds what arrives; one stage."""

    plain: Plain
    finished: bool = False
    _total: NDArray[np.uint64] | None = field(default=None, repr=False)
    _answered: list[int] = field(default_factory=list)

    @property
    def stage(self) -> str:
        return "finished" if self.finished else "upload"

    @property
    def asked(self) -> tuple[int, ...]:
        return () if self.finished else tuple(range(1, self.plain.clients + 1))

    def open_round(self, round_: int, context: bytes, *, prepare: bool = False) -> None:
        self.finished, self._total, self._answered = False, None, []

    def request(self, client_id: int) -> bytes:
        return b""

    def receive(self, client_id: int, message: bytes) -> None:
        if self.finished or client_id in self._answered or not 1 <= client_id <= self.plain.clients:
            raise UsageError(f"no reply of client {client_id} is awaited")
        vector = unpack(message, self.plain.bits, self.plain.dimension)
        total = vector if self._total is None else self._total + vector
        self._total = total & np.uint64((1 << self.plain.bits) - 1)
        self._answered.append(client_id)

    def advance(self) -> None:
        if len(self._answered) < self.plain.threshold:
            raise TooFewParties(
                f"{len(self._answered)} of {self.plain.clients} clients answered, "
                f"{self.plain.threshold} are needed",
                hint="start the round again when more clients can be reached",
            )
        self.finished = True

    def result(self) -> Sum:
        if not self.finished or self._total is None:
            raise UsageError("the round has not ended, so there is no sum yet")
        survivors = tuple(sorted(self._answered))
        return Sum(vectors={UPDATE: self._total}, survivors=survivors, answered={"upload": survivors})

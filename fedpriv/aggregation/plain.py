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
from fedpriv.secagg.levels import LEVEL_BYTES, level_chain, level_of

__all__ = ["Plain"]


@dataclass(frozen=True, slots=True)
class Plain:
    """Every client sends its vector as it is; the server adds.  ``threshold`` survivors are needed.

    With ``levels``, as in `fedpriv.secagg.SecAggParams`, a client sends its highest level secret with it: it
    hides that no more than the rest.
    """

    clients: int
    bits: int
    dimension: int
    threshold: int
    levels: tuple[int, ...] = ()

    name = "plain"
    hides_updates = False
    has_authority = False
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
        *,
        draw_level: Callable[[int], bytes] | None = None,
    ) -> PlainClient:
        return PlainClient(self, client_id, draw_level or (lambda round_: rand(LEVEL_BYTES)))

    def server(self, run_id: bytes, roster: Mapping[int, bytes]) -> PlainServer:
        return PlainServer(self)


@dataclass(slots=True)
class PlainClient:
    """Packs its vector and sends it."""

    plain: Plain
    client: int
    draw_level: Callable[[int], bytes] = field(repr=False)
    _round: int = -1
    _level: bytes = field(default=b"", repr=False)
    _vector: NDArray[np.uint64] | None = field(default=None, repr=False)

    def open_round(self, round_: int, context: bytes) -> None:
        self._round, self._vector = round_, None
        self._level = self.draw_level(round_) if self.plain.levels else b""

    def level_secrets(self) -> tuple[bytes, ...]:
        return level_chain(self._round, self.client, self._level, len(self.plain.levels))[1:]

    def set_vectors(self, vectors: NDArray[np.uint64]) -> None:
        self._vector = vectors

    def handle(self, request: bytes) -> Iterator[bytes]:
        if self._vector is None:
            raise UsageError("the client was asked for its vector before it was given one")
        return iter((pack(self._vector, self.plain.bits) + self._level,))


@dataclass(slots=True)
class PlainServer:
    """Adds what arrives; one stage."""

    plain: Plain
    finished: bool = False
    _total: NDArray[np.uint64] | None = field(default=None, repr=False)
    _answered: list[int] = field(default_factory=list)
    _round: int = -1
    _levels: dict[int, bytes] = field(default_factory=dict, repr=False)

    @property
    def stage(self) -> str:
        return "finished" if self.finished else "upload"

    @property
    def asked(self) -> tuple[int, ...]:
        return () if self.finished else tuple(range(1, self.plain.clients + 1))

    def open_round(self, round_: int, context: bytes, *, prepare: bool = False) -> None:
        self.finished, self._total, self._answered = False, None, []
        self._round, self._levels = round_, {}

    def request(self, client_id: int) -> bytes:
        return b""

    def receive(self, client_id: int, message: bytes) -> None:
        if self.finished or client_id in self._answered or not 1 <= client_id <= self.plain.clients:
            raise UsageError(f"no reply of client {client_id} is awaited")
        end = len(message) - (LEVEL_BYTES if self.plain.levels else 0)
        vector = unpack(message[: max(end, 0)], self.plain.bits, self.plain.dimension)
        self._levels[client_id] = message[end:]
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
        levels = self.plain.levels
        level = level_of(levels, len(survivors))
        chains = {c: level_chain(self._round, c, self._levels[c], len(levels)) for c in survivors if level}
        return Sum(
            vectors={UPDATE: self._total},
            survivors=survivors,
            answered={"upload": survivors},
            level=level,
            level_secrets={client: chain[level] for client, chain in chains.items()},
        )

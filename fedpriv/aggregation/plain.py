"""Summation in the clear: the baseline, which hides nothing from the server and says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from fedpriv.crypto import SigningKey, derive_key, frame
from fedpriv.crypto.state_seal import StateSeal
from fedpriv.encoding import pack, unpack
from fedpriv.errors import TooFewParties, UnsafeParameters, UsageError
from fedpriv.secagg import UPDATE, Sum
from fedpriv.secagg.levels import LEVEL_BYTES, level_chain, level_of

__all__ = ["Plain"]

_NAME = "fedpriv plain v1"


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
        draw = draw_level or (lambda round_: rand(LEVEL_BYTES))
        return PlainClient(self, client_id, draw, rand, _seal(run_id, client_id, key))

    def server(self, run_id: bytes, roster: Mapping[int, bytes]) -> PlainServer:
        return PlainServer(self)


class PlainMemory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that a client remembers between two messages."""

    sequence: int = 0
    round: int = -1
    level: bytes = b""

    def __repr__(self) -> str:
        """Nothing secret."""
        return f"<PlainMemory of step {self.sequence}, round {self.round}>"


@dataclass(slots=True)
class PlainClient:
    """Packs its vector and sends it."""

    plain: Plain
    client: int
    draw_level: Callable[[int], bytes] = field(repr=False)
    rand: Callable[[int], bytes] = field(repr=False)
    seal: StateSeal = field(repr=False)
    _memory: PlainMemory = field(default_factory=PlainMemory)
    _vector: NDArray[np.uint64] | None = field(default=None, repr=False)

    @property
    def sequence(self) -> int:
        return self._memory.sequence

    def open_round(self, round_: int, context: bytes) -> None:
        level = self.draw_level(round_) if self.plain.levels else b""
        self._memory, self._vector = PlainMemory(self.sequence + 1, round_, level), None

    def level_secrets(self) -> tuple[bytes, ...]:
        memory = self._memory
        return level_chain(memory.round, self.client, memory.level, len(self.plain.levels))[1:]

    def set_vectors(self, vectors: NDArray[np.uint64]) -> None:
        self._vector = vectors

    def handle(self, request: bytes) -> Iterator[bytes]:
        if self._vector is None:
            raise UsageError("the client was asked for its vector before it was given one")
        self._memory = replace(self._memory, sequence=self.sequence + 1)
        return iter((pack(self._vector, self.plain.bits) + self._memory.level,))

    def save(self) -> bytes:
        return self.seal.seal(self._memory, self.rand)

    def restore(self, data: bytes, *, least_sequence: int) -> None:
        self._memory, self._vector = self.seal.open(data, PlainMemory, least_sequence), None


def _seal(run_id: bytes, client: int, identity: SigningKey) -> StateSeal:
    """As the other clients' states are sealed: one way to keep them all, though this one hides nothing."""
    who = (b"state 1", run_id, client.to_bytes(4, "big"))
    return StateSeal(
        key=derive_key(identity.seed, salt=run_id, info=(_NAME.encode(), *who)),
        context=frame(_NAME.encode(), *who),
        owner=f"client {client} in this run",
        hint="Take part again with the next round, without the state.",
    )


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

    def open_round(
        self,
        round_: int,
        context: bytes,
        *,
        invite: Iterable[int] | None = None,
        prepare: bool = False,
    ) -> None:
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

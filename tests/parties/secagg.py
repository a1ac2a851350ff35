"""A cohort for tests: identities, clients with vectors, and a server, all from one seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fedpriv.crypto import Keystream, SigningKey
from fedpriv.secagg import Client, SecAggParams, Server, Session, Sum
from fedpriv.secagg.messages import Message, decode_reply, decode_request, encode

CONTEXT = bytes(range(32))


class Parties:
    """n clients and a server that agree on everything unless a test makes them differ."""

    def __init__(
        self,
        clients: int = 5,
        *,
        bits: int = 20,
        dimension: int = 7,
        seed: int = 0,
        consistency_check: bool = True,
        max_colluders: int = 0,
        round_: int = 3,
    ) -> None:
        self.params = SecAggParams.for_cohort(
            clients,
            bits=bits,
            dimension=dimension,
            max_colluders=max_colluders,
            consistency_check=consistency_check,
        )
        self.session = Session(b"run of the tests", round_, CONTEXT)
        self.stream = Keystream(seed.to_bytes(32, "big"))
        self.identities = {
            client: SigningKey.from_seed(self.stream.read(32)) for client in range(1, clients + 1)
        }
        self.roster = {client: identity.public for client, identity in self.identities.items()}
        rng = np.random.default_rng(seed)
        self.vectors: dict[int, NDArray[np.uint64]] = {
            client: rng.integers(0, 2**bits, dimension, dtype=np.uint64) for client in self.roster
        }
        self.clients = {client: self.client(client) for client in self.roster}
        self.server = Server(self.params, self.session, self.roster)

    def client(
        self,
        client: int,
        *,
        params: SecAggParams | None = None,
        session: Session | None = None,
        rand: Callable[[int], bytes] | None = None,
    ) -> Client:
        """A fresh client with its vector set."""
        made = Client(
            params or self.params,
            session or self.session,
            client,
            self.identities[client],
            self.roster,
            rand or self.stream.read,
        )
        made.set_vector(self.vectors[client])
        return made

    def run_until(self, stage: str) -> dict[int, bytes]:
        """Run honestly until ``stage`` is open; its requests."""
        while self.server.stage != stage:
            self.step()
        return self.server.requests()

    def step(self, absent: Iterable[int] = ()) -> None:
        """One stage, without some clients."""
        gone = set(absent)
        for client, request in self.server.requests().items():
            if client not in gone:
                self.server.receive(client, self.clients[client].handle(request))
        self.server.advance()

    def finish(self) -> Sum:
        """The rest of the round, honestly."""
        while not self.server.finished:
            self.step()
        return self.server.result()

    def plain_sum(self, survivors: Iterable[int]) -> NDArray[np.uint64]:
        """What the sum must be, in Python integers."""
        chosen = [self.vectors[client].tolist() for client in survivors]
        columns = zip(*chosen, strict=True)
        return np.array([sum(column) % 2**self.params.bits for column in columns], dtype=np.uint64)

    def forge_request(self, request: bytes, **changes: Any) -> bytes:
        """A server's request with some fields replaced."""
        return _forge(decode_request(request, self.params), changes)

    def forge_reply(self, reply: bytes, **changes: Any) -> bytes:
        """A client's reply with some fields replaced."""
        return _forge(decode_reply(reply, self.params), changes)

    def read_request(self, request: bytes) -> Any:
        """A request as its message."""
        return decode_request(request, self.params)

    def read_reply(self, reply: bytes) -> Any:
        """A reply as its message."""
        return decode_reply(reply, self.params)


def _forge(message: Message, changes: dict[str, Any]) -> bytes:
    return encode(msgspec.structs.replace(message, **changes))

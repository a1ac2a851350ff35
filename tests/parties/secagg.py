"""A cohort for tests: identities, clients with vectors, and a server, all from one seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from fedpriv.crypto import Keystream, SigningKey
from fedpriv.errors import ProtocolViolation
from fedpriv.secagg import Client, Roster, SecAggParams, Server, Sum, Vector
from fedpriv.secagg.cohort import Register
from fedpriv.secagg.keys import Group
from fedpriv.secagg.members import Members
from fedpriv.secagg.messages import Message, decode_reply, decode_request, encode

RUN_ID = b"run of the tests"
CONTEXT = bytes(range(32))


def sparse_params(
    clients: int = 24,
    *,
    degree: int = 8,
    threshold: int = 5,
    max_colluders: int = 0,
    min_survivors: int | None = None,
    malicious: bool = True,
    vectors: Iterable[Vector] = (Vector("update", 20, 7),),
) -> SecAggParams:
    """A sparse graph that is small enough for tests; without colluders any threshold above k/2 is safe."""
    return SecAggParams(
        clients,
        threshold=threshold,
        vectors=tuple(vectors),
        max_colluders=max_colluders,
        malicious=malicious,
        min_survivors=clients - 4 if min_survivors is None else min_survivors,
        degree=degree,
        grinding_bits=0,
    )


class Parties:
    """n clients and a server that agree on everything unless a test makes them differ.

    A round is opened at once.  The round and the context may be given for the first round.
    """

    def __init__(
        self,
        clients: int = 5,
        *,
        bits: int = 20,
        dimension: int = 7,
        seed: int = 0,
        malicious: bool = True,
        max_colluders: int = 0,
        min_survivors: int | None = None,
        round_: int = 3,
        params: SecAggParams | None = None,
        prepare: bool = False,
        run_id: bytes = RUN_ID,
    ) -> None:
        self.params = params or SecAggParams.for_cohort(
            clients,
            vectors=[Vector("update", bits, dimension)],
            max_colluders=max_colluders,
            min_survivors=min_survivors,
            malicious=malicious,
        )
        self.run_id = run_id
        self.stream = Keystream(seed.to_bytes(32, "big"))
        everyone = range(1, self.params.clients + 1)
        self.identities = {client: SigningKey.from_seed(self.stream.read(32)) for client in everyone}
        self.roster = Roster({client: identity.public for client, identity in self.identities.items()})
        self.rng = np.random.default_rng(seed)
        self.clients = {client: self.client(client) for client in everyone}
        self.server = Server(self.params, run_id, self.roster)
        self.vectors: dict[int, dict[str, NDArray[np.uint64]]] = {}
        self.open(round_, prepare=prepare)

    def client(
        self,
        client: int,
        *,
        params: SecAggParams | None = None,
        run_id: bytes | None = None,
        rand: Callable[[int], bytes] | None = None,
        roster: Mapping[int, bytes] | None = None,
    ) -> Client:
        """A fresh client, without a round."""
        return Client(
            params or self.params,
            run_id or self.run_id,
            client,
            self.identities[client],
            roster or self.roster,
            rand or self.stream.read,
        )

    def open(
        self,
        round_: int,
        context: bytes = CONTEXT,
        *,
        prepare: bool = False,
        invite: Iterable[int] | None = None,
        absent: Iterable[int] = (),
    ) -> None:
        """Open a round for everybody but those who are away, with new vectors."""
        self.round, self.context = round_, context
        self.server.open_round(round_, context, invite=invite, prepare=prepare)
        self.vectors = {client: self.draw() for client in self.clients}
        for client in self.clients.keys() - set(absent):
            self.clients[client].open_round(round_, context)
            self.clients[client].set_vectors(self.vectors[client])

    def draw(self) -> dict[str, NDArray[np.uint64]]:
        """Random vectors for one client."""
        return {
            vector.name: self.rng.integers(0, 2**vector.bits, vector.dimension, dtype=np.uint64)
            for vector in self.params.vectors
        }

    def requests(self) -> dict[int, bytes]:
        """All requests of the stage that is open."""
        return {client: self.server.request(client) for client in self.server.asked}

    def run_until(self, stage: str, absent: Mapping[str, Iterable[int]] | None = None) -> dict[int, bytes]:
        """Run honestly until ``stage`` is open, without those that are absent from a stage; its requests."""
        while self.server.stage != stage:
            self.step((absent or {}).get(self.server.stage, ()))
        return self.requests()

    def answer(self, client: int, request: bytes | None = None) -> list[bytes]:
        """All messages of a client's answer to the request that it is sent, or to another."""
        return list(self.clients[client].handle(request or self.server.request(client)))

    def deliver(self, client: int, messages: Iterable[bytes]) -> None:
        """Hand messages of a client to the server."""
        for message in messages:
            self.server.receive(client, message)

    def step(self, absent: Iterable[int] = ()) -> None:
        """One stage, without some clients."""
        gone = set(absent)
        for client in self.server.asked:
            if client not in gone and client in self.server.waiting:
                self.deliver(client, self.answer(client))
        self.server.advance()

    def finish(self) -> Sum:
        """The rest of the round, honestly."""
        while not self.server.finished:
            self.step()
        return self.server.result()

    def plain_sum(self, survivors: Iterable[int], name: str = "update") -> NDArray[np.uint64]:
        """What the sum must be, in Python integers."""
        bits = next(vector.bits for vector in self.params.vectors if vector.name == name)
        chosen = [self.vectors[client][name].tolist() for client in survivors]
        columns = zip(*chosen, strict=True)
        return np.array([sum(column) % 2**bits for column in columns], dtype=np.uint64)

    def assert_exact(self, result: Sum) -> None:
        """That every vector of a sum is that of its survivors."""
        for vector in self.params.vectors:
            assert np.array_equal(
                result.vectors[vector.name], self.plain_sum(result.survivors, vector.name)
            ), vector

    @property
    def group(self) -> Group:
        """The run as its parties name it."""
        return Group.of(self.params, self.run_id, self.roster)

    @property
    def session(self) -> bytes:
        """The round as its parties name it."""
        return self.group.session(self.round, self.context)

    @property
    def register(self) -> Register:
        """U1 as the server knows it."""
        return self.server._round.register

    def members(self, clients: Iterable[int]) -> bytes:
        """A set of clients as it stands in a message."""
        return Members.of(clients, self.params.clients).data

    def restart_client(self, client: int) -> None:
        """A new process takes a client's place, with its saved state and its vectors."""
        old = self.clients[client]
        self.clients[client] = new = self.client(client)
        new.restore(old.save(), least_sequence=old.sequence)
        if new.state in {"new", "prepared", "advertised", "shared"}:
            new.set_vectors(self.vectors[client])

    def restart_server(self) -> None:
        """A new process takes the server's place, with its saved state."""
        old, key = self.server, b"the server's own key, 32 bytes.."
        self.server = Server(self.params, self.run_id, self.roster)
        self.server.restore(old.save(key, self.stream.read), key, least_sequence=old.sequence)

    def refuses(self, client: int, request: bytes, clause: str) -> ProtocolViolation:
        """That a client refuses a request under this clause, and is as it was."""
        before = remembered(self.clients[client])
        with pytest.raises(ProtocolViolation) as violation:
            self.clients[client].handle(request)
        assert violation.value.clause == clause, violation.value
        assert remembered(self.clients[client]) == before
        return violation.value

    def refuses_and_goes_on(self, client: int, request: bytes, clause: str) -> ProtocolViolation:
        """The same, and that the honest round then ends in the exact sum, with this client in it."""
        violation = self.refuses(client, request, clause)
        result = self.finish()
        assert client in result.survivors
        self.assert_exact(result)
        return violation

    def forge_request(self, request: bytes, **changes: Any) -> bytes:
        """A server's request with some fields replaced."""
        return _forge(decode_request(request, self.params), changes)

    def forge_reply(self, reply: bytes, **changes: Any) -> bytes:
        """A client's message with some fields replaced."""
        return _forge(decode_reply(reply, self.params), changes)

    def read_request(self, request: bytes) -> Any:
        """A request as its message."""
        return decode_request(request, self.params)

    def read_reply(self, reply: bytes) -> Any:
        """A client's message, read."""
        return decode_reply(reply, self.params)


def remembered(client: Client) -> tuple[bytes, bytes]:
    """All that a client would answer from: its memory and its vectors."""
    inputs = {name: values.tobytes() for name, values in (client._inputs or {}).items()}
    return msgspec.msgpack.encode(client._memory), msgspec.msgpack.encode(inputs)


def _forge(message: Message, changes: dict[str, Any]) -> bytes:
    return encode(msgspec.structs.replace(message, **changes))

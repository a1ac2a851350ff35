"""A run under CKKS for tests: identities, clients with vectors, authority and server, all from one seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from fedpriv.ckks import CkksParams, CkksSum, Client, EncryptionWorkers, Holder, Server
from fedpriv.ckks.messages import Message, Seal, decode_reply, decode_request, encode
from fedpriv.ckks.ring import Ring
from fedpriv.ckks.transcript import UPLOAD_DOMAIN, Run, first_digest, second_digest, upload_statement
from fedpriv.crypto import Keystream, SigningKey
from fedpriv.errors import DecodeError, FedprivError, ProtocolViolation, TooFewParties

RUN_ID = b"run of the tests"
CONTEXT = bytes(range(32))
BOUND = 1000
STAGES = ("advertise", "deal", "commit", "reveal", "confirm", "upload", "open")


@cache
def params(mode: str = "authority", clients: int = 3, dimension: int = 40, **options: Any) -> CkksParams:
    """Real parameters, chosen once."""
    options.setdefault("bound", BOUND)
    return CkksParams.for_sum(mode=mode, clients=clients, dimension=dimension, **options)  # type: ignore[arg-type]


@cache
def chunked(mode: str, clients: int, chunks: int, **options: Any) -> CkksParams:
    """Parameters of a vector of up to four chunks, the last of them in part; in the smallest ring.

    The ring was chosen for one chunk and four times as many sums: as much is opened under a key.
    """
    base = params(mode, clients, sums_per_key=64, **options)
    size = base.layout.values_per_chunk
    return replace(base, sums_per_key=16, dimension=(chunks - 1) * size + size // 3)


@cache
def ring_of(chosen: CkksParams) -> Ring:
    """One ring for all parties of the tests that have the same."""
    return Ring(chosen.ring)


@cache
def workers_of(chosen: CkksParams) -> EncryptionWorkers:
    """The same for encryption."""
    return EncryptionWorkers(chosen.layout, 1)


class Parties:
    """All parties of a run; they agree on everything unless a test makes them differ.

    A round is opened at once, with random vectors that have both extremes in them.
    """

    def __init__(self, chosen: CkksParams, *, seed: int = 0, round_: int = 3, run_id: bytes = RUN_ID) -> None:
        self.params, self.run_id = chosen, run_id
        self.stream = Keystream(seed.to_bytes(32, "big"))
        everyone = sorted({*range(1, chosen.clients + 1), *chosen.holders})
        self.identities = {party: SigningKey.from_seed(self.stream.read(32)) for party in everyone}
        self.roster = {party: identity.public for party, identity in self.identities.items()}
        self.rng = np.random.default_rng(seed)
        self.parties: dict[int, Client | Holder] = {party: self.party(party) for party in everyone}
        self.server = Server(chosen, run_id, self.roster)
        self.vectors: dict[int, NDArray[np.int64]] = {}
        self.open(round_)

    @property
    def run(self) -> Run:
        """The run as its parties name it."""
        return Run.of(self.params, self.run_id, self.roster)

    def party(
        self, number: int, *, chosen: CkksParams | None = None, rand: Callable[[int], bytes] | None = None
    ) -> Client | Holder:
        """A fresh client, or the authority, without a round."""
        chosen = chosen or self.params
        arguments = (chosen, self.run_id, number, self.identities[number], self.roster)
        rand = rand or self.stream.read
        if number == 0:
            return Holder(*arguments, rand, ring=ring_of(chosen))
        return Client(*arguments, rand, ring=ring_of(chosen), workers=workers_of(chosen))

    def holder(self, number: int) -> Holder:
        """A holder, alone or inside its client."""
        party = self.parties[number]
        held = party if isinstance(party, Holder) else party.holder
        assert held is not None
        return held

    def open(self, round_: int, context: bytes = CONTEXT, *, absent: Iterable[int] = ()) -> None:
        """Open a round for everybody but those who are away, with new vectors."""
        self.round, self.context = round_, context
        self.server.open_round(round_, context)
        for number, party in self.parties.items():
            if number:
                self.vectors[number] = self.draw()
            if number in absent:
                continue
            party.open_round(round_, context)
            if isinstance(party, Client):
                party.set_vectors(self.vectors[number])

    def draw(self) -> NDArray[np.int64]:
        """A random vector, its first values extreme."""
        bound = self.params.bound
        vector = self.rng.integers(-bound, bound + 1, self.params.dimension)
        vector[:2] = bound, -bound
        return vector

    def answer(self, number: int, request: bytes | None = None) -> list[bytes]:
        """All messages of a party's answer to the request that it is sent, or to another."""
        return list(self.parties[number].handle(request or self.server.request(number)))

    def deliver(self, number: int, messages: Iterable[bytes]) -> None:
        """Hand messages of a party to the server."""
        for message in messages:
            self.server.receive(number, message)

    def step(self, absent: Iterable[int] = ()) -> None:
        """One stage, without some parties; those that have answered are not asked again."""
        gone = set(absent)
        for number in self.server.asked:
            if number not in gone and number in self.server.waiting:
                self.deliver(number, self.answer(number))
        self.server.advance()

    def run_until(self, stage: str, absent: Mapping[str, Iterable[int]] | None = None) -> dict[int, bytes]:
        """Run honestly until ``stage`` is open; its requests."""
        while self.server.stage != stage:
            self.step((absent or {}).get(self.server.stage, ()))
        return {number: self.server.request(number) for number in self.server.asked}

    def finish(self, absent: Mapping[str, Iterable[int]] | None = None) -> CkksSum:
        """The rest of the round, honestly, without those that are absent from a stage."""
        while not self.server.finished:
            self.step((absent or {}).get(self.server.stage, ()))
        return self.server.result()

    def plain_sum(self, survivors: Iterable[int]) -> NDArray[np.int64]:
        """What the sum must be."""
        total: NDArray[np.int64] = np.sum([self.vectors[client] for client in survivors], axis=0)
        return total

    def assert_exact(self, result: CkksSum) -> None:
        """That the sum is that of its survivors, bit for bit."""
        assert result.values.dtype == np.int64
        assert np.array_equal(result.values, self.plain_sum(result.survivors))

    def finish_exactly(self) -> None:
        """That the honest rest of the round ends in the exact sum."""
        self.assert_exact(self.finish())

    def state_of(self, number: int) -> tuple[Any, ...]:
        """All that a party would answer from; immutable parts by identity."""
        party = self.parties[number]
        if isinstance(party, Holder):
            return (party._memory,)
        held = party.holder._memory if party.holder else None
        return (party._memory, party._values, held)

    def refuses(self, number: int, request: bytes, clause: str | None) -> FedprivError:
        """That a party refuses a request under this clause (None: as no message), and is as it was."""
        before = self.state_of(number)
        with pytest.raises((ProtocolViolation, DecodeError)) as refusal:
            list(self.parties[number].handle(request))
        assert getattr(refusal.value, "clause", None) == clause, refusal.value
        assert all(one is other for one, other in zip(before, self.state_of(number), strict=True))
        return refusal.value

    def server_refuses(self, number: int, message: bytes, clause: str | None) -> None:
        """That the server refuses a message, and names its sender."""
        waiting = self.server.waiting
        with pytest.raises((ProtocolViolation, DecodeError)) as refusal:
            self.server.receive(number, message)
        assert getattr(refusal.value, "clause", None) == clause, refusal.value
        assert refusal.value.party == number
        assert self.server.waiting == waiting

    def too_few(self, absent: Iterable[int] = ()) -> str:
        """That the round ends without a sum; the sentence that says so."""
        with pytest.raises(TooFewParties) as error:
            self.step(absent)
        assert self.server.stage == "aborted"
        return str(error.value)

    def forge_request(self, request: bytes, **changes: Any) -> bytes:
        """A server's request with some fields replaced."""
        return forge(self.read_request(request), **changes)

    def forge_reply(self, reply: bytes, **changes: Any) -> bytes:
        """A party's message with some fields replaced."""
        return forge(self.read_reply(reply), **changes)

    def read_request(self, request: bytes) -> Any:
        """A request as its message."""
        return decode_request(request, self.params)

    def read_reply(self, reply: bytes) -> Any:
        """A party's message, read."""
        return decode_reply(reply, self.params)

    def seal(
        self,
        client: int,
        chunks: Iterable[tuple[bytes, bytes]],
        *,
        signer: int | None = None,
        round_: int | None = None,
        context: bytes | None = None,
        key: bytes | None = None,
        session: bytes | None = None,
    ) -> Seal:
        """A seal over chunks (c_0, c_1), signed by a client for this round unless a test says otherwise."""
        digests = b"".join(first_digest(first) + second_digest(second) for first, second in chunks)
        statement = upload_statement(
            session or self.run.session,
            self.round if round_ is None else round_,
            context or self.context,
            key or self.key_name,
            digests,
        )
        identity = self.identities[client if signer is None else signer]
        return Seal(client, digests, identity.sign(UPLOAD_DOMAIN, statement))

    @property
    def key_name(self) -> bytes:
        """The name of the key that the server has."""
        assert self.server._key is not None
        return self.server._key.name


def forge(message: Message, **changes: Any) -> bytes:
    """A message with some fields replaced, as bytes."""
    return encode(msgspec.structs.replace(message, **changes))

"""All that takes bytes from others, each in a state of its own, to be fed with what it must refuse."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, Protocol

from parties.mutations import Mutator
from parties.secagg import Parties, sparse_params
from parties.secagg_network import SERVER_KEY, client_memory, server_memory

from fedpriv.crypto.aead import NONCE_BYTES, open_sealed, seal
from fedpriv.errors import DecodeError, FedprivError, IntegrityError, PeerFault, ProtocolViolation
from fedpriv.secagg import Client, SecAggParams, Server, Vector
from fedpriv.secagg.client_memory import memory_seal
from fedpriv.secagg.members import Members
from fedpriv.secagg.messages import (
    AdvertiseRequest,
    ConsistencyRequest,
    Message,
    ShareReply,
    ShareRequest,
    UnmaskReply,
    UnmaskRequest,
    UploadHeader,
    UploadPart,
    UploadRequest,
    View,
    decode_reply,
    decode_request,
    encode,
)
from fedpriv.secagg.server_memory import record_seal

VECTORS = (Vector("update", 20, 3), Vector("weight", 5, 1))


class Target(Protocol):
    """Something that takes bytes."""

    name: str
    honest: bytes | None

    def feed(self, junk: bytes) -> str:
        """How it took bytes other than the honest ones; AssertionError if it did what it must not."""
        ...

    def confirm(self) -> None:
        """That the honest bytes are still taken."""
        ...


def refusal(error: FedprivError) -> str:
    """The outcome's name."""
    return error.clause if isinstance(error, ProtocolViolation) else type(error).__name__


class DecoderTarget:
    """One of the two decoders of messages."""

    def __init__(self, name: str, honest: bytes, params: SecAggParams) -> None:
        self.name, self.honest, self.params = f"decode {name}", honest, params
        self._decode = decode_request if name == "request" else decode_reply

    def feed(self, junk: bytes) -> str:
        try:
            message = self._decode(junk, self.params)
        except DecodeError as error:
            return refusal(error)
        assert encode(message) == junk
        return "taken"

    def confirm(self) -> None:
        assert encode(self._decode(self.honest, self.params)) == self.honest


class MembersTarget:
    """The decoder of sets of clients, for one number of clients."""

    def __init__(self, clients: int) -> None:
        self.name, self.clients = "decode set", clients
        self.honest = Members.of(range(1, clients), clients).data

    def feed(self, junk: bytes) -> str:
        try:
            members = Members.parse(junk, self.clients)
        except DecodeError as error:
            return refusal(error)
        assert Members.of(list(members), self.clients).data == junk
        assert len(members) == len(list(members))
        assert all(1 <= member <= self.clients for member in members)
        return "taken"

    def confirm(self) -> None:
        assert list(Members.parse(self.honest, self.clients)) == list(range(1, self.clients))


class ClientTarget:
    """A client that waits for a request, or for none."""

    def __init__(self, label: str, parties: Parties, client: int, honest: bytes | None) -> None:
        self.party, self.honest, self.params = parties.client(client), honest, parties.params
        self._client = client
        original = parties.clients[client]
        self._memory, self._inputs = original._memory, original._inputs
        self._reset()
        self._before = client_memory(self.party)
        self.name = f"{label} client {original.state}"

    def _reset(self) -> None:
        self.party._memory, self.party._inputs = self._memory, self._inputs

    def feed(self, junk: bytes) -> str:
        try:
            answer = list(self.party.handle(junk))
        except FedprivError as error:
            assert self.party._memory is self._memory
            assert self.party._inputs is self._inputs
            assert client_memory(self.party) == self._before
            return refusal(error)
        assert answer
        assert self.honest is not None, "no request was due"
        self._reset()
        honest, taken = decode_request(self.honest, self.params), decode_request(junk, self.params)
        _check_freedom(honest, taken, self.params)
        _check_lists(honest, taken, self.params, self._client)
        return "taken"

    def confirm(self) -> None:
        if self.honest is not None:
            assert list(self.party.handle(self.honest))
            self._reset()


class ServerTarget:
    """A server that waits for a message of one client, or for none."""

    def __init__(self, label: str, parties: Parties, client: int, honest: bytes | None) -> None:
        self._parties, self._client, self.honest = parties, client, honest
        self.params, original = parties.params, parties.server
        self._saved = original.save(SERVER_KEY, parties.stream.read)
        self._reset()
        self._before = server_memory(self.server)
        tag = "" if honest is None else " " + type(decode_reply(honest, self.params)).__name__
        self.name = f"{label} server {original.stage}{tag}"

    def _reset(self) -> None:
        self.server = Server(self.params, self._parties.run_id, self._parties.roster)
        self.server.restore(self._saved, SERVER_KEY, least_sequence=0)

    def feed(self, junk: bytes) -> str:
        try:
            self.server.receive(self._client, junk)
        except PeerFault as error:
            if error.party != self._client:
                raise
            assert server_memory(self.server) == self._before
            return refusal(error)
        assert self.honest is not None, "no message was due"
        self._reset()
        _check_freedom(decode_reply(self.honest, self.params), decode_reply(junk, self.params), self.params)
        return "taken"

    def confirm(self) -> None:
        if self.honest is not None:
            self.server.receive(self._client, self.honest)
            self._reset()


class SavedTarget:
    """A party that is given a saved state: the sealed one changed, or a changed one sealed again."""

    def __init__(self, label: str, parties: Parties, client: int | None, *, inside: bool) -> None:
        self._parties, self._client, self._inside = parties, client, inside
        group = parties.server._group
        if client is None:
            state_seal = record_seal(group, SERVER_KEY)
            sealed = parties.server.save(SERVER_KEY, parties.stream.read)
        else:
            state_seal = memory_seal(group, client, parties.identities[client])
            sealed = parties.clients[client].save()
        self._key, self._associated = state_seal.key, state_seal.context
        self.honest: bytes | None = open_sealed(self._key, sealed, self._associated) if inside else sealed
        self.name = (
            f"{label} {'server' if client is None else 'client'} state, {'in' if inside else 'out'}side"
        )
        self._reset()
        self._before = self._memory()

    def _reset(self) -> None:
        parties, client = self._parties, self._client
        self._party: Client | Server = (
            Server(parties.params, parties.run_id, parties.roster)
            if client is None
            else parties.client(client)
        )

    def _memory(self) -> Any:
        party = self._party
        return client_memory(party) if isinstance(party, Client) else server_memory(party)

    def _restore(self, data: bytes) -> None:
        if self._inside:
            data = seal(self._key, bytes(NONCE_BYTES), data, self._associated)
        if isinstance(self._party, Client):
            self._party.restore(data, least_sequence=1)
        else:
            self._party.restore(data, SERVER_KEY, least_sequence=1)

    def feed(self, junk: bytes) -> str:
        try:
            self._restore(junk)
        except IntegrityError as error:
            assert self._memory() == self._before
            return refusal(error)
        assert self._inside, "a changed state was taken for whole"
        self._reset()
        return "taken"

    def confirm(self) -> None:
        assert self.honest is not None
        self._restore(self.honest)
        self._reset()


def _check_freedom(honest: Message, taken: Message, params: SecAggParams) -> None:
    """That a message that was taken differs from the honest one only where none but its sender knows better.

    A server may show fewer clients, or fewer of their messages, and ask for keys ahead or not; a client may
    send what only a later reader can check.
    """
    if isinstance(taken, AdvertiseRequest) and isinstance(honest, UploadRequest) and honest.view is not None:
        return  # A client that made keys ahead may be asked for new ones.
    assert type(taken) is type(honest)
    for field in taken.__struct_fields__:
        right, given = getattr(honest, field), getattr(taken, field)
        if given == right:
            continue
        assert (type(taken), field) in _FREE, (type(taken), field)
        if isinstance(taken, UploadPart):
            assert len(given) == len(right)
        elif isinstance(taken, ShareReply | UploadHeader):
            assert [to for to, _ in given] == [to for to, _ in right]
        elif isinstance(taken, UnmaskReply):
            assert {entry[:2] for entry in given} <= {entry[:2] for entry in right}
        elif isinstance(right, View):
            assert set(given.bundles) <= set(right.bundles)
        elif isinstance(right, tuple):
            assert set(given) <= set(right)
        elif isinstance(taken, ConsistencyRequest | UnmaskRequest):
            pass  # Who of U2 survived is the server's word; `_check_lists` says within which bounds.
        elif isinstance(right, bytes) and params.complete:
            few, many = (Members.parse(data, params.clients) for data in (given, right))
            assert few <= many


def _check_lists(honest: Message, taken: Message, params: SecAggParams, client: int) -> None:
    """That a client takes no fewer shares and signatures than it needs, and no lists but those of U2."""
    if isinstance(taken, UploadRequest) and isinstance(honest, UploadRequest):
        sharers = Members.parse(taken.sharers, params.clients)
        assert {source for source, _ in honest.shares if source in sharers} <= dict(taken.shares).keys()
    if not isinstance(taken, ConsistencyRequest | UnmaskRequest):
        return
    survivors = Members.parse(taken.survivors, params.clients)
    assert client in survivors
    if isinstance(taken, UnmaskRequest) and isinstance(honest, UnmaskRequest):
        dropped = Members.parse(taken.dropped, params.clients)
        right = [Members.parse(data, params.clients) for data in (honest.survivors, honest.dropped)]
        assert not survivors & dropped
        assert survivors | dropped == right[0] | right[1]
        if params.malicious:
            assert survivors == right[0]
            assert len(taken.signatures) >= params.threshold


_FREE = {
    (ShareRequest, "view"),
    (UploadRequest, "view"),
    (UploadRequest, "sharers"),
    (UploadRequest, "shares"),
    (UploadRequest, "early"),
    (UploadRequest, "prepare"),
    (ConsistencyRequest, "survivors"),
    (ConsistencyRequest, "uploads"),
    (UnmaskRequest, "survivors"),
    (UnmaskRequest, "dropped"),
    (UnmaskRequest, "signatures"),
    (ShareReply, "shares"),
    (UploadHeader, "shares"),
    (UploadPart, "data"),
    (UnmaskReply, "shares"),
}


class Gallery:
    """Targets in all states of some runs, and all the messages of those runs."""

    def __init__(self) -> None:
        self.targets: list[Target] = []
        self.corpus: list[bytes] = []
        cohort = SecAggParams.for_cohort(4, vectors=VECTORS)
        self._record("malicious", Parties(params=cohort, seed=1, prepare=True))
        self._record(
            "semi-honest",
            Parties(params=SecAggParams.for_cohort(3, vectors=VECTORS, malicious=False), seed=2),
        )
        sparse = sparse_params(7, degree=4, threshold=3, min_survivors=5, vectors=VECTORS)
        self._record("sparse", Parties(params=sparse, seed=3))
        leveled = SecAggParams.for_cohort(4, vectors=VECTORS, levels=(4,))
        self._record("levels", Parties(params=leveled, seed=4))
        self.targets += [MembersTarget(clients) for clients in (3, 8, 21)]
        requests = [message for message in self.corpus if b"-request" in message[:30]]
        self.targets.append(DecoderTarget("request", max(requests, key=len), cohort))
        replies = [message for message in self.corpus if message not in requests]
        self.targets.append(DecoderTarget("reply", max(replies, key=len), cohort))

    def _record(self, label: str, parties: Parties) -> None:
        """A round; if it prepares the next one, that too, with client 4 as one who joins in it."""
        prepare = parties.server._record.prepare
        self._round(label, parties, absent={4} if prepare else set())
        if prepare:
            parties.open(parties.round + 1, prepare=True)
            self._round(f"{label} next", parties, absent=set())
        idle = Parties(params=parties.params, seed=9)
        idle.clients[1] = idle.client(1)
        self.targets.append(ClientTarget(label, idle, 1, None))

    def _round(self, label: str, parties: Parties, absent: set[int]) -> None:
        while not parties.server.finished:
            gone = absent if parties.server.stage == "upload" else set()
            for client, request in parties.requests().items():
                self.corpus.append(request)
                if client in gone:
                    continue
                watched = client in (1, parties.params.clients)
                if watched:
                    self.targets.append(ClientTarget(label, parties, client, request))
                if client == 1:
                    self._saved(label, parties, client)
                for reply in parties.answer(client, request):
                    self.corpus.append(reply)
                    if watched:
                        self.targets.append(ServerTarget(label, parties, client, reply))
                    parties.deliver(client, [reply])
            self._saved(label, parties, None)
            parties.server.advance()
        parties.assert_exact(parties.server.result())
        self.targets.append(ClientTarget(label, parties, 1, None))
        self.targets.append(ServerTarget(label, parties, 1, None))

    def _saved(self, label: str, parties: Parties, client: int | None) -> None:
        self.targets.append(SavedTarget(label, parties, client, inside=True))
        if parties.server.stage in ("advertise", "upload"):
            self.targets.append(SavedTarget(label, parties, client, inside=False))


class Fuzzing:
    """Junk for all targets in turn.

    Args:
        seed: of all that is random.
        confirm_every: after how many inputs of a target the honest bytes are tried again.
    """

    def __init__(self, seed: int, *, confirm_every: int = 50) -> None:
        self._rng = random.Random(seed)
        gallery = Gallery()
        self.targets, self._corpus = gallery.targets, gallery.corpus
        self._mutator = Mutator(self._rng, self._corpus)
        self._inner = Mutator(
            self._rng, [t.honest for t in self.targets if t.honest and t.name.endswith("inside")]
        )
        self._confirm_every = confirm_every

    def run(self, inputs: int) -> Counter[tuple[str, str]]:
        """Feed so many inputs; how many times each target had each outcome.

        Raises:
            AssertionError: a target did what it must not; the note names it and its input.
        """
        outcomes: Counter[tuple[str, str]] = Counter()
        for number in range(inputs):
            target = self.targets[number % len(self.targets)]
            junk = target.honest
            while junk == target.honest:
                junk = self._junk(target)
            try:
                outcomes[target.name, target.feed(junk)] += 1
            except Exception as fault:
                fault.add_note(f"input {number} at '{target.name}': {junk.hex()}")
                raise
            if number // len(self.targets) % self._confirm_every == 0:
                target.confirm()
        for target in self.targets:
            target.confirm()
        return outcomes

    def _junk(self, target: Target) -> bytes:
        mutator = self._inner if isinstance(target, SavedTarget) else self._mutator
        near = target.honest is not None and self._rng.random() < 0.7
        base = target.honest if near else self._rng.choice(mutator.corpus)
        return mutator.mutate(base or b"")

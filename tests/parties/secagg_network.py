"""A network that loses, repeats, delays and reorders messages, between parties that stop and come back.

It knows what everybody knows, foretells what each party must do with each message, and checks at every step
what protocols/secagg/spec.md promises: a message is taken or refused for the one reason that there is, a
refused one changes nothing, a round ends with the exact sum or for want of clients, and nobody's secrets of
both kinds can be opened.
"""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from parties.secagg import CONTEXT, RUN_ID

from fedpriv.crypto import Keystream, SigningKey
from fedpriv.errors import IntegrityError, ProtocolViolation, TooFewParties, UsageError
from fedpriv.secagg import Client, Roster, SecAggParams, Server
from fedpriv.secagg.messages import (
    AdvertiseReply,
    AdvertiseRequest,
    ConsistencyReply,
    ConsistencyRequest,
    Message,
    ShareReply,
    ShareRequest,
    UnmaskReply,
    UnmaskRequest,
    UploadHeader,
    UploadPart,
    UploadRequest,
    decode_reply,
    decode_request,
)

SERVER_KEY = bytes(range(1, 33))

REPLIES: dict[str, tuple[type[Message], ...]] = {
    "advertise": (AdvertiseReply,),
    "share": (ShareReply,),
    "upload": (UploadHeader, UploadPart),
    "consistency": (ConsistencyReply,),
    "unmask": (UnmaskReply,),
}

# The states in which a client may be given its vectors.
AWAITING = ("new", "prepared", "advertised", "shared")

# What happens to one exchange of a request and its answer; the first is the ordinary course.
FATES = (
    "through",
    "request lost",
    "reply lost",
    "request twice",
    "reply twice",
    "cut short",
    "out of order",
    "not in the round",
    "vectors late",
    "client restarts",
    "client stops unsaved",
    "client forgets",
    "server restarts",
    "server stops unsaved",
)


def client_memory(client: Client) -> bytes:
    """All that a client remembers, to be compared."""
    return msgspec.msgpack.encode(client._memory)


def server_memory(server: Server) -> tuple[Any, ...]:
    """All that a server remembers, to be compared."""
    sums = server._round.sum.words()
    return (
        msgspec.msgpack.encode(server._record),
        sums,
        set(server._round._seen),
        set(server._round._seen_ahead),
    )


class Network:
    """The parties of a run and all their messages.

    Args:
        params: of the run; ``max_colluders`` clients tell the server all that they know.
        seed: of all that is random.
        restless: whether every party is a new process for each message.
        client_type: what the clients are, so that a test can plant a fault.
    """

    def __init__(
        self,
        params: SecAggParams,
        seed: int = 0,
        *,
        restless: bool = False,
        client_type: type[Client] = Client,
    ) -> None:
        self.params, self.restless, self.client_type = params, restless, client_type
        self.stream = Keystream(seed.to_bytes(32, "big"))
        everyone = range(1, params.clients + 1)
        self.identities = {client: SigningKey.from_seed(self.stream.read(32)) for client in everyone}
        self.roster = Roster({client: identity.public for client, identity in self.identities.items()})
        self.parts = sum(len(vector.parts) for vector in params.vectors)
        self.server = Server(params, RUN_ID, self.roster)
        self.clients = {client: self._new(client) for client in everyone}
        self.ready = dict.fromkeys(everyone, False)
        # A client begins only rounds above this one: that it is in, or that it was in when it forgot all.
        self.begun = dict.fromkeys(everyone, -1)
        self.forgot = dict.fromkeys(everyone, -9)
        self.saved: dict[int, list[tuple[int, bytes]]] = {client: [] for client in everyone}
        self.saved_server: list[tuple[int, bytes]] = []
        self.round = 0
        # U1 of the round before: to whom those that are early dealt.
        self.before: set[int] = set()
        self.requests: list[tuple[int, bytes]] = []
        self.replies: list[tuple[int, bytes]] = []
        self.ahead: set[int] = set()
        self.answered: set[tuple[int, bytes, type[Message]]] = set()
        self.revealed: dict[tuple[int, int], dict[str, set[int]]] = {}
        self.outcomes: Counter[str] = Counter()
        self._reset()

    @property
    def over(self) -> bool:
        """Whether no stage is open."""
        return self.server.stage not in REPLIES

    def _new(self, client: int) -> Client:
        return self.client_type(
            self.params, RUN_ID, client, self.identities[client], self.roster, self.stream.read
        )

    def _reset(self) -> None:
        self.prepare = False
        self.members: set[int] = set()
        self.early: set[int] = set()
        self.sharers: set[int] = set()
        self.survivors: set[int] = set()
        self.taken: Counter[int] = Counter()
        self.shares: dict[int, set[int]] = {}
        self.neighbours: dict[int, set[int]] = {}

    def vectors(self, client: int) -> dict[str, NDArray[np.uint64]]:
        """A client's vectors in the round that is open."""
        stream = Keystream(self.round.to_bytes(16, "big") + client.to_bytes(16, "big"))
        return {
            vector.name: stream.words(vector.dimension) & np.uint64(2**vector.bits - 1)
            for vector in self.params.vectors
        }

    def open(self, *, prepare: bool = False, skip: int = 0, uninvited: frozenset[int] = frozenset()) -> None:
        """The server begins a round; clients hear of it with their first request."""
        number, invited = self.round + 1 + skip, self.roster.keys() - uninvited
        early = self.ahead if not skip and self._enough_ahead(invited) else set()
        everyone = invited | self.ahead
        prepare = prepare and self.params.complete
        if len(everyone) < self.params.min_survivors:
            with pytest.raises(UsageError):
                self.server.open_round(number, CONTEXT, invite=invited, prepare=prepare)
            return
        self.server.open_round(number, CONTEXT, invite=invited, prepare=prepare)
        self.before = self.members
        self._reset()
        self.round, self.prepare, self.early, self.ahead = number, prepare, early, set()
        if everyone - early:
            assert (self.server.stage, set(self.server.asked)) == ("advertise", everyone - early)
        else:
            assert (self.server.stage, set(self.server.asked)) == ("upload", early)
            self.members = self.sharers = set(early)

    def _enough_ahead(self, invited: set[int]) -> bool:
        """Whether a round can start from what was made ahead: section 5 of the specification."""
        without_shares = invited - self.members - self.ahead
        least = self.params.min_survivors - len(without_shares)
        enough = not without_shares or least >= self.params.threshold
        return enough and len(self.ahead) >= self.params.min_survivors

    def exchange(self, client: int, fate: str = "through") -> None:
        """Send a request to one client that is asked, and what it answers back; or what fate makes of it."""
        request = self.server.request(client)
        assert request == self.server.request(client)
        self.requests.append((client, request))
        if fate == "request lost":
            return
        if fate != "not in the round":
            self.announce(client, vectors=fate != "vectors late")
        if fate == "client stops unsaved":
            self._hand(client, request)
            self.restart(client)
            return
        replies = self.hand(client, request)
        if fate == "vectors late":
            self.announce(client)
            replies = replies or self.hand(client, request)
        if fate == "request twice":
            self.hand(client, request)
        if fate == "client restarts":
            self.restart(client)
        if fate == "client forgets":
            self.forget(client)
        if fate == "reply lost":
            return
        if fate == "out of order":
            for reply in reversed(replies):
                self.take(client, reply)
        for reply in replies[: 1 if fate == "cut short" else None]:
            if fate == "server stops unsaved":
                before, taken = self.server.save(SERVER_KEY, self.stream.read), self.taken.copy()
                shares = {owner: set(holders) for owner, holders in self.shares.items()}
                ahead, sequence = set(self.ahead), self.server.sequence
                self.take(client, reply)
                self.restore_server(sequence, before)
                self.taken, self.shares, self.ahead = taken, shares, ahead
                continue
            self.take(client, reply)
            if fate == "reply twice":
                self.take(client, reply)
            if fate == "server restarts":
                self.restart_server()

    def announce(self, client: int, *, vectors: bool = True) -> None:
        """Tell a client of the round, and give it its vectors, where it can take them."""
        party = self.clients[client]
        if self.begun[client] < self.round:
            party.open_round(self.round, CONTEXT)
            self.begun[client] = self.round
            self.ready[client] = False
            self._save(client)
        if vectors and party.state in AWAITING and not self.ready[client]:
            party.set_vectors(self.vectors(client))
            self.ready[client] = True

    def hand(self, client: int, request: bytes) -> list[bytes]:
        """Deliver a request; what the client sends, once it has saved its step."""
        replies = self._hand(client, request)
        if not replies:
            return []
        self._save(client)
        asked = decode_request(request, self.params)
        assert (client, asked.session, type(asked)) not in self.answered
        self.answered.add((client, asked.session, type(asked)))
        self.replies += [(client, reply) for reply in replies]
        message = decode_reply(replies[-1], self.params)
        if isinstance(message, UnmaskReply):
            self._count(client, message)
        if self.restless:
            self.restart(client)
        return replies

    def _hand(self, client: int, request: bytes) -> list[bytes]:
        party = self.clients[client]
        due = self._refusal_of_client(client, decode_request(request, self.params))
        if due is None:
            answer = list(party.handle(request))
            if party.state not in AWAITING:
                assert party._inputs is None
            return answer
        before = client_memory(party)
        with pytest.raises(ProtocolViolation if due.startswith("SA-") else UsageError) as refusal:
            party.handle(request)
        assert getattr(refusal.value, "clause", "no vectors") == due
        assert client_memory(party) == before
        self.outcomes["refused by a client"] += 1
        return []

    def _refusal_of_client(self, client: int, message: Message) -> str | None:
        if message.session != self.clients[client]._memory.session:
            return "SA-4"
        last = ("signed",) if self.params.malicious else ("uploaded",)
        states: dict[type[Message], tuple[str, ...]] = {
            AdvertiseRequest: ("new", "prepared"),
            ShareRequest: ("advertised",),
            UploadRequest: ("shared", "prepared"),
            ConsistencyRequest: ("uploaded",),
            UnmaskRequest: last,
        }
        if str(self.clients[client].state) not in states[type(message)]:
            return "SA-15"
        return "no vectors" if isinstance(message, UploadRequest) and not self.ready[client] else None

    def take(self, client: int, reply: bytes) -> None:
        """Deliver a client's message to the server."""
        message = decode_reply(reply, self.params)
        due = self._refusal_of_server(client, message)
        if due is not None:
            before = server_memory(self.server)
            with pytest.raises(ProtocolViolation) as refusal:
                self.server.receive(client, reply)
            assert (refusal.value.clause, refusal.value.party) == (due, client)
            assert server_memory(self.server) == before
            self.outcomes["refused by the server"] += 1
            return
        self.server.receive(client, reply)
        if isinstance(message, UploadHeader | UploadPart):
            self.taken[client] += 1
            if self.taken[client] == 1 + self.parts and self.prepare:
                self.ahead.add(client)
        if isinstance(message, UnmaskReply):
            for owner, _, _ in message.shares:
                self.shares.setdefault(owner, set()).add(client)
        if self.restless:
            self.restart_server()

    def _refusal_of_server(self, client: int, message: Message) -> str | None:
        server = self.server
        if message.session != server._record.session:
            return "SA-4"
        if not isinstance(message, REPLIES.get(server.stage, ())) or client not in server.waiting:
            return "SA-15"
        if isinstance(message, UploadHeader) and self.taken[client]:
            return "SA-15"
        if isinstance(message, UploadPart) and message.part != self.taken[client] - 1:
            return "SA-16"
        return None

    def close(self, *, unsaved: bool = False) -> None:
        """Close the stage; ``unsaved``: the server stops before it has saved that, and has to do it again."""
        server, stage = self.server, self.server.stage
        self.saved_server.append((server.sequence, server.save(SERVER_KEY, self.stream.read)))
        heard = set(server.asked) - set(server.waiting)
        if stage == "upload":
            assert heard == {client for client, count in self.taken.items() if count == 1 + self.parts}
        hopeless = self._hopeless(stage, heard)
        try:
            server.advance()
        except TooFewParties:
            assert hopeless
            assert server.stage == "aborted"
            self.outcomes[f"too few after {stage}"] += 1
            return
        assert not hopeless
        if unsaved:
            self.restore_server(*self.saved_server[-1])
            self.server.advance()
        self._after(stage, heard)

    def _after(self, stage: str, heard: set[int]) -> None:
        if stage == "advertise":
            self.members = heard | self.early
            self.sharers = set(self.early)
        elif stage == "share":
            self.sharers = heard | self.early
        elif stage == "upload":
            self.survivors = heard
            register = self.server._round.register
            self.neighbours = {owner: set(register.neighbours(owner)) for owner in self.sharers}
        elif stage == "unmask":
            self._check_sum()

    def _hopeless(self, stage: str, heard: set[int]) -> bool:
        """Whether too few are left for the round to go on, as the specification counts them."""
        if stage in ("advertise", "share"):
            return len(heard | self.early) < self.params.min_survivors
        if stage == "upload":
            return len(heard) < self.params.min_survivors
        if stage == "consistency":
            return len(heard) < self.params.threshold
        needed = {
            owner
            for owner in self.sharers
            if owner in self.survivors or self.neighbours[owner] & self.survivors
        }
        return any(len(self.shares.get(owner, ())) < self.params.threshold for owner in needed)

    def _check_sum(self) -> None:
        assert self.server.finished
        result = self.server.result()
        assert result.survivors == tuple(sorted(self.survivors))
        given = [self.vectors(client) for client in result.survivors]
        for vector in self.params.vectors:
            columns = zip(*(of[vector.name].tolist() for of in given), strict=True)
            assert result.vectors[vector.name].tolist() == [sum(c) % 2**vector.bits for c in columns]
        self.outcomes["sum of all" if len(given) == self.params.clients else "sum of some"] += 1

    def _count(self, holder: int, message: UnmaskReply) -> None:
        """Add to what was revealed, whether it arrives or not, and check that nobody can be unmasked.

        And that whoever has keys in U1 of the round before, and forgot nothing, holds what was dealt to them.
        """
        if holder in self.before and self.forgot[holder] < self.round - 2:
            assert self.early <= {owner for owner, _, _ in message.shares}
        for owner, kind, _ in message.shares:
            self.revealed.setdefault((self.round, owner), {}).setdefault(kind, set()).add(holder)
        for owner, _, _ in message.shares:
            revealed = self.revealed[self.round, owner]
            holders = self.neighbours[owner] | ({owner} if self.params.complete else set())
            for coalition in combinations(sorted(self.roster.keys() - {owner}), self.params.max_colluders):
                known = [revealed.get(kind, set()) | (holders & set(coalition)) for kind in ("seed", "key")]
                assert min(map(len, known)) < self.params.threshold, f"client {owner} can be unmasked"

    def _save(self, client: int) -> None:
        self.saved[client].append((self.clients[client].sequence, self.clients[client].save()))

    def restart(self, client: int) -> None:
        """A new process of the client goes on from what the last one saved."""
        self.clients[client] = self._new(client)
        self.ready[client] = False
        if self.saved[client]:
            sequence, data = self.saved[client][-1]
            self.clients[client].restore(data, least_sequence=sequence)
        if self.restless:
            self.announce(client)

    def forget(self, client: int) -> None:
        """The client loses all that it had, and comes back in the next round."""
        self.clients[client] = self._new(client)
        self.ready[client] = False
        self.saved[client] = []
        self.begun[client] = max(self.begun[client], self.round)
        self.forgot[client] = self.round

    def roll_back(self, client: int, index: int) -> None:
        """Someone gives the client an older state than the last."""
        party, before = self.clients[client], client_memory(self.clients[client])
        if len(self.saved[client]) > 1:
            _, old = self.saved[client][index % (len(self.saved[client]) - 1)]
            with pytest.raises(IntegrityError):
                party.restore(old, least_sequence=party.sequence)
            assert client_memory(party) == before

    def restart_server(self) -> None:
        """A new process of the server goes on from what the last one saved."""
        data, before = self.server.save(SERVER_KEY, self.stream.read), server_memory(self.server)
        self.restore_server(self.server.sequence, data)
        after = server_memory(self.server)
        # The keys of uploads that were cut short matter only as long as headers come in.
        assert after == before if self.server.stage == "upload" else after[:3] == before[:3]

    def restore_server(self, sequence: int, data: bytes) -> None:
        """A new process of the server goes on from what was saved."""
        self.server = Server(self.params, RUN_ID, self.roster)
        self.server.restore(data, SERVER_KEY, least_sequence=sequence)

    def roll_back_server(self, index: int) -> None:
        """Someone gives the server an older state than the last."""
        older = [data for sequence, data in self.saved_server if sequence < self.server.sequence]
        if older:
            before = server_memory(self.server)
            with pytest.raises(IntegrityError):
                self.server.restore(
                    older[index % len(older)], SERVER_KEY, least_sequence=self.server.sequence
                )
            assert server_memory(self.server) == before

    def forget_server(self) -> None:
        """The server loses all that it had; the round is lost, and so is what was made ahead."""
        self.server = Server(self.params, RUN_ID, self.roster)
        self.saved_server, self.ahead = [], set()
        self._reset()

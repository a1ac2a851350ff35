"""A server that deviates: it shows different lists to different clients, and signs for those in league."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from parties.secagg import Parties
from parties.secagg_adversary import RoundSeen, Transcript

from fedpriv.errors import ProtocolViolation
from fedpriv.secagg import SecAggParams
from fedpriv.secagg.cohort import (
    CONSISTENCY_DOMAIN,
    SHARERS_DOMAIN,
    Register,
    consistency_statement,
    sharers_statement,
)
from fedpriv.secagg.dealing import Held, seal_shares
from fedpriv.secagg.members import Members
from fedpriv.secagg.messages import (
    ConsistencyRequest,
    Message,
    ShareRequest,
    UnmaskRequest,
    UploadRequest,
    encode,
)


@dataclass(frozen=True)
class World:
    """What the server says has happened: who advertised (U1), shared (U2) and uploaded (U3)."""

    advertised: frozenset[int]
    shared: frozenset[int]
    uploaded: frozenset[int]


class Deviation:
    """One round in which every client may be told another story in every stage.

    Args:
        params: of the run.
        colluders: clients that tell the server all they know and sign whatever it likes.
        worlds: the stories.
        told: honest client -> the number of the story that it is told in the stages share, upload, and from
            then on.
        seed: of all that is random.
    """

    def __init__(
        self,
        params: SecAggParams,
        colluders: Collection[int],
        worlds: Sequence[World],
        told: Mapping[int, tuple[int, int, int]],
        seed: int = 0,
    ) -> None:
        self.parties = Parties(params=params, seed=seed)
        self.params, self.colluders, self.worlds, self.told = params, set(colluders), worlds, told
        self.transcript = Transcript(self.parties)
        self.refused = 0
        server = self.parties.server
        self.parties.step()
        self.everyone = server._round.register
        self.session = server._record.session
        self.seen = RoundSeen(self.everyone, self.parties.vectors)
        self.transcript.rounds[self.parties.round] = self.seen
        self.cohorts: dict[int, Register] = {}
        self.mail: dict[int, dict[int, bytes]] = {}
        self.headers: dict[int, bytes] = {}
        self.lists: dict[int, tuple[Members, Members]] = {}
        self.signed: dict[int, bytes] = {}
        for client in self.colluders:
            self.transcript.note(client)
        self._share()
        self._upload()
        self._sign()
        self._unmask()

    def _ask(self, client: int, request: Message) -> list[bytes]:
        """A client's answer, or nothing where it refuses."""
        try:
            return self.transcript.answer(client, encode(request))
        except ProtocolViolation:
            self.refused += 1
            return []

    def _set(self, members: Iterable[int]) -> Members:
        return Members.of(members, self.params.clients)

    def _share(self) -> None:
        group, round_ = self.parties.server._group, self.parties.round
        for client, (number, _, _) in self.told.items():
            told = self.worlds[number].advertised | {client}
            bundles = {member: self.everyone.bundles[member] for member in told}
            cohort = Register(self.params, group, round_, self.session, bundles)
            request = ShareRequest(session=self.session, view=cohort.view(client))
            for reply in self._ask(client, request):
                self.cohorts[client] = self.seen.cohorts[client] = cohort
                self.mail[client] = dict(self.parties.read_reply(reply).shares)

    def _upload(self) -> None:
        for client, (_, number, _) in self.told.items():
            if client not in self.cohorts:
                continue
            cohort = self.cohorts[client]
            neighbours = set(cohort.neighbours(client))
            without = {peer for peer in neighbours if not self._sealed(peer, client)}
            told = (self.worlds[number].shared & set(cohort.members) | {client}) - without
            request = UploadRequest(
                session=self.session,
                view=None,
                sharers=self._set(told).data,
                shares=tuple((peer, self._sealed(peer, client)) for peer in sorted(neighbours & told)),
                early=(),
                prepare=False,
            )
            replies = self._ask(client, request)
            if replies:
                self.lists[client] = (self._set(told), self._set(()))
                self.headers[client] = self.parties.read_reply(replies[0]).signature

    def _sign(self) -> None:
        for client, (_, _, number) in self.told.items():
            if client not in self.lists:
                continue
            sharers, _ = self.lists[client]
            survivors = self._set(self.worlds[number].uploaded & set(sharers) | {client})
            uploads: tuple[tuple[int, bytes], ...] = ()
            if not self.params.complete:
                statement = sharers_statement(self.session, self.cohorts[client].hash, sharers.data)
                uploads = tuple(
                    (peer, self._forge(peer, SHARERS_DOMAIN, statement) or self.headers.get(peer, bytes(64)))
                    for peer in self.cohorts[client].neighbours(client)
                    if peer in survivors
                )
            request = ConsistencyRequest(session=self.session, survivors=survivors.data, uploads=uploads)
            for reply in self._ask(client, request):
                self.lists[client] = (sharers, survivors)
                self.signed[client] = self.parties.read_reply(reply).signature

    def _unmask(self) -> None:
        for client in self.signed:
            # First the lists that others signed: a client acts on its own alone (SA-2).
            for other in self.signed:
                if self.lists[other] != self.lists[client]:
                    assert not self._ask(client, self._unmask_request(client, other))
            self._ask(client, self._unmask_request(client, client))

    def _unmask_request(self, client: int, other: int) -> UnmaskRequest:
        """What to ask a client about the lists that another signed, with all signatures that there are."""
        (sharers, survivors), cohort = self.lists[other], self.cohorts[other]
        statement = consistency_statement(self.session, cohort.hash, sharers.data, survivors.data)
        signatures = {}
        for holder in self.cohorts[client].holders(client):
            signature = self._forge(holder, CONSISTENCY_DOMAIN, statement)
            same = holder in self.signed and (self.lists[holder], self.cohorts[holder].hash) == (
                self.lists[other],
                cohort.hash,
            )
            if holder in survivors and (signature or same):
                signatures[holder] = signature or self.signed[holder]
        return UnmaskRequest(
            session=self.session,
            survivors=survivors.data,
            dropped=(sharers - survivors).data,
            signatures=tuple(sorted(signatures.items())),
        )

    def _sealed(self, source: int, destination: int) -> bytes:
        """What one client sealed for another; one in league seals whatever is asked for."""
        if source not in self.colluders:
            return self.mail.get(source, {}).get(destination, b"")
        nothing = {destination: Held(bytes(33), bytes(33), (bytes(33),) * len(self.params.levels))}
        keys = {destination: self.everyone.bundles[destination].cipher_key}
        secrets, group = self.transcript.secrets[source][0], self.parties.server._group
        bundle = self.everyone.bundles[source]
        return seal_shares(group, secrets, bundle, nothing, keys, self.parties.stream.read)[0][1]

    def _forge(self, client: int, domain: str, statement: bytes) -> bytes | None:
        """The signature of a client that is in league."""
        return self.parties.identities[client].sign(domain, statement) if client in self.colluders else None

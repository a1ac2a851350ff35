"""What a client insists on before it takes a step, whatever the server says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedpriv.crypto.agreement import AgreementKey
from fedpriv.crypto.signing import verify
from fedpriv.errors import ProtocolViolation
from fedpriv.secagg.client_memory import Memory
from fedpriv.secagg.cohort import (
    CONSISTENCY_DOMAIN,
    SHARERS_DOMAIN,
    Cohort,
    consistency_statement,
    sharers_statement,
)
from fedpriv.secagg.dealing import Held, open_shares
from fedpriv.secagg.keys import NO_PREVIOUS, Group, Roster
from fedpriv.secagg.members import Members
from fedpriv.secagg.messages import ConsistencyRequest, UnmaskRequest, UploadRequest, View
from fedpriv.secagg.params import SecAggParams
from fedpriv.secagg.states import ClientState

__all__ = ["ClientChecks"]


@dataclass(frozen=True, slots=True)
class ClientChecks:
    """One client's checks; each raises `ProtocolViolation` with the broken clause, and keeps nothing."""

    params: SecAggParams
    roster: Roster
    group: Group
    client: int

    def cohort(self, view: View, memory: Memory) -> Cohort:
        """The cohort that a view shows, with this client in it as it is (SA-1, SA-6, SA-9, SA-17)."""
        self._floor(len(self._members(view.members)), "advertised")
        cohort = Cohort.of_view(
            view, self.group, memory.round, memory.session, self.client, self.params, self.roster
        )
        if cohort.bundles.get(self.client) != memory.bundle:
            raise ProtocolViolation("The server left out or changed this client's own keys.", clause="SA-1")
        known = memory.earlier.cohort if memory.earlier else b""
        if known and not cohort.previous() <= {known}:
            raise ProtocolViolation(
                "Keys made ahead name another round before this one than the one that this client was in.",
                clause="SA-6",
            )
        return cohort

    def partners(self, cohort: Cohort, sharers: bytes) -> tuple[int, ...]:
        """The neighbours that shared, with each of which a mask is exchanged (SA-1, SA-9)."""
        members = self._members(sharers)
        if self.client not in members or not members <= self._members(cohort.members):
            raise ProtocolViolation(
                "The list of those that shared leaves out this client, or has one that never advertised.",
                clause="SA-1",
            )
        self._floor(len(members), "shared their secrets")
        partners = tuple(peer for peer in cohort.neighbours(self.client) if peer in members)
        self._enough_neighbours(len(partners), "shared their secrets")
        return partners

    def open_shares(
        self, memory: Memory, cohort: Cohort, partners: Sequence[int], message: UploadRequest
    ) -> dict[int, Held]:
        """What the partners sealed for this client, within the round and ahead, opened (SA-1, SA-7)."""
        ahead = {peer for peer in partners if cohort.bundles[peer].previous != NO_PREVIOUS}
        within = set(partners) - ahead
        now, early = dict(message.shares), dict(message.early)
        if not now.keys() <= within or not early.keys() <= ahead:
            raise ProtocolViolation("Shares from a client that has none to give in this way.", clause="SA-1")
        prepared = memory.state is ClientState.PREPARED
        if now.keys() != within or (prepared and early.keys() != ahead):
            raise ProtocolViolation("The shares of a neighbour are kept back.", clause="SA-7")
        held: dict[int, Held] = {}
        for sealed_by, key in (
            (now, memory.secrets.cipher if memory.secrets else b""),
            (early, memory.earlier.cipher if memory.earlier else b""),
        ):
            if sealed_by and key:
                own = AgreementKey.from_seed(key)
                for peer, sealed in sealed_by.items():
                    source = cohort.bundles[peer]
                    held[peer] = open_shares(
                        self.group, memory.round, self.client, own, source, sealed, len(self.params.levels)
                    )
        return held

    def survivors(self, memory: Memory, survivors: bytes) -> Members:
        """A list of survivors (U3) that may be signed or acted on (SA-3, SA-9)."""
        members = self._members(survivors)
        if not members <= self._members(memory.sharers):
            raise ProtocolViolation("A client that never shared its secrets is called alive.", clause="SA-3")
        if self.client not in members:
            raise ProtocolViolation(
                "This client is alive and the server says that it dropped: its shares would open its vector.",
                clause="SA-3",
            )
        self._floor(len(members), "uploaded")
        self._enough_neighbours(sum(holder in members for holder in memory.holders), "uploaded")
        return members

    def uploads(self, memory: Memory, message: ConsistencyRequest) -> None:
        """On a sparse graph, that every surviving neighbour uploaded under this client's own U2 (SA-2)."""
        survivors = self._members(message.survivors)
        expected = tuple(peer for peer in memory.holders if peer in survivors)
        if tuple(peer for peer, _ in message.uploads) != (() if self.params.complete else expected):
            raise ProtocolViolation(
                "The signed uploads are not those of the surviving neighbours.", clause="SA-2"
            )
        statement = sharers_statement(memory.session, memory.cohort_hash, memory.sharers)
        for peer, signature in message.uploads:
            if not verify(self.roster[peer], SHARERS_DOMAIN, statement, signature):
                raise ProtocolViolation(
                    f"Client {peer} uploaded under another list of those that shared than this client.",
                    clause="SA-2",
                    party=peer,
                )

    def lists(self, memory: Memory, message: UnmaskRequest) -> Members:
        """The survivors of an unmask request, once its lists may be acted on (SA-2, SA-3)."""
        survivors, dropped = self._members(message.survivors), self._members(message.dropped)
        if survivors & dropped:
            both = min(survivors & dropped)
            raise ProtocolViolation(
                f"The server calls client {both} alive and dropped at once: both kinds of its shares would "
                "open its vector.",
                clause="SA-3",
            )
        self.survivors(memory, message.survivors)
        if survivors | dropped != self._members(memory.sharers):
            raise ProtocolViolation(
                "The server's lists are not the clients that shared their secrets.", clause="SA-3"
            )
        if self.params.malicious:
            self._signatures(memory, message, survivors)
        elif message.signatures:
            raise ProtocolViolation("Signatures in semi-honest mode.", clause="SA-2")
        return survivors

    def _signatures(self, memory: Memory, message: UnmaskRequest, survivors: Members) -> None:
        """At least t surviving holders signed the very lists that this client saw (SA-2)."""
        if message.survivors != memory.survivors:
            raise ProtocolViolation("The survivors are not those that this client signed.", clause="SA-2")
        if len(message.signatures) < self.params.threshold:
            raise ProtocolViolation(
                f"{len(message.signatures)} clients signed the list of survivors, "
                f"and {self.params.threshold} are needed.",
                clause="SA-2",
            )
        statement = consistency_statement(
            memory.session, memory.cohort_hash, memory.sharers, message.survivors
        )
        holders = frozenset(memory.holders)
        for signer, signature in message.signatures:
            known = signer in holders and signer in survivors
            if not known or not verify(self.roster[signer], CONSISTENCY_DOMAIN, statement, signature):
                raise ProtocolViolation(
                    f"The signature of client {signer} under the list of survivors is not one.", clause="SA-2"
                )

    def _floor(self, count: int, what: str) -> None:
        if count < self.params.min_survivors:
            raise ProtocolViolation(
                f"The server goes on with {count} clients that {what}; this client's floor is "
                f"{self.params.min_survivors}.",
                clause="SA-9",
            )

    def _enough_neighbours(self, count: int, what: str) -> None:
        """On a sparse graph, that enough neighbours are left to protect this client."""
        if not self.params.complete and count < self.params.threshold:
            raise ProtocolViolation(
                f"{count} of this client's neighbours {what}, and {self.params.threshold} are needed.",
                clause="SA-9",
            )

    def _members(self, data: bytes) -> Members:
        return Members.parse(data, self.params.clients)

"""The making of a key as the server carries it: it passes on what holders say, and checks it for the result.

What a holder's safety depends on each holder checks for itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedpriv.ckks.key import key_name, public_key
from fedpriv.ckks.making import check_advertised, packed_part
from fedpriv.ckks.messages import (
    AdvertiseReply,
    AdvertiseRequest,
    CommitReply,
    CommitRequest,
    ConfirmReply,
    ConfirmRequest,
    DealReply,
    DealRequest,
    Message,
    Reply,
    RevealReply,
    RevealRequest,
    SignedKey,
)
from fedpriv.ckks.states import Stage
from fedpriv.ckks.transcript import (
    COMMIT_DOMAIN,
    KEY_DOMAIN,
    Run,
    commit_statement,
    commitment,
)
from fedpriv.ckks.wire import pack_rows, unpack_rows
from fedpriv.errors import DecodeError, ProtocolViolation

__all__ = ["CommitteeKey", "KeyMaking"]


@dataclass(slots=True)
class CommitteeKey:
    """A finished key: what clients are shown, its name, how often it has served, and who has been shown it.

    Changed in place: ``opened`` counts the sums whose opening was begun; ``known_to`` are the clients that
    uploaded under it in the round before.
    """

    signed: SignedKey
    name: bytes
    opened: int = 0
    known_to: frozenset[int] = frozenset()

    @property
    def signers(self) -> tuple[int, ...]:
        """The holders that have the key, ascending."""
        return tuple(signer for signer, _ in self.signed.signatures)


@dataclass(slots=True)
class KeyMaking:
    """One attempt at a key.

    Attributes:
        run: what all agreed on.
        number: κ.
    """

    run: Run
    number: int
    members: tuple[int, ...] = ()
    _advertised: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    _seen: set[bytes] = field(default_factory=set)
    _deals: dict[int, dict[int, bytes]] = field(default_factory=dict)
    _dealt: int = 0
    _dealers: tuple[int, ...] = ()
    _commitments: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    _parts: dict[int, bytes] = field(default_factory=dict)
    _public: bytes = b""
    _name: bytes = b""
    _signatures: dict[int, bytes] = field(default_factory=dict)

    def request(self, stage: Stage, holder: int) -> Message:
        """What a holder is sent in a stage."""
        session, number = self.run.session, self.number
        if stage is Stage.ADVERTISE:
            return AdvertiseRequest(session=session, number=number)
        if stage is Stage.DEAL:
            keys = tuple((party, *both) for party, both in sorted(self._advertised.items()))
            return DealRequest(session=session, number=number, keys=keys)
        if stage is Stage.COMMIT:
            first = self._dealt == number
            shares = tuple(
                (source, self._deals[source][holder])
                for source in (self.members if first else ())
                if holder in self._deals[source]
            )
            return CommitRequest(session=session, number=number, members=self.members, shares=shares)
        if stage is Stage.REVEAL:
            commitments = tuple((party, *both) for party, both in sorted(self._commitments.items()))
            return RevealRequest(session=session, number=number, commitments=commitments)
        parts = tuple(sorted(self._parts.items()))
        return ConfirmRequest(session=session, number=number, parts=parts)

    def take(self, holder: int, reply: Reply) -> None:
        """Take a holder's answer.

        Raises:
            DecodeError: a part or a key that is no polynomial.
            ProtocolViolation: the clause that it breaks.
        """
        if isinstance(reply, AdvertiseReply):
            check_advertised(self.run, self.number, holder, reply.key, reply.signature, self._seen)
            self._advertised[holder] = (reply.key, reply.signature)
        elif isinstance(reply, DealReply):
            self._take_deal(holder, reply)
        elif isinstance(reply, CommitReply):
            statement = commit_statement(
                self.run.session, self.number, self.members, self._dealt, self._dealers, reply.commitment
            )
            if not self.run.signed_by(holder, COMMIT_DOMAIN, statement, reply.signature):
                raise _refused(holder, "did not sign its commitment", "CK-6")
            self._commitments[holder] = (reply.commitment, reply.signature)
        elif isinstance(reply, RevealReply):
            self._take_part(holder, reply.part)
        elif isinstance(reply, ConfirmReply):
            self._take_signature(holder, reply)

    def fix_dealers(self, dealers: tuple[int, ...]) -> None:
        """U are those that dealt."""
        self.members = self._dealers = dealers
        self._dealt = self.number

    def again(self, number: int, members: tuple[int, ...]) -> None:
        """Ask for commitments anew, of a smaller U."""
        self.number, self.members = number, members
        self._commitments, self._parts = {}, {}

    def fix_public(self) -> None:
        """Put the parts together."""
        ring = self.run.params.ring
        parts = [unpack_rows(part, ring.key_primes, ring.degree) for part in self._parts.values() if part]
        b = public_key(parts, ring)
        self._public = pack_rows(b, ring.key_primes)
        self._name = key_name(self.run.session, self.number, self.members, b, ring)

    def finished(self) -> CommitteeKey:
        """The key with its signatures."""
        signatures = tuple(sorted(self._signatures.items()))
        return CommitteeKey(SignedKey(self.number, self.members, self._public, signatures), self._name)

    def _take_deal(self, holder: int, reply: DealReply) -> None:
        shares = dict(reply.shares)
        sole = len(self.run.params.holders) == self.run.params.threshold
        expected = set() if sole else set(self._advertised) - {holder}
        if shares.keys() != expected:
            raise _refused(holder, "did not deal to those that advertised", "CK-6")
        self._deals[holder] = shares

    def _take_part(self, holder: int, part: bytes) -> None:
        committed, _ = self._commitments[holder]
        whole = packed_part(self.run, part)
        if commitment(self.run.session, self.number, self.members, holder, whole) != committed:
            raise _refused(holder, "revealed another part than it committed to", "CK-8")
        self._unpacked(holder, whole)
        self._parts[holder] = part

    def _take_signature(self, holder: int, reply: ConfirmReply) -> None:
        name, public = self._name, self._public
        if len(self.run.params.holders) == 1:
            ring = self.run.params.ring
            public, b = reply.public, self._unpacked(holder, reply.public)
            name = key_name(self.run.session, self.number, (holder,), b, ring)
        elif reply.public:
            raise _refused(holder, "sent a key of its own", "CK-8")
        if not self.run.signed_by(holder, KEY_DOMAIN, name, reply.signature):
            raise _refused(holder, "did not sign the key", "CK-9")
        self._name, self._public = name, public
        if len(self.run.params.holders) == 1:
            self.members = (holder,)
        self._signatures[holder] = reply.signature

    def _unpacked(self, holder: int, packed: bytes) -> NDArray[np.uint64]:
        ring = self.run.params.ring
        try:
            return unpack_rows(packed, ring.key_primes, ring.degree)
        except DecodeError as fault:
            raise DecodeError(f"From holder {holder}: {fault}", party=holder) from fault


def _refused(holder: int, what: str, clause: str) -> ProtocolViolation:
    return ProtocolViolation(f"Holder {holder} {what}.", clause=clause, party=holder)

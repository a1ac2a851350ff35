"""A holder's part in making a key: each step a function of what came before, or a typed error.

Spec, section 5.  The secrets of subsets are put together from fresh bytes that their members deal each other;
the public key is the sum of parts that are committed to before any of them is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from fedpriv.ckks.committee import leader
from fedpriv.ckks.key import (
    common,
    key_name,
    part,
    public_key,
    renewed_secret,
    subset_secret,
)
from fedpriv.ckks.making import HolderKey, Making, Subset, check_advertised, packed_part
from fedpriv.ckks.messages import (
    AdvertiseReply,
    AdvertiseRequest,
    CommitReply,
    CommitRequest,
    ConfirmReply,
    ConfirmRequest,
    DealReply,
    DealRequest,
    RevealReply,
    RevealRequest,
)
from fedpriv.ckks.ring import Ring
from fedpriv.ckks.transcript import (
    ADVERTISE_DOMAIN,
    COMMIT_DOMAIN,
    KEY_DOMAIN,
    Run,
    advertise_statement,
    commit_statement,
    commitment,
    deal_context,
)
from fedpriv.ckks.wire import pack_rows, unpack_rows
from fedpriv.crypto.aead import NONCE_BYTES, open_sealed, seal
from fedpriv.crypto.agreement import AgreementKey, derive_key
from fedpriv.crypto.digest import frame
from fedpriv.crypto.signing import SigningKey
from fedpriv.errors import DecodeError, ProtocolViolation

__all__ = ["KeyGeneration"]

SECRET_BYTES = 32


class KeyGeneration:
    """The steps of one holder.

    Args:
        run: what all agreed on.
        holder: its number.
        signing_key: its identity.
        ring: arithmetic; made when it is first needed.
        rand: ``rand(n)`` gives n fresh uniform bytes.
    """

    def __init__(
        self,
        run: Run,
        holder: int,
        signing_key: SigningKey,
        ring: Callable[[], Ring],
        rand: Callable[[int], bytes],
    ) -> None:
        self._run, self._id = run, holder
        self._params, self._session = run.params, run.session
        self._signing_key, self._ring, self._rand = signing_key, ring, rand
        self._subsets = tuple(subset for subset in run.params.subsets if holder in subset)

    def advertise(self, message: AdvertiseRequest, last: int) -> tuple[Making, AdvertiseReply]:
        """A fresh X25519 key for attempt κ, which is higher than all before (``last``)."""
        self._check_number(message.number, last)
        seed = self._rand(SECRET_BYTES)
        public = AgreementKey.from_seed(seed).public
        statement = advertise_statement(self._session, message.number, public)
        signature = self._signing_key.sign(ADVERTISE_DOMAIN, statement)
        reply = AdvertiseReply(session=self._session, sender=self._id, key=public, signature=signature)
        return Making(message.number, seed), reply

    def deal(self, making: Making, message: DealRequest) -> tuple[Making, DealReply]:
        """Fresh bytes for each subset, sealed for its other members that advertised (CK-5)."""
        self._check_same(making, message.number)
        keys = self._advertised(making, message)
        contributions = {subset: self._rand(SECRET_BYTES) for subset in self._subsets}
        shares: list[tuple[int, bytes]] = []
        for destination in keys:
            common_subsets = self._with(destination)
            if destination == self._id or not common_subsets:
                continue
            plaintext = b"".join(contributions[subset] for subset in common_subsets)
            key, associated = self._seal_key(making, self._id, destination, keys[destination])
            shares.append((destination, seal(key, self._rand(NONCE_BYTES), plaintext, associated)))
        after = replace(making, keys=keys, contributions=contributions, dealt=making.number)
        return after, DealReply(session=self._session, sender=self._id, shares=tuple(shares))

    def commit(self, making: Making, message: CommitRequest, last: int) -> tuple[Making, CommitReply]:
        """The secrets of subsets from what was dealt, and the commitment to this holder's part of b.

        After a stage in which one of U was missing it is asked for again, under a new number and with fresh
        secrets (CK-7).
        """
        members = message.members
        self._check_members(members)
        if making.base:
            after = self._renewed(making, message, last)
        else:
            self._check_same(making, message.number)
            if not set(members) <= making.keys.keys():
                raise ProtocolViolation(
                    "A holder is said to have dealt that was never shown to have advertised.", clause="CK-6"
                )
            base = self._opened(making, message)
            # What was dealt goes with the step that has made secrets of it.
            after = replace(making, contributions={}, dealers=members, base=base, secrets=base)
        packed = self._own_part(after, message.number, members)
        after = replace(after, number=message.number, members=members, part=packed, commitments={})
        commitment_ = commitment(
            self._session, message.number, members, self._id, packed_part(self._run, packed)
        )
        signature = self._signing_key.sign(COMMIT_DOMAIN, self._commit_statement(after, commitment_))
        reply = CommitReply(
            session=self._session, sender=self._id, commitment=commitment_, signature=signature
        )
        return after, reply

    def reveal(self, making: Making, message: RevealRequest) -> tuple[Making, RevealReply]:
        """This holder's part of b, once all of U committed to theirs, and to this U (CK-6)."""
        self._check_same(making, message.number)
        commitments = {holder: committed for holder, committed, _ in message.commitments}
        if tuple(commitments) != making.members:
            raise ProtocolViolation("The commitments are not those of the key's makers.", clause="CK-6")
        # This holder's own among them: it signed no other under this number.
        for holder, committed, signature in message.commitments:
            statement = self._commit_statement(making, committed)
            if not self._run.signed_by(holder, COMMIT_DOMAIN, statement, signature):
                raise ProtocolViolation(
                    f"Holder {holder} did not commit to its part of this key with these makers.",
                    clause="CK-6",
                    party=holder,
                )
        reply = RevealReply(session=self._session, sender=self._id, part=making.part)
        return replace(making, commitments=commitments), reply

    def confirm(self, making: Making, message: ConfirmRequest) -> tuple[HolderKey, ConfirmReply]:
        """The key, once all parts are those that were committed to (CK-8)."""
        self._check_same(making, message.number)
        if tuple(holder for holder, _ in message.parts) != making.members:
            raise ProtocolViolation("The parts are not those of the key's makers.", clause="CK-8")
        parts = []
        for holder, packed in message.parts:
            whole = packed_part(self._run, packed)
            committed = commitment(self._session, making.number, making.members, holder, whole)
            if committed != making.commitments[holder]:
                raise ProtocolViolation(
                    f"The part of holder {holder} is not the one that it committed to.",
                    clause="CK-8",
                    party=holder,
                )
            if packed:
                parts.append(unpack_rows(packed, self._params.ring.key_primes, self._params.ring.degree))
        name, signature = self._sign(making.number, making.members, public_key(parts, self._params.ring))
        reply = ConfirmReply(session=self._session, sender=self._id, public=b"", signature=signature)
        return HolderKey(making.number, name, making.secrets), reply

    def alone(self, message: ConfirmRequest, last: int) -> tuple[HolderKey, ConfirmReply]:
        """The key of a sole holder, made in one step."""
        self._check_number(message.number, last)
        if message.parts:
            raise ProtocolViolation("A sole holder makes its key by itself.", clause="CK-8")
        (subset,) = self._subsets
        contribution = {self._id: self._rand(SECRET_BYTES)}
        secrets = {subset: subset_secret(self._session, message.number, subset, contribution)}
        a = common(self._session, message.number, self._params.ring)
        b = part(self._ring(), a, secrets[subset])
        name, signature = self._sign(message.number, (self._id,), b)
        packed = pack_rows(b, self._params.ring.key_primes)
        reply = ConfirmReply(session=self._session, sender=self._id, public=packed, signature=signature)
        return HolderKey(message.number, name, secrets), reply

    def _advertised(self, making: Making, message: DealRequest) -> dict[int, bytes]:
        keys = {holder: key for holder, key, _ in message.keys}
        if len(keys) < self._params.threshold:
            raise ProtocolViolation(
                f"{len(keys)} holders advertised, and {self._params.threshold} are needed.", clause="CK-5"
            )
        if keys.get(self._id) != making.agreement.public:
            raise ProtocolViolation("The server left out or changed this holder's own key.", clause="CK-5")
        seen: set[bytes] = set()
        for holder, key, signature in message.keys:
            check_advertised(self._run, making.number, holder, key, signature, seen)
        return keys

    def _opened(self, making: Making, message: CommitRequest) -> dict[Subset, bytes]:
        """k_A of each subset that this holder is in, from its own deal and those of the others."""
        dealt = dict(message.shares)
        sources = {source for source in message.members if source != self._id and self._with(source)}
        if dealt.keys() != sources:
            raise ProtocolViolation("What a maker of the key dealt is missing, or too much.", clause="CK-6")
        received: dict[int, dict[Subset, bytes]] = {self._id: dict(making.contributions)}
        for source, sealed in dealt.items():
            key, associated = self._seal_key(making, source, self._id, making.keys[source])
            try:
                plaintext = open_sealed(key, sealed, associated)
            except DecodeError as fault:
                raise DecodeError(f"What holder {source} dealt: {fault}", party=source) from None
            common_subsets = self._with(source)
            if len(plaintext) != SECRET_BYTES * len(common_subsets):
                raise DecodeError(f"Holder {source} dealt secrets of another length.", party=source)
            received[source] = {
                subset: plaintext[SECRET_BYTES * place : SECRET_BYTES * (place + 1)]
                for place, subset in enumerate(common_subsets)
            }
        return {
            subset: subset_secret(
                self._session,
                making.number,
                subset,
                {source: received[source][subset] for source in subset if source in received},
            )
            for subset in self._subsets
        }

    def _renewed(self, making: Making, message: CommitRequest, last: int) -> Making:
        self._check_number(message.number, last)
        if message.shares or not set(message.members) <= set(making.members):
            raise ProtocolViolation(
                "A commitment is asked for again with what was dealt, or with more makers than before.",
                clause="CK-7",
            )
        secrets = {subset: renewed_secret(base, message.number) for subset, base in making.base.items()}
        return replace(making, secrets=secrets)

    def _own_part(self, making: Making, number: int, members: Iterable[int]) -> bytes:
        """b_i packed: the sum of the parts of those subsets that this holder leads."""
        present = tuple(members)
        led = [subset for subset in self._subsets if leader(subset, present) == self._id]
        if not led:
            return b""
        ring = self._ring()
        a = common(self._session, number, self._params.ring)
        total = public_key([part(ring, a, making.secrets[subset]) for subset in led], self._params.ring)
        return pack_rows(total, self._params.ring.key_primes)

    def _sign(self, number: int, members: tuple[int, ...], b: NDArray[np.uint64]) -> tuple[bytes, bytes]:
        """The key's name, and this holder's signature of it."""
        name = key_name(self._session, number, members, b, self._params.ring)
        return name, self._signing_key.sign(KEY_DOMAIN, name)

    def _commit_statement(self, making: Making, committed: bytes) -> bytes:
        return commit_statement(
            self._session, making.number, making.members, making.dealt, making.dealers, committed
        )

    def _seal_key(self, making: Making, source: int, destination: int, peer: bytes) -> tuple[bytes, bytes]:
        """Key and associated data for what ``source`` deals ``destination``; one of the two is us."""
        context = deal_context(making.number, source, destination)
        key = derive_key(making.agreement.agree(peer), salt=self._session, info=context)
        return key, frame(self._session, *context)

    def _with(self, other: int) -> tuple[Subset, ...]:
        """The subsets that this holder and another are in, in order."""
        return tuple(subset for subset in self._subsets if other in subset)

    def _check_members(self, members: tuple[int, ...]) -> None:
        if self._id not in members or not set(members) <= set(self._params.holders):
            raise ProtocolViolation(
                "The key's makers do not have this holder among them, or others than holders.", clause="CK-6"
            )
        if len(members) < self._params.threshold:
            raise ProtocolViolation(
                f"{len(members)} holders would make the key, and {self._params.threshold} are needed.",
                clause="CK-6",
            )

    @staticmethod
    def _check_same(making: Making, number: int) -> None:
        if number != making.number:
            raise ProtocolViolation(
                f"Key number {number} is asked for while number {making.number} is made.", clause="CK-7"
            )

    @staticmethod
    def _check_number(number: int, last: int) -> None:
        if number <= last:
            raise ProtocolViolation(
                f"Key number {number} does not come after number {last}: numbers only grow.", clause="CK-7"
            )

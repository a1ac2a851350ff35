"""One round as the server works on it: what it asks of whom, and what it takes of what comes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NoReturn

from fedpriv.crypto.field import ELEMENT_BYTES, decode_element
from fedpriv.crypto.signing import verify
from fedpriv.encoding.packing import packed_size
from fedpriv.errors import DecodeError, ProtocolViolation, UsageError
from fedpriv.secagg.cohort import (
    CONSISTENCY_DOMAIN,
    SHARERS_DOMAIN,
    Register,
    consistency_statement,
    sharers_statement,
)
from fedpriv.secagg.keys import NO_PREVIOUS, Group, Roster, check_bundle
from fedpriv.secagg.masking import Residues
from fedpriv.secagg.members import Members
from fedpriv.secagg.messages import (
    AdvertiseReply,
    AdvertiseRequest,
    Bundle,
    ConsistencyReply,
    ConsistencyRequest,
    Message,
    Reply,
    ShareReply,
    ShareRequest,
    UnmaskReply,
    UnmaskRequest,
    UploadHeader,
    UploadPart,
    UploadRequest,
)
from fedpriv.secagg.params import SecAggParams
from fedpriv.secagg.server_memory import Prepared, Record, Upload
from fedpriv.secagg.states import Stage

__all__ = ["ServerRound", "refuse"]


class ServerRound:
    """A record, and what follows from it.

    Args:
        params, group, roster: of the run.
        record: of the round; changed in place.

    Raises:
        LookupError, ValueError, OverflowError: a record that is not of these parameters.
    """

    def __init__(self, params: SecAggParams, group: Group, roster: Roster, record: Record) -> None:
        self._params, self._group, self._roster = params, group, roster
        self.record = record
        self.sum = Residues(params, record.sums or None)
        self._register: Register | None = None
        if record.stage not in (Stage.IDLE, Stage.ADVERTISE) and record.bundles:
            self.fix_cohort()
        self._seen = _keys(record.bundles.values())
        self._seen_ahead = _keys(prepared.bundle for prepared in record.ahead.values())
        self._seen_ahead |= _keys(u.header.bundle for u in record.uploads.values() if u.header.bundle)
        self._asked = Members.of(record.asked, params.clients)
        self._parts = params.parts
        self._sets: dict[Stage, Members] = {}

    @property
    def register(self) -> Register:
        """U1, once it is fixed."""
        if self._register is None:
            raise UsageError("There is no cohort before the keys are in.")
        return self._register

    def fix_cohort(self) -> None:
        """Fix U1 as those whose keys are there."""
        record = self.record
        self._register = Register(self._params, self._group, record.round, record.session, record.bundles)

    def ask(self, stage: Stage, clients: Iterable[int]) -> None:
        """Open a stage."""
        record = self.record
        record.stage, record.asked, record.heard = stage, tuple(sorted(clients)), set()
        self._asked = Members.of(record.asked, self._params.clients)

    def is_asked(self, client: int) -> bool:
        """Whether a client is asked in this stage."""
        return client in self._asked

    def answered(self, stage: Stage) -> Members:
        """Those that answered a stage that is closed."""
        if stage not in self._sets:
            self._sets[stage] = Members.of(self.record.answered[stage], self._params.clients)
        return self._sets[stage]

    def reachable(self, clients: tuple[int, ...]) -> tuple[int, ...]:
        """Those that have enough neighbours among them; the others would refuse (SA-9)."""
        if self._params.complete:
            return clients
        present = Members.of(clients, self._params.clients)
        neighbours, least = self.register.neighbours, self._params.threshold
        return tuple(
            client for client in clients if sum(peer in present for peer in neighbours(client)) >= least
        )

    def has_signatures(self, client: int) -> bool:
        """Whether enough holders of a client's shares signed the list of survivors (SA-2)."""
        holders = self.register.holders(client)
        return sum(holder in self.record.signatures for holder in holders) >= self._params.threshold

    def request(self, client: int) -> Message:
        """What a client is sent in this stage."""
        record, session = self.record, self.record.session
        if record.stage is Stage.ADVERTISE:
            return AdvertiseRequest(session=session)
        if record.stage is Stage.SHARE:
            return ShareRequest(session=session, view=self.register.view(client))
        if record.stage is Stage.UPLOAD:
            return self._upload_request(client)
        survivors = self.answered(Stage.UPLOAD)
        if record.stage is Stage.CONSISTENCY:
            uploads = self._shown(record.upload_signatures, self.register.neighbours(client))
            return ConsistencyRequest(session=session, survivors=survivors.data, uploads=uploads)
        return UnmaskRequest(
            session=session,
            survivors=survivors.data,
            dropped=(self.answered(Stage.SHARE) - survivors).data,
            signatures=self._shown(record.signatures, self.register.holders(client)),
        )

    @staticmethod
    def _shown(signatures: Mapping[int, bytes], signers: tuple[int, ...]) -> tuple[tuple[int, bytes], ...]:
        return tuple((signer, signatures[signer]) for signer in signers if signer in signatures)

    def _upload_request(self, client: int) -> Message:
        record, register = self.record, self.register
        sharers = self.answered(Stage.SHARE)
        partners = [peer for peer in register.neighbours(client) if peer in sharers]
        early = [(peer, record.early[peer].shares) for peer in partners if peer in record.early]
        return UploadRequest(
            session=record.session,
            view=register.view(client) if client in record.early else None,
            sharers=sharers.data,
            shares=tuple((peer, record.mail[peer][client]) for peer in partners if peer in record.mail),
            early=tuple((peer, shares[client]) for peer, shares in early if client in shares),
            prepare=record.prepare,
        )

    def take(self, client: int, reply: Reply) -> bool:
        """Check a message and keep what is in it; whether the client's answer is now complete."""
        record = self.record
        if isinstance(reply, AdvertiseReply):
            self._check_keys(client, record.round, reply.bundle, NO_PREVIOUS, self._seen)
            record.bundles[client] = reply.bundle
        elif isinstance(reply, ShareReply):
            self._check_destinations(client, reply.shares)
            record.mail[client] = dict(reply.shares)
        elif isinstance(reply, UploadHeader):
            self._take_header(client, reply)
            return False
        elif isinstance(reply, UploadPart):
            return self._take_part(client, reply)
        elif isinstance(reply, ConsistencyReply):
            statement = consistency_statement(
                record.session,
                self.register.hash,
                self.answered(Stage.SHARE).data,
                self.answered(Stage.UPLOAD).data,
            )
            if not verify(self._roster[client], CONSISTENCY_DOMAIN, statement, reply.signature):
                refuse(client, "did not sign the list of survivors that it was shown", "SA-2")
            record.signatures[client] = reply.signature
        else:
            self._take_shares(client, reply)
        return True

    def _take_header(self, client: int, header: UploadHeader) -> None:
        record = self.record
        if client in record.uploads:
            refuse(client, "began its upload twice", "SA-15")
        if (header.bundle is not None) != record.prepare or (header.bundle is None and header.shares):
            refuse(client, "made keys for the next round unasked, or none although asked", "SA-16")
        signed = self._params.malicious and not self._params.complete
        if (header.signature is not None) != signed:
            refuse(client, "signed the list of those that shared unasked, or did not sign it", "SA-2")
        if header.signature is not None:
            statement = sharers_statement(record.session, self.register.hash, self.answered(Stage.SHARE).data)
            if not verify(self._roster[client], SHARERS_DOMAIN, statement, header.signature):
                refuse(client, "did not sign the list of those that shared as it was shown it", "SA-2")
        if header.bundle is not None:
            self._check_destinations(client, header.shares)
            expected = self.register.hash
            self._check_keys(client, record.round + 1, header.bundle, expected, self._seen_ahead)
        record.uploads[client] = Upload(header, [])

    def _take_part(self, client: int, part: UploadPart) -> bool:
        record = self.record
        upload = record.uploads.get(client)
        if upload is None or part.part != len(upload.parts):
            refuse(client, "sent a part of its upload out of order", "SA-16")
        bits, count = self._parts[part.part]
        padding = bits * count % 8
        if len(part.data) != packed_size(bits, count) or (padding and part.data[-1] >> padding):
            refuse(client, "sent a part of its upload of another size, or with padding", "SA-8")
        upload.parts.append(part.data)
        if len(upload.parts) < len(self._parts):
            return False
        self.sum.add(upload.parts)
        if upload.header.bundle is not None:
            record.ahead[client] = Prepared(upload.header.bundle, dict(upload.header.shares))
        if upload.header.signature is not None:
            record.upload_signatures[client] = upload.header.signature
        del record.uploads[client]
        return True

    def _take_shares(self, client: int, reply: UnmaskReply) -> None:
        record, survivors = self.record, self.answered(Stage.UPLOAD)
        # On both graphs a client holds shares of those that hold shares of it.
        within = {owner for owner in self.register.holders(client) if self._delivered(owner, client)}
        needed = within if client in record.early else within - record.early.keys()
        revealed = {owner for owner, _, _ in reply.shares}
        kinds_fit = all(kind == ("seed" if owner in survivors else "key") for owner, kind, _ in reply.shares)
        if not (needed <= revealed <= within and kinds_fit):
            refuse(client, "revealed other shares than it was asked for", "SA-16")
        width = 2 * ELEMENT_BYTES if self._params.level_of(len(survivors)) else ELEMENT_BYTES
        if not all(kind == "key" or len(share) == width for _, kind, share in reply.shares):
            refuse(client, "revealed shares of level secrets unasked, or none although asked", "SA-18")
        for _, _, share in reply.shares:
            try:
                for start in range(0, len(share), ELEMENT_BYTES):
                    decode_element(share[start : start + ELEMENT_BYTES])
            except DecodeError as fault:
                raise DecodeError(f"From client {client}: {fault}", party=client) from fault
        for owner, _, share in reply.shares:
            record.shares.setdefault(owner, {})[client] = share[:ELEMENT_BYTES]
            if len(share) > ELEMENT_BYTES:
                record.level_shares.setdefault(owner, {})[client] = share[ELEMENT_BYTES:]

    def _delivered(self, owner: int, holder: int) -> bool:
        """Whether a holder was sent shares of an owner's secrets, or dealt them itself."""
        record = self.record
        shares = record.early[owner].shares if owner in record.early else record.mail.get(owner, {})
        return owner == holder or holder in shares

    def _check_keys(
        self, client: int, round_: int, bundle: Bundle, previous: bytes, seen: set[bytes]
    ) -> None:
        if bundle.client != client:
            refuse(client, "sent the keys of another client", "SA-1")
        if bundle.previous != previous:
            refuse(client, "sent keys that name another round before this one", "SA-6")
        check_bundle(self._group, round_, bundle, self._roster, seen)

    def _check_destinations(self, client: int, shares: tuple[tuple[int, bytes], ...]) -> None:
        others = tuple(holder for holder in self.register.holders(client) if holder != client)
        if tuple(destination for destination, _ in shares) != others:
            refuse(client, "did not share with exactly the other holders", "SA-16")


def refuse(client: int, what: str, clause: str) -> NoReturn:
    """Refuse a client's message, and keep nothing of it."""
    raise ProtocolViolation(f"Client {client} {what}.", clause=clause, party=client)


def _keys(bundles: Iterable[Bundle]) -> set[bytes]:
    return {key for bundle in bundles for key in (bundle.cipher_key, bundle.mask_key)}

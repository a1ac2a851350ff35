"""One client of one round, without IO: a request in, a reply out, or a typed error and nothing changed.

Bonawitz et al., Practical Secure Aggregation for Privacy-Preserving Machine Learning, CCS 2017, section 4,
with the signed keys and the consistency check of its figure 4; protocols/secagg/spec.md is what is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fedpriv.crypto.aead import NONCE_BYTES, open_sealed, seal
from fedpriv.crypto.agreement import AgreementKey
from fedpriv.crypto.field import ELEMENT_BYTES, decode_element, encode_element
from fedpriv.crypto.shamir import split
from fedpriv.crypto.signing import SigningKey, verify
from fedpriv.encoding.packing import pack
from fedpriv.errors import DecodeError, ProtocolViolation, UsageError
from fedpriv.secagg.keys import (
    CONSISTENCY_DOMAIN,
    SEED_BYTES,
    Cohort,
    RoundKeys,
    check_bundle,
    check_roster,
    consistency_statement,
    session_id,
)
from fedpriv.secagg.masking import Residues
from fedpriv.secagg.messages import (
    AdvertiseReply,
    AdvertiseRequest,
    Bundle,
    ConsistencyReply,
    ConsistencyRequest,
    Kind,
    Message,
    Request,
    ShareReply,
    ShareRequest,
    UnmaskReply,
    UnmaskRequest,
    UploadReply,
    UploadRequest,
    decode_request,
    encode,
)
from fedpriv.secagg.params import SecAggParams, Session
from fedpriv.secagg.states import ClientState, after_request

__all__ = ["Client"]


@dataclass(frozen=True, slots=True)
class _HeldShares:
    """What this client holds of another's secrets: a share of b and a share of s, 33 bytes each."""

    seed: bytes = field(repr=False)
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Memory:
    """All that a client remembers of a round; a step makes a new one, so a refused step leaves the old."""

    state: ClientState = ClientState.NEW
    keys: RoundKeys | None = field(default=None, repr=False)
    bundle: Bundle | None = None
    cohort: Cohort | None = None
    held: Mapping[int, _HeldShares] = field(default_factory=dict, repr=False)
    survivors: tuple[int, ...] = ()


class Client:
    """One client's side of one round.

    Args:
        params: sizes and floors, as this client decided them; no message can change them (SA-9).
        session: which round, and about which model; compared with what the server sends (SA-4, SA-5).
        client_id: 1..n.
        signing_key: the Ed25519 identity that the roster lists for this client.
        roster: client -> Ed25519 public key (32 bytes), obtained from somewhere other than the server.
        rand: ``rand(n)`` gives n fresh uniform bytes, ``os.urandom`` outside of tests.

    Raises:
        UsageError: a roster that does not fit, or an identity that is not the roster's.
    """

    def __init__(  # noqa: PLR0917 - who, in what, with which secrets: all are needed and none has a default
        self,
        params: SecAggParams,
        session: Session,
        client_id: int,
        signing_key: SigningKey,
        roster: Mapping[int, bytes],
        rand: Callable[[int], bytes],
    ) -> None:
        self._params = params
        self._roster = check_roster(params, roster)
        if self._roster.get(client_id) != signing_key.public:
            raise UsageError(f"The roster does not list this identity as client {client_id}.")
        self._id = client_id
        self._signing_key = signing_key
        self._session_id = session_id(params, session, self._roster)
        self._rand = rand
        self._vector: NDArray[np.uint64] | None = None
        self._memory = _Memory()

    def __repr__(self) -> str:
        return f"<secagg Client {self._id}, {self.state}>"

    @property
    def state(self) -> ClientState:
        """What this client has answered so far."""
        return self._memory.state

    def set_vector(self, residues: NDArray[np.uint64]) -> None:
        """Give the vector to be summed; any time before the upload is asked for.

        Args:
            residues: shape (dimension,), dtype uint64, each below ``2**bits``.  Copied.

        Raises:
            UsageError: another shape or dtype, a value that does not fit (SA-8), or the upload is done.
        """
        if self.state not in (ClientState.NEW, ClientState.ADVERTISED, ClientState.SHARED):
            raise UsageError("The vector of this round has been uploaded; it cannot be replaced.")
        if not isinstance(residues, np.ndarray) or residues.dtype != np.uint64:
            raise UsageError("A vector to sum is a numpy array of dtype uint64.")
        if residues.shape != (self._params.dimension,):
            raise UsageError(f"The vector has shape {residues.shape}, not ({self._params.dimension},).")
        if int(residues.max()) >> self._params.bits:
            raise UsageError(
                f"A value of the vector does not fit in {self._params.bits} bits.",
                hint="Reduce modulo 2**bits, and plan the bits so that the sum cannot wrap. [SA-8]",
            )
        self._vector = residues.copy()

    def handle(self, request: bytes) -> bytes:
        """Answer one request of the server.

        Args:
            request: the bytes of one message.

        Returns:
            The bytes of the reply.

        Raises:
            DecodeError: the bytes are no message.
            ProtocolViolation: the message breaks a clause; it is not answered.
            UsageError: the upload was asked for before `set_vector`.
            In each case nothing has changed, and the right message is still answered.
        """
        message = decode_request(request, self._params)
        if message.session != self._session_id:
            raise ProtocolViolation(
                "The server's message belongs to another session.",
                clause="SA-4",
                hint="Server and client differ in run, round, parameters, roster, model or configuration.",
            )
        following = after_request(self.state, message, consistency_check=self._params.consistency_check)
        memory, reply = self._answer(message)
        data = encode(reply)
        self._memory = replace(memory, state=following)
        if following is ClientState.UPLOADED:
            self._vector = None
        return data

    def _answer(self, message: Request) -> tuple[_Memory, Message]:
        if isinstance(message, AdvertiseRequest):
            return self._advertise()
        if isinstance(message, ShareRequest):
            return self._share(message)
        if isinstance(message, UploadRequest):
            return self._upload(message)
        if isinstance(message, ConsistencyRequest):
            return self._sign(message)
        return self._unmask(message)

    def _advertise(self) -> tuple[_Memory, Message]:
        cipher, mask, seed = (self._entropy(SEED_BYTES) for _ in range(3))
        if len({cipher, mask, seed}) < 3:
            raise UsageError("The source of randomness repeats itself.")
        keys = RoundKeys(AgreementKey.from_seed(cipher), AgreementKey.from_seed(mask), seed)
        bundle = keys.bundle(self._session_id, self._id, self._signing_key)
        reply = AdvertiseReply(session=self._session_id, sender=self._id, bundle=bundle)
        return replace(self._memory, keys=keys, bundle=bundle), reply

    def _share(self, message: ShareRequest) -> tuple[_Memory, Message]:
        keys = self._keys()
        seen: set[bytes] = set()
        for bundle in message.bundles:
            check_bundle(bundle, self._session_id, self._roster, seen)
        cohort = Cohort.of(self._session_id, message.bundles)
        if cohort.bundles.get(self._id) != self._memory.bundle:
            raise ProtocolViolation("The server left out or changed this client's own keys.", clause="SA-1")
        self._check_floor(len(cohort.bundles), "advertised")

        points = tuple(cohort.bundles)
        threshold = self._params.threshold
        seed = int.from_bytes(keys.seed, "big")
        mask_secret = int.from_bytes(keys.mask.seed, "big")
        seed_shares = split(seed, threshold=threshold, points=points, rand=self._entropy)
        key_shares = split(mask_secret, threshold=threshold, points=points, rand=self._entropy)
        sealed = []
        for peer in points:
            if peer != self._id:
                key = cohort.share_key(keys.cipher, self._id, peer, peer)
                plaintext = encode_element(seed_shares[peer]) + encode_element(key_shares[peer])
                context = cohort.share_context(self._id, peer)
                sealed.append((peer, seal(key, self._entropy(NONCE_BYTES), plaintext, context)))
        own = _HeldShares(encode_element(seed_shares[self._id]), encode_element(key_shares[self._id]))
        reply = ShareReply(session=self._session_id, sender=self._id, shares=tuple(sealed))
        return replace(self._memory, cohort=cohort, held={self._id: own}), reply

    def _upload(self, message: UploadRequest) -> tuple[_Memory, Message]:
        keys, cohort = self._keys(), self._cohort()
        held = dict(self._memory.held)
        for source, sealed in message.shares:
            if source == self._id or source not in cohort.bundles:
                raise ProtocolViolation(
                    f"Shares from client {source}, which is not a peer in this cohort.", clause="SA-1"
                )
            held[source] = self._open(keys, cohort, source, sealed)
        self._check_floor(len(held), "shared their secrets")
        if self._vector is None:
            raise UsageError("The upload is asked for, and no vector has been set.")

        masked = Residues(self._params.bits, self._params.dimension)
        masked.add(self._vector)
        masked.add_mask(cohort.self_mask_key(keys.seed, self._id))
        for peer in sorted(held):
            if peer != self._id:
                masked.add_mask(cohort.pair_mask_key(keys.mask, self._id, peer), subtract=self._id > peer)
        vector = pack(masked.value(), self._params.bits)
        # What comes after needs the shares only: the keys that could unmask this vector go now (SA-13).
        memory = replace(self._memory, keys=None, held=held)
        return memory, UploadReply(session=self._session_id, sender=self._id, vector=vector)

    def _open(self, keys: RoundKeys, cohort: Cohort, source: int, sealed: bytes) -> _HeldShares:
        """Decrypt and check what another client shared with this one (SA-7)."""
        key = cohort.share_key(keys.cipher, source, self._id, source)
        try:
            plaintext = open_sealed(key, sealed, cohort.share_context(source, self._id))
            shares = plaintext[:ELEMENT_BYTES], plaintext[ELEMENT_BYTES:]
            for share in shares:
                decode_element(share)
        except DecodeError as fault:
            raise ProtocolViolation(
                f"The shares of client {source} are not authentic.", clause="SA-7", party=source
            ) from fault
        return _HeldShares(*shares)

    def _sign(self, message: ConsistencyRequest) -> tuple[_Memory, Message]:
        self._check_survivors(message.survivors)
        statement = consistency_statement(self._cohort(), self._memory.held, message.survivors)
        signature = self._signing_key.sign(CONSISTENCY_DOMAIN, statement)
        reply = ConsistencyReply(session=self._session_id, sender=self._id, signature=signature)
        return replace(self._memory, survivors=message.survivors), reply

    def _unmask(self, message: UnmaskRequest) -> tuple[_Memory, Message]:
        survivors, dropped = set(message.survivors), set(message.dropped)
        held = self._memory.held
        if not survivors.isdisjoint(dropped):
            both = min(survivors & dropped)
            raise ProtocolViolation(
                f"The server calls client {both} alive and dropped at once: both kinds of its shares would "
                "open its vector.",
                clause="SA-3",
            )
        self._check_survivors(message.survivors)
        if survivors | dropped != set(held):
            raise ProtocolViolation(
                "The server's lists are not the clients that shared their secrets.", clause="SA-3"
            )
        if self._params.consistency_check:
            self._check_signatures(message)
        elif message.signatures:
            raise ProtocolViolation("Signatures in a session without the consistency check.", clause="SA-2")
        shares: list[tuple[int, Kind, bytes]] = []
        for owner in sorted(held):
            if owner in survivors:
                shares.append((owner, "seed", held[owner].seed))
            else:
                shares.append((owner, "key", held[owner].key))
        reply = UnmaskReply(session=self._session_id, sender=self._id, shares=tuple(shares))
        return _Memory(), reply

    def _check_survivors(self, survivors: tuple[int, ...]) -> None:
        """What a list of survivors must be before this client signs it or acts on it."""
        if not set(survivors) <= set(self._memory.held):
            raise ProtocolViolation("A client that never shared its secrets is called alive.", clause="SA-3")
        if self._id not in survivors:
            raise ProtocolViolation(
                "This client is alive and the server says that it dropped: its shares would open its vector.",
                clause="SA-3",
            )
        self._check_floor(len(survivors), "uploaded")

    def _check_signatures(self, message: UnmaskRequest) -> None:
        """At least t survivors signed the very lists that this client saw (SA-2)."""
        if message.survivors != self._memory.survivors:
            raise ProtocolViolation("The survivors are not those that this client signed.", clause="SA-2")
        if len(message.signatures) < self._params.threshold:
            raise ProtocolViolation(
                f"{len(message.signatures)} clients signed the list of survivors, "
                f"{self._params.threshold} are needed.",
                clause="SA-2",
            )
        statement = consistency_statement(self._cohort(), self._memory.held, message.survivors)
        for signer, signature in message.signatures:
            if signer not in message.survivors:
                raise ProtocolViolation(f"Client {signer} signed and is not alive.", clause="SA-2")
            if not verify(self._roster[signer], CONSISTENCY_DOMAIN, statement, signature):
                raise ProtocolViolation(
                    f"Client {signer} did not sign this list of survivors.", clause="SA-2", party=signer
                )

    def _check_floor(self, count: int, what: str) -> None:
        if count < self._params.threshold:
            raise ProtocolViolation(
                f"The server goes on with {count} clients that {what}; this client's floor is "
                f"{self._params.threshold}.",
                clause="SA-9",
            )

    def _entropy(self, count: int) -> bytes:
        data = self._rand(count)
        if not isinstance(data, bytes) or len(data) != count:
            raise UsageError(f"The source of randomness did not give {count} bytes.")
        return data

    def _keys(self) -> RoundKeys:
        if self._memory.keys is None:
            raise UsageError("The keys of this round are gone.")
        return self._memory.keys

    def _cohort(self) -> Cohort:
        if self._memory.cohort is None:
            raise UsageError("There is no cohort yet.")
        return self._memory.cohort

"""The server of one round, without IO: it asks, folds in what comes, and closes one stage after another.

Nothing that a client's safety depends on is decided here: each client checks for itself.  The server's own
checks protect the result, and say which client broke the protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from fedpriv.crypto.agreement import AgreementKey
from fedpriv.crypto.field import PRIME, decode_element
from fedpriv.crypto.shamir import lagrange_at_zero
from fedpriv.crypto.signing import verify
from fedpriv.encoding.packing import unpack
from fedpriv.errors import DecodeError, ProtocolViolation, TooFewParties, UsageError
from fedpriv.secagg.keys import (
    CONSISTENCY_DOMAIN,
    SEED_BYTES,
    Cohort,
    check_bundle,
    check_roster,
    consistency_statement,
    seed_commitment,
    session_id,
)
from fedpriv.secagg.masking import Residues
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
    UploadReply,
    UploadRequest,
    decode_reply,
    encode,
)
from fedpriv.secagg.params import SecAggParams, Session, Sum
from fedpriv.secagg.states import SERVER_REPLIES, SERVER_TRANSITIONS, Closing, Stage

__all__ = ["Server"]


class Server:
    """The server's side of one round.

    Use: send ``requests()``, ``receive`` what comes back, ``advance()`` when no more is awaited; again until
    ``finished``.  Clients that did not answer a stage are not asked again.

    Args:
        params, session, roster: the same as the clients'; where they differ, no client answers.

    Raises:
        UsageError: a roster that does not fit.
    """

    def __init__(self, params: SecAggParams, session: Session, roster: Mapping[int, bytes]) -> None:
        self._params = params
        self._roster = check_roster(params, roster)
        self._session_id = session_id(params, session, self._roster)
        self._stage = Stage.ADVERTISE
        self._asked = tuple(self._roster)
        self._heard: set[int] = set()
        self._answered: dict[str, tuple[int, ...]] = {}
        self._bundles: dict[int, Bundle] = {}
        self._advertised_keys: set[bytes] = set()
        self._cohort: Cohort | None = None
        self._mail: dict[int, dict[int, bytes]] = {}
        self._sum = Residues(params.bits, params.dimension)
        self._signatures: dict[int, bytes] = {}
        # owner -> holder -> share of b or of s, whichever was asked for
        self._shares: dict[int, dict[int, int]] = {}
        self._total: NDArray[np.uint64] | None = None

    def __repr__(self) -> str:
        return f"<secagg Server, {self._stage}, {len(self._heard)} of {len(self._asked)} answered>"

    @property
    def stage(self) -> str:
        """'advertise', 'share', 'upload', 'consistency', 'unmask', 'finished' or 'aborted'."""
        return str(self._stage)

    @property
    def finished(self) -> bool:
        """Whether `result` can be called."""
        return self._stage is Stage.FINISHED

    def requests(self) -> dict[int, bytes]:
        """What to send to whom in this stage; the same each time, until `advance`."""
        return {client: encode(self._request(client)) for client in self._asked}

    def receive(self, client_id: int, reply: bytes) -> None:
        """Take in one reply.

        Args:
            client_id: from whom the transport says it came.
            reply: its bytes.

        Raises:
            DecodeError: the bytes are no message.
            ProtocolViolation: the message breaks a clause.
            In both cases ``party`` is the client, nothing has changed, and the round may go on without it.
        """
        try:
            message = decode_reply(reply, self._params)
        except DecodeError as fault:
            raise DecodeError(f"From client {client_id}: {fault}", party=client_id) from fault
        if message.session != self._session_id:
            self._refuse(client_id, "sent a message of another session", "SA-4")
        if message.sender != client_id:
            self._refuse(client_id, f"sent a message in the name of client {message.sender}", "SA-15")
        if SERVER_REPLIES.get(self._stage) is not type(message):
            self._refuse(client_id, f"sent {type(message).__name__} in the stage '{self._stage}'", "SA-15")
        if client_id not in self._asked:
            self._refuse(client_id, f"was not asked in the stage '{self._stage}'", "SA-15")
        if client_id in self._heard:
            self._refuse(client_id, f"answered the stage '{self._stage}' twice", "SA-15")
        self._take(client_id, message)
        self._heard.add(client_id)

    def advance(self) -> None:
        """Close the stage with those who answered.

        Raises:
            TooFewParties: fewer than the threshold; the round is aborted.
            ProtocolViolation: SA-12, a recovered secret is not the one committed to; the round is aborted.
            UsageError: the round is already over.
        """
        if self._stage not in SERVER_REPLIES:
            raise UsageError(f"The round is {self._stage}; there is no stage to close.")
        present = tuple(sorted(self._heard))
        if len(present) < self._params.threshold:
            stage = self._stage
            self._close(Closing.TOO_FEW)
            raise TooFewParties(
                f"{len(present)} of {len(self._asked)} clients answered the stage '{stage}', "
                f"{self._params.threshold} are needed; the round ended without a sum.",
                hint="Start a new round when more clients are reachable.",
            )
        self._answered[str(self._stage)] = present
        if self._stage is Stage.ADVERTISE:
            self._cohort = Cohort.of(self._session_id, self._bundles.values())
        elif self._stage is Stage.UNMASK:
            self._unmask(present)
        self._asked, self._heard = present, set()
        self._close(Closing.ENOUGH)

    def result(self) -> Sum:
        """The sum of the survivors.

        Raises:
            UsageError: the round is not finished.
        """
        if self._total is None:
            raise UsageError(f"The round is not finished: it is in the stage '{self._stage}'.")
        return Sum(self._total, self._survivors, dict(self._answered))

    @property
    def _sharers(self) -> tuple[int, ...]:
        return self._answered[Stage.SHARE]

    @property
    def _survivors(self) -> tuple[int, ...]:
        return self._answered[Stage.UPLOAD]

    def _close(self, closing: Closing) -> None:
        self._stage = SERVER_TRANSITIONS[self._params.consistency_check][self._stage, closing]
        if self._stage not in SERVER_REPLIES:
            self._asked = ()
            self._mail.clear()
            self._shares.clear()

    def _request(self, client: int) -> Message:
        session = self._session_id
        if self._stage is Stage.ADVERTISE:
            return AdvertiseRequest(session=session)
        if self._stage is Stage.SHARE:
            return ShareRequest(session=session, bundles=tuple(self._require_cohort().bundles.values()))
        if self._stage is Stage.UPLOAD:
            mail = self._mail[client]
            shares = tuple((source, mail[source]) for source in self._sharers if source != client)
            return UploadRequest(session=session, shares=shares)
        survivors = self._survivors
        if self._stage is Stage.CONSISTENCY:
            return ConsistencyRequest(session=session, survivors=survivors)
        dropped = tuple(sorted(set(self._sharers) - set(survivors)))
        signatures = tuple(sorted(self._signatures.items()))
        return UnmaskRequest(session=session, survivors=survivors, dropped=dropped, signatures=signatures)

    def _take(self, client: int, message: Reply) -> None:
        """Check a reply and keep what is in it; on an error nothing is kept."""
        if isinstance(message, AdvertiseReply):
            if message.bundle.client != client:
                self._refuse(client, "sent the keys of another client", "SA-1")
            check_bundle(message.bundle, self._session_id, self._roster, self._advertised_keys)
            self._bundles[client] = message.bundle
        elif isinstance(message, ShareReply):
            others = tuple(peer for peer in self._require_cohort().bundles if peer != client)
            if tuple(destination for destination, _ in message.shares) != others:
                self._refuse(client, "did not share with exactly the others of the cohort", "SA-16")
            for destination, sealed in message.shares:
                self._mail.setdefault(destination, {})[client] = sealed
        elif isinstance(message, UploadReply):
            try:
                vector = unpack(message.vector, self._params.bits, self._params.dimension)
            except DecodeError as fault:
                raise DecodeError(f"From client {client}: {fault}", party=client) from fault
            self._sum.add(vector)
        elif isinstance(message, ConsistencyReply):
            statement = consistency_statement(self._require_cohort(), self._sharers, self._survivors)
            if not verify(self._roster[client], CONSISTENCY_DOMAIN, statement, message.signature):
                self._refuse(client, "did not sign the list of survivors that it was shown", "SA-2")
            self._signatures[client] = message.signature
        else:
            self._take_shares(client, message)

    def _take_shares(self, client: int, message: UnmaskReply) -> None:
        survivors = set(self._survivors)
        expected = tuple((owner, "seed" if owner in survivors else "key") for owner in self._sharers)
        if tuple((owner, kind) for owner, kind, _ in message.shares) != expected:
            self._refuse(client, "revealed other shares than it was asked for", "SA-16")
        try:
            values = [decode_element(share) for _, _, share in message.shares]
        except DecodeError as fault:
            raise DecodeError(f"From client {client}: {fault}", party=client) from fault
        for owner, value in zip(self._sharers, values, strict=True):
            self._shares.setdefault(owner, {})[client] = value

    def _unmask(self, present: tuple[int, ...]) -> None:
        """Recover the secrets, check each, and only then take the masks out of the sum."""
        cohort = self._require_cohort()
        holders = present[: self._params.threshold]
        weights = lagrange_at_zero(holders)
        survivors = self._survivors
        seeds: dict[int, bytes] = {}
        keys: dict[int, AgreementKey] = {}
        for owner, shares in self._shares.items():
            value = sum(w * shares[h] for w, h in zip(weights, holders, strict=True)) % PRIME
            secret = (value % 2 ** (8 * SEED_BYTES)).to_bytes(SEED_BYTES, "big")
            fits = value >> (8 * SEED_BYTES) == 0
            if owner in survivors:
                commitment = cohort.bundles[owner].seed_commitment
                fits = fits and seed_commitment(self._session_id, owner, secret) == commitment
                seeds[owner] = secret
            else:
                keys[owner] = AgreementKey.from_seed(secret)
                fits = fits and keys[owner].public == cohort.bundles[owner].mask_key
            if not fits:
                self._close(Closing.MISMATCH)
                raise ProtocolViolation(
                    f"The shares of client {owner} do not give the secret that it signed: it shared "
                    "something else, or a client that holds a share lied.",
                    clause="SA-12",
                )
        for survivor, seed in seeds.items():
            self._sum.add_mask(cohort.self_mask_key(seed, survivor), subtract=True)
        for dropped, key in keys.items():
            for survivor in survivors:
                # The survivor added this mask if it comes first and subtracted it otherwise: do the opposite.
                mask = cohort.pair_mask_key(key, dropped, survivor)
                self._sum.add_mask(mask, subtract=survivor < dropped)
        self._total = self._sum.value()

    def _require_cohort(self) -> Cohort:
        if self._cohort is None:
            raise UsageError("There is no cohort before the first stage has closed.")
        return self._cohort

    def _refuse(self, client: int, what: str, clause: str) -> NoReturn:
        raise ProtocolViolation(f"Client {client} {what}.", clause=clause, party=client)

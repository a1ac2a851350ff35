"""One client of a run, without IO: a request in, an answer out, or a typed error and nothing changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.ckks.holder import Holder
from fedpriv.ckks.messages import Seal, UploadChunk, UploadRequest, UploadSeal, encode
from fedpriv.ckks.params import CkksParams
from fedpriv.ckks.ring import Ring
from fedpriv.ckks.signed_key import EncryptionKey, read_key
from fedpriv.ckks.states import ClientState, client_after
from fedpriv.ckks.transcript import (
    UPLOAD_DOMAIN,
    Run,
    check_identity,
    check_round,
    first_digest,
    second_digest,
    upload_statement,
)
from fedpriv.ckks.workers import EncryptionWorkers
from fedpriv.crypto.signing import SigningKey
from fedpriv.errors import ProtocolViolation, UsageError

__all__ = ["Client"]


class Client:
    """One client's side of all rounds of a run; of the key too, where it is one of the holders.

    Use: `open_round`, `set_vectors`, and then answer what the server asks with `handle`; round after round.

    Args:
        params: what all agreed on, as this client decided it; no message changes it.
        run_id: 16 bytes that name the run.
        client_id: 1..n.
        key: the Ed25519 identity that the roster lists for it.
        roster: party -> Ed25519 public key (32 bytes), obtained from somewhere other than the server.
        rand: ``rand(n)`` gives n fresh uniform bytes, ``os.urandom`` outside of tests.
        workers: what encrypts; in this process, one chunk after the other, if not given.
        ring: arithmetic to share with other parties of the process; one of its own if it is not given.

    Raises:
        UsageError: a roster that does not fit, or an identity that is not the roster's.
    """

    def __init__(  # noqa: PLR0917 - who, in what, with which secrets: all are needed and none has a default
        self,
        params: CkksParams,
        run_id: bytes,
        client_id: int,
        key: SigningKey,
        roster: Mapping[int, bytes],
        rand: Callable[[int], bytes],
        *,
        workers: EncryptionWorkers | None = None,
        ring: Ring | None = None,
    ) -> None:
        self._run = Run.of(params, run_id, roster)
        if not self._run.is_client(client_id):
            raise UsageError(f"Client {client_id} is not one of 1..{params.clients}.")
        check_identity(self._run, client_id, key)
        self._params, self._id, self._signing_key = params, client_id, key
        # In this process there is nothing to end; without a ring to share, one is made at the first use.
        ring = ring or Ring(params.ring)
        self._workers = workers or EncryptionWorkers(params.layout, 1, ring=ring)
        self._holder = (
            Holder(params, run_id, client_id, key, roster, rand, ring=ring)
            if client_id in params.holders
            else None
        )
        self._state = ClientState.IDLE
        self._round, self._context = -1, b""
        self._key: EncryptionKey | None = None
        self._values: NDArray[np.int64] | None = None

    def __repr__(self) -> str:
        return f"<ckks Client {self._id}, round {self._round}, {self._state}>"

    @property
    def state(self) -> ClientState:
        """What this client has done in this round."""
        return self._state

    @property
    def holder(self) -> Holder | None:
        """The holder that this client is too, where it is one."""
        return self._holder

    def open_round(self, round_: int, context: bytes) -> None:
        """Begin a round; the vector of the one before is forgotten, the key is not.

        Args:
            round_: its number, higher than that of every round before.
            context: 32 bytes, the digest of the model and the configuration that the vector comes from.

        Raises:
            UsageError: a number that is not higher, or one of the two is out of range.
        """
        check_round(round_, context, self._round)
        if self._holder is not None:
            self._holder.open_round(round_, context)
        self._round, self._context = round_, context
        self._state, self._values = ClientState.NEW, None

    def set_vectors(self, values: NDArray[Any], *, copy: bool = True) -> None:
        """Give what is to be summed in this round; any time before the upload is asked for.

        Args:
            values: shape (d,), int64, each of at most M in absolute value.
            copy: keep a copy.  Without it the array itself is kept, and must not change until the upload has
                been read to its end.

        Raises:
            UsageError: another shape or dtype, a value beyond M (CK-3), or no round is open whose upload is
                still to come.
        """
        if self._state is not ClientState.NEW:
            raise UsageError(f"No vector is awaited: in round {self._round} this client is '{self._state}'.")
        array = np.asarray(values)
        if array.shape != (self._params.dimension,) or array.dtype != np.int64:
            raise UsageError(
                f"The vector has shape {array.shape} and dtype {array.dtype}, "
                f"not ({self._params.dimension},) and int64."
            )
        # CK-3: a value beyond the bound would carry into its neighbour or wrap.
        if max(int(array.max()), -int(array.min())) > self._params.bound:
            raise UsageError(
                f"A value is beyond the bound {self._params.bound} that this run was planned for.",
                hint="Clip the vector, or plan the run with a higher bound. [CK-3]",
            )
        self._values = array.copy() if copy else array

    def handle(self, request: bytes) -> Iterator[bytes]:
        """Answer one request of the server.

        The client has taken its step when this returns.  The answer is one message, or for the upload
        several, which are made as they are read.

        Args:
            request: the bytes of one message.

        Returns:
            The messages of the answer, in order.

        Raises:
            DecodeError: the bytes are no message.
            ProtocolViolation: the message breaks a clause; it is not answered.
            UsageError: the upload was asked for before `set_vectors`.
            In each case nothing has changed, and the right message is still answered; but see `Holder` on
            CK-4.
        """
        message = self._run.request(request)
        if isinstance(message, UploadRequest):
            return self._upload(message)
        if self._holder is None:
            raise ProtocolViolation(
                f"The server sent {type(message).__name__} to a client that is no holder.", clause="CK-17"
            )
        return self._holder.answer(message)

    def _upload(self, message: UploadRequest) -> Iterator[bytes]:
        following = client_after(self._state, message)
        if message.round != self._round:
            raise ProtocolViolation(
                f"An upload of round {message.round} is asked for, and round {self._round} is open.",
                clause="CK-17",
            )
        key = self._accepted(message)
        if self._values is None:
            raise UsageError("The upload is asked for, and no vector was set.")
        values, self._values = self._values, None
        self._key, self._state = key, following
        return self._messages(key, values)

    def _accepted(self, message: UploadRequest) -> EncryptionKey:
        """The key to encrypt under: the one that is shown, or the one from before (CK-9, CK-10)."""
        if message.key is None:
            if self._key is None:
                raise ProtocolViolation("This client was never shown a key.", clause="CK-9")
            return self._key
        key = read_key(self._run, message.key)
        known = self._key
        if known is not None and key.name != known.name and key.number <= known.number:
            raise ProtocolViolation(
                f"Key number {key.number} is shown after number {known.number}: numbers only grow.",
                clause="CK-10",
            )
        return key

    def _messages(self, key: EncryptionKey, values: NDArray[np.int64]) -> Iterator[bytes]:
        session, round_, context, digests = self._run.session, self._round, self._context, []
        for index, (first, second) in enumerate(self._workers.encrypt(key.public, self._chunks(values))):
            digests += [first_digest(first), second_digest(second)]
            yield encode(
                UploadChunk(
                    session=session, sender=self._id, round=round_, chunk=index, first=first, second=second
                )
            )
        joined = b"".join(digests)
        statement = upload_statement(session, round_, context, key.name, joined)
        seal = Seal(self._id, joined, self._signing_key.sign(UPLOAD_DOMAIN, statement))
        yield encode(UploadSeal(session=session, sender=self._id, round=round_, seal=seal))

    def _chunks(self, values: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        step = self._params.layout.values_per_chunk
        for first in range(0, len(values), step):
            yield values[first : first + step]

"""One client of a run, without IO: a request in, an answer out, or a typed error and nothing changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from fedpriv.ckks.holder import Holder
from fedpriv.ckks.memory import ClientMemory, SavedClient, memory_seal
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
    A process that is new for each message calls `save` after each of them, and `restore` in the next one.

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
        self._rand = rand
        self._seal = memory_seal(self._run, "client", client_id, key)
        self._memory = ClientMemory()
        self._values: NDArray[np.int64] | None = None

    def __repr__(self) -> str:
        return f"<ckks Client {self._id}, round {self._memory.round}, {self.state}>"

    @property
    def state(self) -> ClientState:
        """What this client has done in this round."""
        return self._memory.state

    @property
    def sequence(self) -> int:
        """A number that grows with every step; who keeps saved states keeps the last one apart (CK-18)."""
        return self._saved().sequence

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
        check_round(round_, context, self._memory.round)
        if self._holder is not None:
            self._holder.open_round(round_, context)
        self._memory = self._next(state=ClientState.NEW, round=round_, context=context)
        self._values = None

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
        if self.state is not ClientState.NEW:
            raise UsageError(
                f"No vector is awaited: in round {self._memory.round} this client is '{self.state}'."
            )
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

        The client has taken its step when this returns; save it before anything is sent.  The answer is one
        message, or for the upload several, which are made as they are read.

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

    def save(self) -> bytes:
        """All that this client remembers, encrypted under a key that only its identity gives.

        A vector that was set and not yet uploaded is not part of it; the holder that this client is too, is.
        Keep `sequence` beside it, in a place that is not set back when the state is.
        """
        return self._seal.seal(self._saved(), self._rand)

    def restore(self, data: bytes, *, least_sequence: int) -> None:
        """Go on from what `save` gave.

        Args:
            data: the saved state.
            least_sequence: the last `sequence` that is known to have been reached.

        Raises:
            IntegrityError: not this client's state in this run, or one that is older (CK-18).
        """
        saved = self._seal.open(data, SavedClient, least_sequence)
        self._memory, self._values = saved.client, None
        if self._holder is not None and saved.holder is not None:
            self._holder.remember(saved.holder)

    def _saved(self) -> SavedClient:
        return SavedClient(self._memory, self._holder.memory if self._holder else None)

    def _next(self, **changes: Any) -> ClientMemory:
        return replace(self._memory, sequence=self._memory.sequence + 1, **changes)

    def _upload(self, message: UploadRequest) -> Iterator[bytes]:
        following = client_after(self.state, message)
        if message.round != self._memory.round:
            raise ProtocolViolation(
                f"An upload of round {message.round} is asked for, and round {self._memory.round} is open.",
                clause="CK-17",
            )
        key = self._accepted(message)
        if self._values is None:
            raise UsageError("The upload is asked for, and no vector was set.")
        values, self._values = self._values, None
        self._memory = self._next(state=following, key=key)
        return self._messages(self._memory, key, values)

    def _accepted(self, message: UploadRequest) -> EncryptionKey:
        """The key to encrypt under: the one that is shown, or the one from before (CK-9, CK-10)."""
        known = self._memory.key
        if message.key is None:
            if known is None:
                raise ProtocolViolation("This client was never shown a key.", clause="CK-9")
            return known
        key = read_key(self._run, message.key)
        if known is not None and key.name != known.name and key.number <= known.number:
            raise ProtocolViolation(
                f"Key number {key.number} is shown after number {known.number}: numbers only grow.",
                clause="CK-10",
            )
        return key

    def _messages(
        self, memory: ClientMemory, key: EncryptionKey, values: NDArray[np.int64]
    ) -> Iterator[bytes]:
        session, round_, digests = self._run.session, memory.round, []
        encrypted = self._workers.encrypt(key.public(self._run), self._chunks(values))
        for index, (first, second) in enumerate(encrypted):
            digests += [first_digest(first), second_digest(second)]
            yield encode(
                UploadChunk(
                    session=session, sender=self._id, round=round_, chunk=index, first=first, second=second
                )
            )
        joined = b"".join(digests)
        statement = upload_statement(session, round_, memory.context, key.name, joined)
        seal = Seal(self._id, joined, self._signing_key.sign(UPLOAD_DOMAIN, statement))
        yield encode(UploadSeal(session=session, sender=self._id, round=round_, seal=seal))

    def _chunks(self, values: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        step = self._params.layout.values_per_chunk
        for first in range(0, len(values), step):
            yield values[first : first + step]

"""One holder of a key, without IO: it helps to make the key, and answers for the sums that it lets be opened.

A holder is a client of the committee, or the authority.  Whatever the server says, it answers for one sum of
one round, of at least m clients that signed for it, and for no more sums of a key than were agreed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fedpriv.ckks.flooding import flood
from fedpriv.ckks.key_generation import KeyGeneration
from fedpriv.ckks.making import HolderKey, Making
from fedpriv.ckks.messages import (
    AdvertiseRequest,
    CommitRequest,
    ConfirmRequest,
    DealRequest,
    Message,
    OpenChunk,
    OpenReply,
    OpenRequest,
    Request,
    Seal,
    UploadRequest,
    encode,
)
from fedpriv.ckks.modular import add
from fedpriv.ckks.opened import pack_sums, read_sums
from fedpriv.ckks.params import CkksParams
from fedpriv.ckks.ring import Ring
from fedpriv.ckks.states import HolderState, holder_after
from fedpriv.ckks.transcript import (
    UPLOAD_DOMAIN,
    Run,
    check_identity,
    check_round,
    chunk_digests,
    second_digest,
    upload_statement,
)
from fedpriv.ckks.wire import pack_rows, unpack_rows
from fedpriv.crypto.digest import DIGEST_BYTES
from fedpriv.crypto.signing import SigningKey
from fedpriv.errors import ProtocolViolation, UsageError

__all__ = ["Holder"]

Rows = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class _Opening:
    """The one sum of a round: its seals, and the first chunk that was not answered."""

    seals: tuple[Seal, ...]
    following: int = 0


@dataclass(frozen=True, slots=True)
class _Memory:
    """All that a holder remembers between two messages; a step makes a new one."""

    state: HolderState = HolderState.KEYLESS
    number: int = 0
    making: Making | None = None
    key: HolderKey | None = None
    round: int = -1
    context: bytes = b""
    opening: _Opening | None = None
    opened: int = -1  # the last round of which a sum was begun, under whatever key


class Holder:
    """One holder's side of all rounds of a run; the authority is the holder with number 0.

    Use: `open_round`, and then answer what the server asks with `handle`; round after round.

    Args:
        params: what all agreed on, as this holder decided it; no message changes it.
        run_id: 16 bytes that name the run.
        holder_id: its number, one of ``params.holders``.
        key: the Ed25519 identity that the roster lists for it.
        roster: party -> Ed25519 public key (32 bytes), obtained from somewhere other than the server.
        rand: ``rand(n)`` gives n fresh uniform bytes, ``os.urandom`` outside of tests.
        ring: arithmetic to share with other parties of the process; one of its own if it is not given.

    Raises:
        UsageError: a roster that does not fit, or an identity that is not the roster's.
    """

    def __init__(  # noqa: PLR0917 - who, in what, with which secrets: all are needed and none has a default
        self,
        params: CkksParams,
        run_id: bytes,
        holder_id: int,
        key: SigningKey,
        roster: Mapping[int, bytes],
        rand: Callable[[int], bytes],
        *,
        ring: Ring | None = None,
    ) -> None:
        self._run = Run.of(params, run_id, roster)
        if holder_id not in params.holders:
            raise UsageError(f"Party {holder_id} is not one of the holders {params.holders}.")
        check_identity(self._run, holder_id, key)
        self._params, self._id, self._ring = params, holder_id, ring
        self._generation = KeyGeneration(self._run, holder_id, key, self._arithmetic, rand)
        self._memory = _Memory()

    def __repr__(self) -> str:
        return f"<ckks Holder {self._id}, round {self._memory.round}, {self.state}>"

    @property
    def state(self) -> HolderState:
        """How far this holder is with its key."""
        return self._memory.state

    def open_round(self, round_: int, context: bytes) -> None:
        """Begin a round; what was left of the one before can no longer be opened.

        Args:
            round_: its number, higher than that of every round before (CK-13).
            context: 32 bytes, the digest of the model and the configuration.

        Raises:
            UsageError: a number that is not higher, or one of the two is out of range.
        """
        check_round(round_, context, self._memory.round)
        self._memory = replace(self._memory, round=round_, context=context, opening=None)

    def handle(self, request: bytes) -> Iterator[bytes]:
        """Answer one request of the server.

        Args:
            request: the bytes of one message.

        Returns:
            The messages of the answer, in order: one.

        Raises:
            DecodeError: the bytes are no message.
            ProtocolViolation: the message breaks a clause; it is not answered.
            In each case nothing has changed, and the right message is still answered; but after CK-4 the
            key is forgotten, for how often it fails says something of the key.
        """
        return self.answer(self._run.request(request))

    def answer(self, message: Request) -> Iterator[bytes]:
        """Answer a message that was decoded, and is of this session."""
        memory = self._memory
        state = holder_after(memory.state, message, sole=len(self._params.holders) == 1)
        after, reply = self._step(memory, message)
        self._memory = replace(after, state=state)
        return iter((encode(reply),))

    def _step(self, memory: _Memory, message: Request) -> tuple[_Memory, Message]:
        making, steps = memory.making, self._generation
        reply: Message
        if isinstance(message, OpenRequest):
            return self._open(memory, message)
        if isinstance(message, AdvertiseRequest):
            making, reply = steps.advertise(message, memory.number)
            # The old key is forgotten as soon as another is begun (CK-10).
            return replace(memory, number=message.number, making=making, key=None, opening=None), reply
        if isinstance(message, ConfirmRequest):
            return self._confirm(memory, message)
        if making is None or isinstance(message, UploadRequest):
            raise UsageError("The table of states lets no such request come to this.")
        if isinstance(message, DealRequest):
            making, reply = steps.deal(making, message)
        elif isinstance(message, CommitRequest):
            making, reply = steps.commit(making, message, memory.number)
        else:
            making, reply = steps.reveal(making, message)
        return replace(memory, number=message.number, making=making), reply

    def _confirm(self, memory: _Memory, message: ConfirmRequest) -> tuple[_Memory, Message]:
        if memory.making is None:
            key, reply = self._generation.alone(message, memory.number)
        else:
            key, reply = self._generation.confirm(memory.making, message)
        return replace(memory, number=message.number, making=None, key=key, opening=None), reply

    def _open(self, memory: _Memory, message: OpenRequest) -> tuple[_Memory, Message]:
        key = memory.key
        if key is None:
            raise UsageError("There is no key.")
        if message.round != memory.round:
            raise ProtocolViolation(
                f"Round {message.round} is to be opened, and round {memory.round} is open.", clause="CK-13"
            )
        if message.key != key.name:
            raise ProtocolViolation("The sum is under another key than this holder's.", clause="CK-12")
        opening = memory.opening
        if message.seals:
            opening, key = self._admit(memory, key, message.seals)
        if opening is None:
            raise ProtocolViolation("No seals were shown for what is to be opened.", clause="CK-12")
        last = message.chunk + len(message.chunks)
        if message.chunk < opening.following or not message.chunk < last <= self._params.layout.chunks:
            raise ProtocolViolation(
                f"The chunks from {message.chunk} to {last - 1} are not those that are left, of which each "
                "is answered once.",
                clause="CK-15",
            )
        # All of what is asked is checked before anything is answered.
        sums = [
            self._checked(opening.seals, message.chunk + place, chunk)
            for place, chunk in enumerate(message.chunks)
        ]
        answers = tuple(
            self._answer(memory, key, message.chunk + place, *both) for place, both in enumerate(sums)
        )
        reply = OpenReply(
            session=self._run.session,
            sender=self._id,
            round=memory.round,
            chunk=message.chunk,
            answers=answers,
        )
        opening = replace(opening, following=last)
        return replace(memory, key=key, opening=opening, opened=memory.round), reply

    def _admit(self, memory: _Memory, key: HolderKey, seals: tuple[Seal, ...]) -> tuple[_Opening, HolderKey]:
        """The sum that some seals stand for, if it is this round's (CK-12 to CK-14)."""
        if memory.opening is not None:
            if memory.opening.seals != seals:
                raise ProtocolViolation(
                    "Another sum of this round was begun: two of them would give their difference away.",
                    clause="CK-13",
                )
            return memory.opening, key
        if memory.opened == memory.round:
            raise ProtocolViolation(
                "A sum of this round was begun under the key before: two of them would give their difference"
                " away.",
                clause="CK-13",
            )
        if key.opened >= self._params.sums_per_key:
            raise ProtocolViolation(
                f"This key has opened its {self._params.sums_per_key} sums.", clause="CK-14"
            )
        clients = [seal.client for seal in seals]
        if len(clients) < self._params.min_survivors:
            raise ProtocolViolation(
                f"{len(clients)} clients are in the sum; this holder's floor is "
                f"{self._params.min_survivors}.",
                clause="CK-12",
            )
        if any(one >= other for one, other in pairwise(clients)):
            raise ProtocolViolation("A client is in the sum twice, or out of order.", clause="CK-12")
        for seal in seals:
            self._check_seal(memory, key, seal)
        return _Opening(seals), replace(key, opened=key.opened + 1)

    def _check_seal(self, memory: _Memory, key: HolderKey, seal: Seal) -> None:
        statement = upload_statement(self._run.session, memory.round, memory.context, key.name, seal.digests)
        whole = len(seal.digests) == 2 * DIGEST_BYTES * self._params.layout.chunks
        signed = self._run.signed_by(seal.client, UPLOAD_DOMAIN, statement, seal.signature)
        if not self._run.is_client(seal.client) or not whole or not signed:
            raise ProtocolViolation(
                f"Client {seal.client} did not sign an upload for this round, context and key.",
                clause="CK-12",
                party=seal.client,
            )

    def _checked(self, seals: Sequence[Seal], index: int, chunk: OpenChunk) -> tuple[Rows | None, Rows]:
        """The sum of c_0 of a chunk, where this holder decrypts, and that of c_1."""
        params = self._params
        if params.malicious and len(chunk.seconds) != len(seals):
            raise ProtocolViolation("The parts of a sum are not those of its clients.", clause="CK-12")
        if not params.malicious and len(chunk.seconds) != 1:
            raise ProtocolViolation("A semi-honest server sends one sum a chunk.", clause="CK-12")
        if params.malicious:
            for seal, packed in zip(seals, chunk.seconds, strict=True):
                if second_digest(packed) != chunk_digests(seal, index)[1]:
                    raise ProtocolViolation(
                        f"What is to be opened is not what client {seal.client} sealed.", clause="CK-12"
                    )
        primes, degree = params.ring.primes, params.ring.degree
        second = unpack_rows(chunk.seconds[0], primes, degree)
        for packed in chunk.seconds[1:]:
            second = add(second, unpack_rows(packed, primes, degree), primes)
        if params.threshold > 1:
            if chunk.first:
                raise ProtocolViolation("A holder of a share needs no c_0.", clause="CK-12")
            return None, second
        return unpack_rows(chunk.first, primes, params.layout.used(index)), second

    def _answer(
        self,
        memory: _Memory,
        key: HolderKey,
        index: int,
        first: Rows | None,
        second: Rows,
    ) -> bytes:
        params = self._params
        if first is None:
            noise = flood(
                params.ring,
                params.holders,
                self._id,
                key.secrets,
                round_=memory.round,
                second=second_digest(pack_rows(second, params.ring.primes)),
                chunk=index,
                variance=params.flood_variance,
            )
            # Only for coefficients that hold values: c_0 of the others was never sent.
            partial = key.share.partial(second, noise)[:, : params.layout.used(index)]
            return pack_rows(partial, params.ring.primes)
        # What is decrypted stays here: with the ciphertext it would give the key away.
        decrypted = add(first, key.share.times(second)[:, : first.shape[1]], params.ring.primes)
        try:
            return pack_sums(params, read_sums(params, decrypted, index))
        except ProtocolViolation:
            # Whether a decryption fails says a little about the key, so it is not asked a second time (CK-4).
            self._memory = replace(
                memory, state=HolderState.KEYLESS, key=None, opening=None, opened=memory.round
            )
            raise

    def _arithmetic(self) -> Ring:
        if self._ring is None:
            self._ring = Ring(self._params.ring)
        return self._ring

"""The opening of a round's sum as the server carries it: a few chunks an exchange, until all are open."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedpriv.ckks.committee import combine
from fedpriv.ckks.messages import OpenChunk, OpenReply, OpenRequest, chunks_per_exchange, encode
from fedpriv.ckks.modular import add
from fedpriv.ckks.opened import read_sums, unpack_sums
from fedpriv.ckks.server_key import CommitteeKey
from fedpriv.ckks.server_uploads import Uploads
from fedpriv.ckks.states import Closing
from fedpriv.ckks.transcript import Run
from fedpriv.ckks.wire import pack_rows, unpack_rows
from fedpriv.errors import DecodeError, ProtocolViolation

__all__ = ["Opening"]

Rows = NDArray[np.uint64]


class Opening:
    """The exchanges with the holders of one key about the sum of one round.

    Where one holder is enough they are asked one after the other, the next if one does not answer; else all
    that still answer are asked at once.

    Args:
        run: what all agreed on.
        round_: of the round.
        key: under which it was uploaded.
        uploads: of the round.
        survivors: the clients in the sum, ascending.
    """

    def __init__(
        self, run: Run, round_: int, key: CommitteeKey, uploads: Uploads, survivors: tuple[int, ...]
    ) -> None:
        self._run, self._params, self._layout = run, run.params, run.params.layout
        self._round, self._key, self._uploads, self._survivors = round_, key, uploads, survivors
        self.values = np.empty(self._params.dimension, dtype=np.int64)
        self.following = 0
        self.answered: set[int] = set()
        self._candidates = key.signers
        self._shown: set[int] = set()
        self._step = chunks_per_exchange(self._params, len(survivors))
        self._chunks: tuple[OpenChunk, ...] = ()
        self._requests: dict[bool, bytes] = {}
        self._answers: dict[int, tuple[bytes, ...]] = {}

    @property
    def asked(self) -> tuple[int, ...]:
        """The holders to be asked in this exchange."""
        return self._candidates[:1] if self._params.threshold == 1 else self._candidates

    @property
    def indices(self) -> range:
        """The chunks of this exchange."""
        return range(self.following, min(self.following + self._step, self._layout.chunks))

    def request(self, holder: int) -> bytes:
        """What a holder is sent in this exchange: the same bytes for all that are shown as much."""
        shown = holder in self._shown
        if shown not in self._requests:
            seals = self._uploads.seals
            if not self._chunks:
                self._chunks = tuple(self._chunk(index) for index in self.indices)
            message = OpenRequest(
                session=self._run.session,
                round=self._round,
                key=self._key.name,
                seals=() if shown else tuple(seals[client] for client in self._survivors),
                chunk=self.following,
                chunks=self._chunks,
            )
            self._requests[shown] = encode(message)
        return self._requests[shown]

    def take(self, holder: int, reply: OpenReply) -> None:
        """Take a holder's answers.

        Raises:
            DecodeError: they are no answers.
            ProtocolViolation: CK-17, to other chunks.
        """
        indices = self.indices
        if reply.chunk != indices.start or len(reply.answers) != len(indices):
            raise ProtocolViolation(
                f"Holder {holder} answered for other chunks than it was asked.", clause="CK-17", party=holder
            )
        try:
            for index, answer in zip(indices, reply.answers, strict=True):
                if self._params.threshold == 1:
                    unpack_sums(self._params, answer, index)
                else:
                    self._unpack(answer, index)
        except DecodeError as fault:
            raise DecodeError(f"From holder {holder}: {fault}", party=holder) from fault
        self._answers[holder] = reply.answers

    def close(self) -> Closing:
        """Close the exchange with those who answered.

        Raises:
            ProtocolViolation: CK-4 or CK-16, what was opened is not the sum of these uploads.
        """
        answers, threshold = self._answers, self._params.threshold
        if threshold == 1 and not answers:
            self._candidates = self._candidates[1:]
            return Closing.MORE if self._candidates else Closing.TOO_FEW
        if threshold > 1:
            self._candidates = tuple(holder for holder in self._candidates if holder in answers)
            if len(answers) < threshold:
                return Closing.TOO_FEW
        for place, index in enumerate(self.indices):
            first = index * self._layout.values_per_chunk
            self.values[first : first + self._layout.values_in(index)] = self._opened(place, index)
        self._shown |= answers.keys()
        self.answered |= answers.keys()
        self.following = self.indices.stop
        self._chunks, self._requests, self._answers = (), {}, {}
        return Closing.MORE if self.following < self._layout.chunks else Closing.ENOUGH

    def _chunk(self, index: int) -> OpenChunk:
        primes, survivors, uploads = self._params.ring.primes, self._survivors, self._uploads
        first = b""
        if self._params.threshold == 1:
            first = pack_rows(uploads.sum_first(survivors, index), primes)
        if self._params.malicious:
            return OpenChunk(first, tuple(uploads.second(client, index) for client in survivors))
        return OpenChunk(first, (pack_rows(uploads.sum_second(survivors, index), primes),))

    def _opened(self, place: int, index: int) -> NDArray[np.int64]:
        """The sums of one chunk from the answers to it."""
        params, threshold = self._params, self._params.threshold
        holders = tuple(sorted(self._answers))
        if threshold == 1:
            return unpack_sums(params, self._answers[holders[0]][place], index)
        first = self._uploads.sum_first(self._survivors, index)
        answers = {holder: self._unpack(self._answers[holder][place], index) for holder in holders}
        shared = self._combined(answers, holders[:threshold])
        # CK-16: with more answers than are needed, others of them must give the same.
        more = len(holders) > threshold
        if more and not np.array_equal(shared, self._combined(answers, holders[-threshold:])):
            raise ProtocolViolation("The holders' answers do not belong together.", clause="CK-16")
        return read_sums(params, add(first, shared, params.ring.primes), index)

    def _combined(self, answers: dict[int, Rows], holders: tuple[int, ...]) -> Rows:
        chosen = {holder: answers[holder] for holder in holders}
        return combine(self._params.holders, chosen, self._params.ring.primes)

    def _unpack(self, answer: bytes, index: int) -> Rows:
        return unpack_rows(answer, self._params.ring.primes, self._layout.used(index))

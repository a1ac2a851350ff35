"""A holder's part in opening a sum: each step a function of what came before, or a typed error.

Spec, section 6.  Whatever the server says, one sum of one round is opened, of at least m clients that signed
for it, and no more sums of a key than were agreed on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from fedpriv.ckks.flooding import flood
from fedpriv.ckks.key import Share, share_of
from fedpriv.ckks.making import HolderKey
from fedpriv.ckks.memory import HolderMemory, Opening
from fedpriv.ckks.messages import OpenChunk, OpenReply, OpenRequest, Seal
from fedpriv.ckks.modular import add
from fedpriv.ckks.opened import pack_sums, read_sums
from fedpriv.ckks.ring import Ring
from fedpriv.ckks.transcript import UPLOAD_DOMAIN, Run, chunk_digests, second_digest, upload_statement
from fedpriv.ckks.wire import pack_rows, unpack_rows
from fedpriv.crypto.digest import DIGEST_BYTES
from fedpriv.errors import ProtocolViolation, UsageError

__all__ = ["HolderOpening"]

Rows = NDArray[np.uint64]


class HolderOpening:
    """The steps of one holder.

    Args:
        run: what all agreed on.
        holder: its number.
        ring: arithmetic; made when it is first needed.
    """

    def __init__(self, run: Run, holder: int, ring: Callable[[], Ring]) -> None:
        self._run, self._params, self._id, self._ring = run, run.params, holder, ring
        # Large, and a function of the key's secrets: made at the first answer, and no part of what is saved.
        self._share: tuple[bytes, Share] | None = None

    def forget_all_but(self, key: HolderKey | None) -> None:
        """Let go of the share of any other key."""
        if key is None or (self._share and self._share[0] != key.name):
            self._share = None

    def open(self, memory: HolderMemory, message: OpenRequest) -> tuple[HolderMemory, OpenReply]:
        """The answer for some chunks of the round's sum, once all that was asked has been checked.

        Raises:
            DecodeError: what is to be opened are no residues.
            ProtocolViolation: CK-12 to CK-15; or CK-4, and then the key must be forgotten.
        """
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
        return replace(memory, key=key, opening=replace(opening, following=last), opened=memory.round), reply

    def _admit(
        self, memory: HolderMemory, key: HolderKey, seals: tuple[Seal, ...]
    ) -> tuple[Opening, HolderKey]:
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
        return Opening(seals), replace(key, opened=key.opened + 1)

    def _check_seal(self, memory: HolderMemory, key: HolderKey, seal: Seal) -> None:
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
        self, memory: HolderMemory, key: HolderKey, index: int, first: Rows | None, second: Rows
    ) -> bytes:
        params, share = self._params, self._share_of(key)
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
            partial = share.partial(second, noise)[:, : params.layout.used(index)]
            return pack_rows(partial, params.ring.primes)
        # What is decrypted stays here: with the ciphertext it would give the key away.
        decrypted = add(first, share.times(second)[:, : first.shape[1]], params.ring.primes)
        return pack_sums(params, read_sums(params, decrypted, index))

    def _share_of(self, key: HolderKey) -> Share:
        if self._share is None or self._share[0] != key.name:
            self._share = key.name, share_of(self._ring(), self._params.holders, self._id, key.secrets)
        return self._share[1]

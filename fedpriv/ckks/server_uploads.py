"""The uploads of a round as the server keeps them: ciphertexts in a file, digests and seals in memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from fedpriv.ckks.messages import Seal, UploadChunk, first_bytes, second_bytes
from fedpriv.ckks.modular import add
from fedpriv.ckks.transcript import UPLOAD_DOMAIN, Run, first_digest, second_digest, upload_statement
from fedpriv.ckks.wire import unpack_rows
from fedpriv.errors import DecodeError, ProtocolViolation

__all__ = ["Uploads"]

Rows = NDArray[np.uint64]


class Uploads:
    """What clients uploaded in one round under one key.

    Args:
        run: what all agreed on.
        round_, context: of the round.
        key: the key's name.
        spool: makes a file that can be read and written, and is gone when it is closed.
    """

    def __init__(
        self, run: Run, round_: int, context: bytes, key: bytes, spool: Callable[[], BinaryIO]
    ) -> None:
        self._run, self._params = run, run.params
        self._layout = run.params.layout
        self._round, self._context, self._key = round_, context, key
        self._file = spool()
        # A server that is dropped in the middle of a round leaves no file behind.
        weakref.finalize(self, self._file.close)
        self._end = 0
        self._places: dict[int, list[int]] = {}
        self._digests: dict[int, list[bytes]] = {}
        self.seals: dict[int, Seal] = {}

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def take_chunk(self, client: int, message: UploadChunk) -> None:
        """Keep one chunk; the last of a client's chunks is followed by its seal.

        Raises:
            DecodeError: the bytes are no residues of a chunk.
            ProtocolViolation: CK-17, another chunk than the next.
        """
        places = self._places.get(client, [])
        if message.chunk != len(places) or message.chunk >= self._layout.chunks:
            raise ProtocolViolation(
                f"Client {client} sent chunk {message.chunk} after {len(places)} of {self._layout.chunks}.",
                clause="CK-17",
                party=client,
            )
        try:
            self._unpack_first(message.first, message.chunk)
            self._unpack_second(message.second)
        except DecodeError as fault:
            raise DecodeError(f"From client {client}: {fault}", party=client) from fault
        self._file.seek(self._end)
        self._file.write(message.first)
        self._file.write(message.second)
        self._places[client] = [*places, self._end]
        self._end += len(message.first) + len(message.second)
        self._digests.setdefault(client, []).extend(
            (first_digest(message.first), second_digest(message.second))
        )

    def take_seal(self, client: int, seal: Seal) -> None:
        """Complete an upload.

        Raises:
            ProtocolViolation: CK-12, it is not signed by this client for this round, context and key, or not
                over the chunks that came.
        """
        digests = b"".join(self._digests.get(client, ()))
        statement = upload_statement(self._run.session, self._round, self._context, self._key, seal.digests)
        whole = len(self._places.get(client, ())) == self._layout.chunks and seal.digests == digests
        signed = self._run.signed_by(client, UPLOAD_DOMAIN, statement, seal.signature)
        if seal.client != client or not whole or not signed:
            raise ProtocolViolation(
                f"Client {client} did not sign these chunks for this round, context and key.",
                clause="CK-12",
                party=client,
            )
        self.seals[client] = seal

    def second(self, client: int, chunk: int) -> bytes:
        """One client's packed c_1 of one chunk."""
        place = self._places[client][chunk] + first_bytes(self._params, chunk)
        return self._read(place, second_bytes(self._params))

    def sum_first(self, clients: Iterable[int], chunk: int) -> Rows:
        """Σ c_0 of one chunk: uint64, shape (L, used coefficients)."""
        return self._sum(
            self._unpack_first(
                self._read(self._places[client][chunk], first_bytes(self._params, chunk)), chunk
            )
            for client in clients
        )

    def sum_second(self, clients: Iterable[int], chunk: int) -> Rows:
        """Σ c_1 of one chunk: uint64, shape (L, N)."""
        return self._sum(self._unpack_second(self.second(client, chunk)) for client in clients)

    def _sum(self, rows: Iterator[Rows]) -> Rows:
        total = next(rows)
        for each in rows:
            total = add(total, each, self._params.ring.primes)
        return total

    def _unpack_first(self, packed: bytes, chunk: int) -> Rows:
        return unpack_rows(packed, self._params.ring.primes, self._layout.used(chunk))

    def _unpack_second(self, packed: bytes) -> Rows:
        return unpack_rows(packed, self._params.ring.primes, self._params.ring.degree)

    def _read(self, place: int, size: int) -> bytes:
        self._file.seek(place)
        return self._file.read(size)

"""Chunks encrypted one after the other, here or by several processes.

TenSEAL keeps the interpreter's lock while it works, so threads gain nothing.  Processes are started anew
(``spawn``) and share nothing with this one: public key, values and ciphertexts go through pipes as bytes, and
each process has a ring of its own.
"""

from __future__ import annotations

import contextlib
import signal
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.ckks.layout import Layout
from fedpriv.ckks.modular import add
from fedpriv.ckks.ring import Encryptor, Ring
from fedpriv.ckks.wire import pack_rows
from fedpriv.errors import UsageError

__all__ = ["EncryptionWorkers", "encrypt_chunk"]

_KEY, _VALUES = b"k", b"v"  # what a process is sent
_DONE, _REFUSED, _FAILED = b"c", b"r", b"f"  # what it answers
_ENDS_WITHIN: Final = 10.0  # seconds for a process that has nothing left to do


def encrypt_chunk(encryptor: Encryptor, layout: Layout, values: NDArray[np.int64]) -> tuple[bytes, bytes]:
    """One chunk as it is sent (``protocols/ckks/spec.md``, sections 3 and 4).

    Args:
        encryptor: of the public key, in the ring of the layout.
        layout: where values go.
        values: int64, shape (count,), at most ``layout.values_per_chunk``, each at most M.

    Returns:
        Pack(c_0) of the coefficients that hold values, and Pack(c_1) of all.

    Raises:
        UsageError: another shape or dtype, or a value beyond M (CK-3).
    """
    ring, placed = layout.ring, layout.place(values)
    first, second = encryptor.zero()
    first = first[:, : placed.shape[1]]
    # Nothing is added modulo p_0: there the noise stays alone.
    message = add(first[1:], placed, ring.message_primes)
    packed = pack_rows(first[:1], ring.primes[:1]) + pack_rows(message, ring.message_primes)
    return packed, pack_rows(second, ring.primes)


class EncryptionWorkers:
    """Encrypts vectors chunk by chunk, in several processes at the same time.

    Use it as a context manager, and keep it for many vectors and keys.  A script that asks for more than one
    process does its work under ``if __name__ == "__main__":``, as ``spawn`` demands.  Processes end with the
    block, and with this process.

    Args:
        layout: where values go, and the ring.
        processes: 1 encrypts in this process; more start as many others.
        ring: arithmetic to share with others in this process, where one process encrypts.

    Raises:
        UsageError: fewer than one process.
    """

    __slots__ = ("_busy", "_layout", "_open", "_sent_key", "_station", "_workers")

    def __init__(self, layout: Layout, processes: int, *, ring: Ring | None = None) -> None:
        if processes < 1:
            raise UsageError(f"Chunks are encrypted by at least one process, not {processes}.")
        self._layout = layout
        self._open, self._busy = True, False
        self._sent_key: bytes | None = None
        self._station = _Station(layout, ring)
        self._workers = [_Worker(layout) for _ in range(processes if processes > 1 else 0)]

    def __enter__(self) -> EncryptionWorkers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes.  May be called twice."""
        self._open = False
        for worker in self._workers:
            worker.connection.close()
        for worker in self._workers:
            worker.end()
        self._workers = []

    def encrypt(
        self, public: NDArray[np.uint64], chunks: Iterable[NDArray[np.int64]]
    ) -> Iterator[tuple[bytes, bytes]]:
        """Encrypt chunks in order; as many of them are taken ahead of what is used as there are processes.

        Args:
            public: (b, a), as ``Ring.encryptor`` takes it.
            chunks: as ``encrypt_chunk`` takes them.

        Yields:
            What ``encrypt_chunk`` returns, chunk by chunk.

        Raises:
            UsageError: as ``Ring.encryptor`` and ``encrypt_chunk``; the workers have ended; a process has
                ended by itself; or another vector is being encrypted by these processes.
        """
        if not self._open:
            raise UsageError("These workers have ended.", hint="Encrypt before leaving the block.")
        if not self._workers:
            self._station.take(public)
            for values in chunks:
                yield self._station.encrypt(values)
            return
        if self._busy:
            raise UsageError(
                "These processes are at work on another vector.", hint="Finish it first, or close it."
            )
        self._busy = True
        waiting: deque[_Worker] = deque()
        try:
            self._send_key(public)
            source = iter(chunks)
            for worker, values in zip(self._workers, source, strict=False):
                worker.send(_VALUES, _bytes_of(values))
                waiting.append(worker)
            while waiting:
                worker = waiting[0]
                answer = worker.answer()
                waiting.popleft()
                # The process gets its next chunk before the caller gets the last one.
                following = next(source, None)
                if following is not None:
                    worker.send(_VALUES, _bytes_of(following))
                    waiting.append(worker)
                yield answer
        finally:
            # What is under way is waited for and dropped, so that the next vector finds every pipe empty.  It
            # would get this one's ciphertexts from a pipe that was left in the middle of an answer.
            for worker in waiting:
                if worker.working and not worker.torn:
                    with contextlib.suppress(UsageError, RuntimeError):
                        worker.answer()
            if any(worker.torn for worker in self._workers):
                self.close()
            self._busy = False

    def _send_key(self, public: NDArray[np.uint64]) -> None:
        ring = self._layout.ring
        shape = (2, len(ring.key_primes), ring.degree)
        if public.shape != shape or public.dtype != np.uint64:
            raise UsageError(f"A public key of this ring is uint64 of shape {shape}, not {public.shape}.")
        key = public.tobytes()
        if key != self._sent_key:
            self._sent_key = None
            for worker in self._workers:
                worker.send(_KEY, key)
            self._sent_key = key


class _Station:
    """What encrypts: a ring, made once, and the key it has last been given."""

    __slots__ = ("_encryptor", "_layout", "_public", "_ring")

    def __init__(self, layout: Layout, ring: Ring | None = None) -> None:
        self._layout, self._ring = layout, ring
        self._public: NDArray[np.uint64] | None = None
        self._encryptor: Encryptor | None = None

    def take(self, public: NDArray[np.uint64]) -> None:
        if self._public is None or not np.array_equal(public, self._public):
            self._public, self._encryptor = public.copy(), None

    def encrypt(self, values: NDArray[np.int64]) -> tuple[bytes, bytes]:
        if self._public is None:
            raise UsageError("A chunk came before the key.")
        self._ring = self._ring or Ring(self._layout.ring)
        self._encryptor = self._encryptor or self._ring.encryptor(self._public)
        return encrypt_chunk(self._encryptor, self._layout, values)


class _Worker:
    """One process, seen from this side.  It never has more than one chunk: so no two sends meet."""

    __slots__ = ("_process", "connection", "torn", "working")

    def __init__(self, layout: Layout) -> None:
        spawn = get_context("spawn")
        self.connection, far = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(far, layout), daemon=True, name="fedpriv-ckks")
        self._process.start()
        far.close()  # so that the process's end is seen here
        self.working = self.torn = False

    def send(self, kind: bytes, data: bytes) -> None:
        self.torn = True
        try:
            self.connection.send_bytes(kind + data)
        except OSError:
            raise self._died() from None
        self.torn, self.working = False, kind == _VALUES

    def answer(self) -> tuple[bytes, bytes]:
        self.torn = True
        try:
            reply = self.connection.recv_bytes()
            second = self.connection.recv_bytes() if reply[:1] == _DONE else b""
        except (EOFError, OSError):
            raise self._died() from None
        self.torn = self.working = False
        if reply[:1] == _DONE:
            return reply[1:], second
        if reply[:1] == _REFUSED:
            message, _, hint = reply[1:].decode().partition("\0")
            raise UsageError(message, hint=hint)
        raise RuntimeError(f"encryption failed in another process:\n{reply[1:].decode()}")

    def end(self) -> None:
        self._process.join(_ENDS_WITHIN)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()

    def _died(self) -> UsageError:
        return UsageError(
            "A process that encrypts has ended before its work was done.",
            hint='Start the script\'s work under `if __name__ == "__main__":`, and see that memory suffices.',
        )


def _serve(connection: Connection, layout: Layout) -> None:
    """What a process does until its pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the keyboard is for the process that started this one
    station = _Station(layout)
    shape = (2, len(layout.ring.key_primes), layout.ring.degree)
    with contextlib.suppress(EOFError, OSError):
        while True:
            data = connection.recv_bytes()
            if data[:1] == _KEY:
                station.take(np.frombuffer(data, dtype=np.uint64, offset=1).reshape(shape))
                continue
            try:
                first, second = station.encrypt(np.frombuffer(data, dtype=np.int64, offset=1))
            except UsageError as error:
                connection.send_bytes(_REFUSED + f"{error}\0{error.hint}".encode())
            except Exception:
                connection.send_bytes(_FAILED + traceback.format_exc().encode())
            else:
                connection.send_bytes(_DONE + first)
                connection.send_bytes(second)


def _bytes_of(values: NDArray[np.int64]) -> bytes:
    if values.ndim != 1 or values.dtype != np.int64:
        raise UsageError(f"A chunk is a vector of int64, not {values.dtype} of shape {values.shape}.")
    return values.tobytes()

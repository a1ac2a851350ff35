"""Masks added by several cores to one vector.

Threads are enough: the cipher gives the interpreter's lock back while it works (pyca/cryptography 50 and
later; with an earlier one the result is the same and no faster), and numpy does while it adds.  So the vector
and the keys stay in this process: nothing is copied, nothing is put into shared memory, a file or a command
line, and no worker can die alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from fedpriv.crypto.prg import SEGMENT_BYTES, add_masks, check_masks
from fedpriv.errors import UsageError

__all__ = ["MaskWorkers"]

# A piece below this is not worth a second thread: handing the interpreter's lock over costs what it saves.
_LEAST_PIECE = SEGMENT_BYTES
# Pieces above this gain nothing, and smaller ones even out cores that are not equally busy.
_LARGEST_PIECE = 4 * 1024 * 1024


class MaskWorkers:
    """Worker threads that add masks to pieces of one vector at the same time.

    Use it as a context manager, and keep it for many vectors.  Two calls at once share the workers.  It does
    not survive a fork.

    Args:
        count: how many workers, at least 1; as many as there are cores to use.

    Raises:
        UsageError: a count below 1.

    >>> import numpy as np
    >>> with MaskWorkers(2) as workers:
    ...     vector = np.zeros(4, dtype="<u4")
    ...     workers.add_masks(vector, [(bytes(32), False)])
    >>> vector[:1].tobytes().hex()
    'cea7403d'
    """

    __slots__ = ("_count", "_pool")

    def __init__(self, count: int) -> None:
        if count < 1:
            raise UsageError(f"Masks are added by at least one worker, not {count}.")
        self._count = count
        self._pool: ThreadPoolExecutor | None = ThreadPoolExecutor(count, thread_name_prefix="fedpriv-masks")

    def __enter__(self) -> MaskWorkers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait for what is under way and end the workers.  May be called twice."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def add_masks(self, target: NDArray[Any], masks: Sequence[tuple[bytes, bool]], *, start: int = 0) -> None:
        """The same as `fedpriv.crypto.add_masks`, word for word, by all workers.

        A vector of less than 512 KiB a worker is left to fewer workers, or to the caller's own thread.

        Args:
            target: shape (count,), contiguous, of a dtype that `word_dtype` gives; changed in place.
            masks: of each mask the key, 32 bytes, and whether to subtract it.
            start: index of ``target[0]`` in the whole vector; ``start`` words are a multiple of 512 KiB.

        Raises:
            UsageError: as `fedpriv.crypto.add_masks`, with nothing changed; or the workers have ended, with
                nothing changed unless another thread ended them meanwhile.
        """
        pool = self._pool
        if pool is None:
            raise _ended()
        check_masks(target, masks, start)
        step = _piece_words(target, self._count)
        if step >= target.size:
            add_masks(target, masks, start=start)
            return
        pieces: list[Future[None]] = []
        try:
            for first in range(0, target.size, step):
                part = target[first : first + step]
                pieces.append(pool.submit(add_masks, part, masks, start=start + first))
        except RuntimeError:  # closed by another thread meanwhile
            raise _ended() from None
        finally:  # nobody writes to the target after the return
            wait(pieces)
        for piece in pieces:
            piece.result()


def _ended() -> UsageError:
    return UsageError("These workers have ended.", hint="Add the masks before leaving the block.")


def _piece_words(target: NDArray[Any], workers: int) -> int:
    """Words in a piece: whole segments, so that all workers get about as many pieces of one size."""
    workers = min(workers, max(target.nbytes // _LEAST_PIECE, 1))
    if workers == 1:
        return max(target.size, 1)
    pieces = workers * -(-target.nbytes // (workers * _LARGEST_PIECE))
    return -(-target.nbytes // (pieces * SEGMENT_BYTES)) * SEGMENT_BYTES // target.itemsize

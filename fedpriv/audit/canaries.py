"""Canaries in the space of gradients: rows of the largest norm a record may have, in random directions.

A canary is what a record may be at worst: it is clipped, quantised, sampled and summed as one, it points
where no record points, and it is there or not by a fair coin.  The score of a canary is how far the released
sums point its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from fedpriv.dp import Words
from fedpriv.errors import UsageError

__all__ = ["LOUDNESS", "Canaries", "CanaryGradients"]

LOUDNESS: Final = 16.0
"""How much longer than the clip a canary's row is before it is clipped: what a missing clip lets through."""

_ROOM: Final = 4  # dimensions a canary, from which on the canaries are told apart all at once
_COLUMNS: Final = 8192
_CHUNK: Final = 64  # canaries turned into floating point at a time


@dataclass(frozen=True, slots=True)
class Canaries:
    """m directions, and the coin of each.

    Attributes:
        signs: int8, shape (m, d), entries -1 and 1; direction j is ``signs[j] / sqrt(d)``, of norm 1.
        included: bool, shape (m,); what the auditor guesses.
        clip: C, the norm of a canary's row, in model units.
    """

    signs: NDArray[np.int8]
    included: NDArray[np.bool_]
    clip: float

    @classmethod
    def draw(cls, count: int, dimension: int, clip: float, words: Words) -> Canaries:
        """Draw ``count`` canaries with fair coins.

        Args:
            count: m.
            dimension: d, number of trained parameters.
            clip: C, the l2 bound of one record.
            words: source of uniform 64-bit words.

        Raises:
            UsageError: no canaries, no dimension, or a clip that is not positive.

        >>> from itertools import count
        >>> def words(n, state=count()): return np.array([next(state) * 0x9E3779B97F4A7C15 % 2**64
        ...                                               for _ in range(n)], dtype=np.uint64)
        >>> canaries = Canaries.draw(3, 16, 0.5, words)
        >>> [float(np.linalg.norm(canaries.rows([j]))) for j in range(3)]
        [0.5, 0.5, 0.5]
        """
        if count < 1 or dimension < 1 or not clip > 0.0:
            raise UsageError(
                f"{count} canaries of dimension {dimension} and clip {clip}: all must be positive"
            )

        def bits(size: int) -> NDArray[np.uint8]:
            raw = words(-(-size // 64)).astype("<u8").view(np.uint8)
            return np.unpackbits(raw, count=size)

        signs = bits(count * dimension).astype(np.int8)
        signs *= 2
        signs -= 1
        return cls(signs.reshape(count, dimension), bits(count).astype(np.bool_), clip)

    @property
    def dimension(self) -> int:
        """d, number of coordinates of each."""
        return int(self.signs.shape[1])

    def rows(self, which: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the rows of the canaries ``which``, float32, shape (len(which), d), of norm C each."""
        scale = np.float32(self.clip / np.sqrt(self.dimension))
        return np.asarray(self.signs[np.asarray(which, dtype=np.int64)] * scale)

    def join(self, shards: Sequence[NDArray[np.int64]], records: int) -> tuple[NDArray[np.int64], ...]:
        """Return ``shards`` with the included canaries dealt out to them, canary j as record ``records + j``.

        Whoever samples a shard then samples its canaries as it samples records.
        """
        members = records + np.flatnonzero(self.included)
        return tuple(np.concatenate([shard, members[k :: len(shards)]]) for k, shard in enumerate(shards))

    def scores(self, total: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return <c_j, total> / C for each direction c_j; shape (m,).

        Args:
            total: sum over the rounds of the released sums, in model units, shape (d,); less the sum of the
                other records where the auditor knows it, as the guarantee allows.  A canary that took part
                k times then scores k, but for noise and for what the others have in its direction.

        Raises:
            UsageError: a vector of another length.
        """
        if total.shape != (self.dimension,):
            raise UsageError(
                f"the sum has shape {total.shape}, and the canaries {self.dimension} coordinates"
            )
        parts = [
            self.signs[k : k + _CHUNK].astype(np.float64) @ total
            for k in range(0, self.included.size, _CHUNK)
        ]
        return np.asarray(np.concatenate(parts) / (self.clip * np.sqrt(self.dimension)))

    def separated(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``scores`` with what the canaries have in each other's directions taken out.

        Random directions are nearly orthogonal, and a thousand neighbours still add up.  Solving for all
        canaries at once takes that out, at the price of 1 / (1 - m/d) times the noise's variance; where d is
        below 4 m that costs too much, and the scores come back as they are.

        Args:
            scores: float64, shape (k, m), k sums scored by :meth:`scores`.
        """
        m, d = self.signs.shape
        if d < _ROOM * m:
            return scores
        products = np.zeros((m, m))
        for k in range(0, d, _COLUMNS):  # sums of fewer than 2^24 signs are exact in float32
            part = self.signs[:, k : k + _COLUMNS].astype(np.float32)
            products += part @ part.T
        return np.asarray(np.linalg.solve(products / d, scores.T).T)


class _Gradients(Protocol):
    """Where records' clipped gradients come from."""

    def clipped(
        self, encoded: Any, indices: NDArray[np.int64], within: Any
    ) -> Iterator[NDArray[np.float32]]: ...


class CanaryGradients:
    """Stands where a run asks for its records' gradients, and gives a canary's row for a canary's index.

    It also adds up the other records' rows, which an auditor may know: the guarantee for one record holds
    against an adversary who knows all the others, and which of them were drawn.

    Args:
        gradients: what the run would ask otherwise.
        canaries: canary j is record ``records + j``.
        records: number of the real records.
        clip_rows: how the run clips; a canary's row then comes to it :data:`LOUDNESS` times as long as the
            clip, and what leaves it is given out.  Without, a row of norm C is.
    """

    def __init__(
        self,
        gradients: _Gradients,
        canaries: Canaries,
        records: int,
        clip_rows: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None,
    ) -> None:
        self.gradients = gradients
        self.clip_rows = clip_rows
        self.canaries = canaries
        self.records = records
        self.taken = 0
        """How many canary rows were given out."""
        self.background = np.zeros(canaries.dimension)
        """Sum of the other records' rows that were given out, float64, shape (d,)."""

    def clipped(
        self, encoded: Any, indices: Sequence[int] | NDArray[np.int64], within: Any = None
    ) -> Iterator[NDArray[np.float32]]:
        """Yield float32 arrays of shape (b, d), one row for each index, canaries last.

        ``within`` says which coordinates of the records' gradients those of the canaries are.
        """
        wanted = np.asarray(indices, dtype=np.int64).reshape(-1)
        for rows in self.gradients.clipped(encoded, wanted[wanted < self.records], within):
            self.background += rows.sum(axis=0, dtype=np.float64)
            yield rows
        chosen = wanted[wanted >= self.records] - self.records
        for k in range(0, chosen.size, _CHUNK):
            self.taken += min(_CHUNK, chosen.size - k)
            rows = self.canaries.rows(chosen[k : k + _CHUNK])
            yield rows if self.clip_rows is None else self.clip_rows(rows * np.float32(LOUDNESS))

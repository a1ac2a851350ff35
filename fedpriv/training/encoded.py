"""Tokenised texts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

__all__ = ["Encoded"]


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """Tokenised texts, without padding.

    Attributes:
        tokens: int32, the token ids of all records, one after the other.
        offsets: int64, shape (n + 1,), where each begins.
        labels: int64, shape (n,).
        pad: the token id that fills a batch; what it is does not matter, as the mask hides it.
    """

    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]
    pad: int = 0

    @classmethod
    def of(cls, rows: list[list[int]], labels: NDArray[np.int64], pad: int) -> Encoded:
        """From the token ids of each record.  A text of which the tokenizer left nothing is one padding
        token, so that it has a position to read."""
        rows = [row or [pad] for row in rows]
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        tokens = np.fromiter((token for row in rows for token in row), dtype=np.int32, count=int(offsets[-1]))
        return cls(tokens, offsets, labels, pad)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each record, shape (n,)."""
        return np.diff(self.offsets)

    def take(self, indices: NDArray[np.int64]) -> Encoded:
        """The records at ``indices``, in that order."""
        lengths = self.lengths[indices]
        pieces = [self.tokens[self.offsets[i] : self.offsets[i + 1]] for i in indices]
        tokens = np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int32)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Encoded(tokens, offsets, self.labels[indices], self.pad)

    def padded(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token ids and mask of shape (b, longest), padded on the right to the longest of these records."""
        lengths = self.lengths[indices]
        mask = np.arange(int(lengths.max(initial=0)))[None, :] < lengths[:, None]
        ids = np.full(mask.shape, self.pad, dtype=np.int64)
        ids[mask] = self.tokens[(self.offsets[indices][:, None] + np.arange(mask.shape[1]))[mask]]
        return ids, mask.astype(np.int64)

    def inputs(self, indices: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """int64 ids and mask, (b, longest), see :meth:`padded`."""
        import torch

        ids, mask = self.padded(indices)
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}

    def digest(self) -> str:
        """SHA-256, in hex, over tokens and offsets."""
        whole = hashlib.sha256(b"fedpriv/training/texts/1\0")
        whole.update(self.offsets.astype("<i8").tobytes())
        whole.update(self.tokens.astype("<i4").tobytes())
        return whole.hexdigest()

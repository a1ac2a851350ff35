"""A vector of residues to which masks and other vectors are added in place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedpriv.crypto.prg import apply_mask, word_dtype

__all__ = ["Residues"]


class Residues:
    """``dimension`` residues modulo ``2**bits`` in the narrowest word; reduced only when read.

    Takes 2, 4 or 8 bytes a coordinate however many vectors and masks go in.
    """

    __slots__ = ("_bits", "_words")

    def __init__(self, bits: int, dimension: int) -> None:
        self._bits = bits
        self._words = np.zeros(dimension, dtype=word_dtype(bits))

    def add(self, vector: NDArray[np.uint64]) -> None:
        """Add a vector of residues, shape (dimension,)."""
        self._words += vector.astype(self._words.dtype, copy=False)

    def add_mask(self, key: bytes, *, subtract: bool = False) -> None:
        """Add the mask of a 32-byte key, or take it away."""
        apply_mask(self._words, key, subtract=subtract)

    def value(self) -> NDArray[np.uint64]:
        """The residues, dtype uint64, each below ``2**bits``."""
        reduced = self._words.astype(np.uint64)
        reduced &= np.uint64((1 << self._bits) - 1)
        return reduced

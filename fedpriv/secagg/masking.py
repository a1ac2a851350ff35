"""Masked vectors: a client's in parts on their way out, and the server's sum as it comes together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedpriv.crypto.prg import word_dtype
from fedpriv.encoding.packing import add_packed, pack
from fedpriv.errors import UsageError
from fedpriv.secagg.params import SecAggParams
from fedpriv.secagg.vectors import PART_VALUES, UPDATE, Vector

__all__ = ["AddMasks", "Inputs", "Residues", "masked_parts", "take_inputs"]

_WINDOW_PARTS = 4

Masks = Sequence[tuple[bytes, bool]]
"""The key of each mask, and whether to subtract it."""

Inputs = Mapping[str, NDArray[Any]]


class AddMasks(Protocol):
    """What expands and adds masks: `fedpriv.crypto.add_masks`, or that of `MaskWorkers` on several cores."""

    def __call__(self, target: NDArray[Any], masks: Masks, *, start: int = 0) -> None:
        """Add the masks to ``target`` in place; ``start`` is the index of its first word in the vector."""
        ...


def take_inputs(
    params: SecAggParams, vectors: Inputs | NDArray[Any], *, copy: bool
) -> dict[str, NDArray[Any]]:
    """A client's vectors, once they fit the session (SA-8); copies in the narrowest words, or as they are.

    Raises:
        UsageError: other names, shapes or dtypes, or a value of more bits.
    """
    given = vectors if isinstance(vectors, Mapping) else {UPDATE: vectors}
    names = [vector.name for vector in params.vectors]
    if sorted(given) != names:
        raise UsageError(
            f"The vectors of this session are {', '.join(names)}; given: {', '.join(sorted(given))}."
        )
    return {vector.name: _take(vector, given[vector.name], copy) for vector in params.vectors}


def masked_parts(
    params: SecAggParams,
    inputs: Mapping[str, NDArray[Any]],
    masks: Mapping[str, Masks],
    add_masks: AddMasks,
) -> Iterator[bytes]:
    """The packed, masked parts of a client's vectors, in order.

    A window of parts is masked at a time: long enough that opening the streams costs nothing beside reading
    them, and that several cores have something to do; short beside a large vector.
    """
    for vector in params.vectors:
        values = inputs[vector.name]
        room = np.empty(min(_WINDOW_PARTS * PART_VALUES, vector.dimension), word_dtype(vector.bits))
        for first in range(0, vector.dimension, room.size):
            window = room[: vector.dimension - first]
            window[:] = values[first : first + window.size]
            add_masks(window, masks[vector.name], start=first)
            for start in range(0, window.size, PART_VALUES):
                yield pack(window[start : start + PART_VALUES], vector.bits, reduce=True)


class Residues:
    """The sum of a session's vectors as it comes together, in the narrowest words; reduced when read.

    Takes 2, 4 or 8 bytes a coordinate however many vectors and masks go in.
    """

    __slots__ = ("_params", "_words")

    def __init__(self, params: SecAggParams, words: Mapping[str, bytes] | None = None) -> None:
        self._params = params
        self._words = {
            vector.name: np.zeros(vector.dimension, word_dtype(vector.bits))
            if words is None
            else np.frombuffer(words[vector.name], word_dtype(vector.bits)).copy()
            for vector in params.vectors
        }

    def add(self, parts: Sequence[bytes]) -> None:
        """Add one client's packed parts, all of them, in order.  Their sizes have been checked."""
        waiting = iter(parts)
        for vector in self._params.vectors:
            words = self._words[vector.name]
            for start, count in vector.parts:
                add_packed(words[start : start + count], next(waiting), vector.bits)

    def add_masks(self, masks: Mapping[str, Masks], add_masks: AddMasks) -> None:
        """Add masks to each vector, or take them away."""
        for name, words in self._words.items():
            add_masks(words, masks[name])

    def words(self) -> dict[str, bytes]:
        """The words as they are, to be stored."""
        return {name: words.tobytes() for name, words in self._words.items()}

    def values(self) -> dict[str, NDArray[np.uint64]]:
        """By name the residues, dtype uint64, each below ``2**bits``."""
        return {
            vector.name: self._words[vector.name].astype(np.uint64) & np.uint64((1 << vector.bits) - 1)
            for vector in self._params.vectors
        }


def _take(vector: Vector, values: NDArray[Any], copy: bool) -> NDArray[Any]:
    if not isinstance(values, np.ndarray) or values.dtype.kind != "u":
        raise UsageError(f"The vector '{vector.name}' is not a numpy array of unsigned integers.")
    if values.shape != (vector.dimension,):
        raise UsageError(f"The vector '{vector.name}' has shape {values.shape}, not ({vector.dimension},).")
    if 8 * values.itemsize > vector.bits and int(values.max()) >> vector.bits:
        raise UsageError(
            f"A value of the vector '{vector.name}' does not fit in {vector.bits} bits.",
            hint="Reduce modulo 2**bits, and plan the bits so that the sum cannot wrap. [SA-8]",
        )
    return values.astype(word_dtype(vector.bits)) if copy else values

"""Low-rank updates of which one half travels and the server turns both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedpriv.peft.methods.library import plain
from fedpriv.peft.methods.lora import Lora
from fedpriv.peft.methods.method import ServerState
from fedpriv.peft.public_init import orthonormal

if TYPE_CHECKING:
    from torch import nn

    from fedpriv.peft.manifest import Manifest
    from fedpriv.peft.methods.place import Place
    from fedpriv.peft.methods.spec import PeftSpec


class FedSvd(Lora):
    """``B`` travels; after each step of the server ``B A = U S V'`` is taken apart, ``B`` becomes ``U S`` and
    ``A`` becomes ``V'`` (Lee et al., 2505.12805, section 3), which is post-processing of a private sum.

    ``A`` starts with orthonormal rows from the public seed.  With ``B = U S W'`` and such an ``A``, V' is
    ``W' A``: so the server turns ``A`` by W', r x r, and ``B`` by W, and their product stays what it was.
    Where ``B`` has less than full rank, W is completed to a basis, and those rows of ``A`` go on to span what
    they spanned.

    The optimiser's moments are of the coordinates of ``B`` and turn with them: the first by W, exactly, and
    the second by the squares of W's entries, which is exact where the coordinates are uncorrelated.

    As ``A`` only ever turns within the span of its first rows, and neither a gradient's norm nor isotropic
    noise changes with a rotation, with ``sgd`` at the server a run is one of ``ffa-lora`` from an orthonormal
    ``A``.  What the method adds is for optimisers that scale coordinates: the axes along which ``adam``
    scales are the singular directions of the update.
    """

    name = "fedsvd"
    exact = True
    composition = "with A the same everywhere in a round, the mean of the products B A is mean(B) A"
    steady = False
    drawable = False  # coordinates that moved and others that rested would be turned into each other

    def add(self, model: nn.Module, spec: PeftSpec, place: Place) -> nn.Module:
        import torch

        adapted = super().add(model, spec, place)
        for name, parameter in adapted.named_parameters():
            if ".lora_A." in name:
                rank, width = parameter.shape
                rows = orthonormal(spec.seed, plain(name), (rank, width))
                parameter.data.copy_(torch.from_numpy(rows))
        return adapted

    def width(self, manifest: Manifest, spec: PeftSpec) -> int:
        return int(_sent(manifest).size)

    def coordinates(
        self, manifest: Manifest, spec: PeftSpec, round_: int, moved: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        return _sent(manifest)

    def settle(self, manifest: Manifest, spec: PeftSpec, state: ServerState) -> ServerState:
        parameters, first, second = state.parameters.copy(), state.first.copy(), state.second.copy()
        for down, up, rank in _halves(manifest):
            half = parameters[up].reshape(-1, rank).astype(np.float64)
            turn = _right_singular(half)
            rows = parameters[down].reshape(rank, -1).astype(np.float64)
            parameters[down] = (turn.T @ rows).reshape(-1)
            parameters[up] = (half @ turn).reshape(-1)
            first[up] = (first[up].reshape(-1, rank) @ turn).reshape(-1)
            if second.size:
                second[up] = (second[up].reshape(-1, rank) @ np.square(turn)).reshape(-1)
        return ServerState(parameters, first, second)


def _sent(manifest: Manifest) -> NDArray[np.int64]:
    return manifest.places(lambda name: ".lora_A." not in name)


def _halves(manifest: Manifest) -> Iterator[tuple[slice, slice, int]]:
    """Where each layer's ``A`` and ``B`` stand in the flat vector, and their rank."""
    where = {
        entry.name: (slice(start, start + entry.size), entry.shape)
        for entry, start in zip(manifest.entries, manifest.offsets, strict=True)
    }
    for name, (down, shape) in where.items():
        if ".lora_A." in name:
            yield down, where[name.replace(".lora_A.", ".lora_B.")][0], shape[0]


def _right_singular(half: NDArray[np.float64]) -> NDArray[np.float64]:
    """W of ``half = U S W'``: orthogonal, r x r, columns by falling singular value, each with its largest
    entry positive; the identity where ``half`` is zero."""
    rank = half.shape[1]
    if not half.any():
        return np.eye(rank)
    turn: NDArray[np.float64] = np.linalg.svd(np.linalg.qr(half, mode="r"), full_matrices=True)[2].T
    largest = turn[np.abs(turn).argmax(axis=0), np.arange(rank)]
    return np.asarray(turn * np.where(largest < 0, -1.0, 1.0))

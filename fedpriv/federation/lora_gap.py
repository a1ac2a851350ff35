"""The LoRA gap: how far the mean of the clients' products ``B A`` is from the product of their means.

It takes every client's update before noise, which no server of a real run sees: a diagnostic of simulations,
and no ε covers it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fedpriv.federation.workplace import Workplace

__all__ = ["Half", "LoraGap", "Product", "lora_gap", "products_of"]


@dataclass(frozen=True, slots=True)
class LoraGap:
    """The gap of one round over all adapted layers, before the factor alpha / rank.

    Attributes:
        norm: ``||mean(B_i A_i) - mean(B_i) mean(A_i)||_F``; the difference is the mean of
            ``(B_i - mean(B_i)) (A_i - mean(A_i))``.
        relative: the same over ``||mean(B_i A_i)||_F``; 0 where that is zero.
    """

    norm: float
    relative: float


@dataclass(frozen=True, slots=True, eq=False)
class Half:
    """One of a product's two factors: part of the vector that is trained, or frozen.

    Attributes:
        shape: of the factor.
        start: where it begins in the vector; ``None`` where it is frozen.
        frozen: its values where it is, float64.
    """

    shape: tuple[int, ...]
    start: int | None = None
    frozen: NDArray[np.float64] | None = None

    def of(self, models: NDArray[np.float64]) -> NDArray[np.float64]:
        """The factor in each of n models, float64, shape (n, \\*shape), from their vectors, shape (n, d)."""
        if self.start is None:
            return np.broadcast_to(np.asarray(self.frozen), (len(models), *self.shape))
        return models[:, self.start : self.start + math.prod(self.shape)].reshape(-1, *self.shape)


Product = tuple[Half, Half]
"""B, shape (out, rank), and A, shape (rank, in), of one layer."""


def products_of(work: Workplace) -> tuple[Product, ...]:
    """The low-rank products of a model, sorted by the name of their layer; none where its method has none."""
    places = dict(zip((entry.name for entry in work.manifest.entries), work.manifest.offsets, strict=True))
    found = dict(work.model.named_parameters())

    def half(name: str) -> Half:
        shape = tuple(found[name].shape)
        if name in places:
            return Half(shape, start=places[name])
        return Half(shape, frozen=found[name].detach().cpu().double().numpy())

    ups = sorted(name for name in found if ".lora_B." in name)
    return tuple((half(up), half(up.replace(".lora_B.", ".lora_A."))) for up in ups)


def lora_gap(products: Sequence[Product], models: NDArray[np.float64]) -> LoraGap:
    """The gap between n clients' models.

    Args:
        products: of the model.
        models: each client's vector of trained parameters, float64, shape (n, d).

    >>> product = (Half((1, 1), start=0), Half((1, 1), start=1))
    >>> lora_gap([product], np.array([[1.0, 1.0], [3.0, 3.0]]))  # the mean of 1 and 9 is 5, 2 times 2 is 4
    LoraGap(norm=1.0, relative=0.2)
    """
    gap = whole = 0.0
    for up, down in products:
        b, a = up.of(models), down.of(models)
        gap += float(np.square(_mean_product(b - b.mean(axis=0), a - a.mean(axis=0))).sum())
        whole += float(np.square(_mean_product(b, a)).sum())
    return LoraGap(math.sqrt(gap), math.sqrt(gap / whole) if whole else 0.0)


def _mean_product(b: NDArray[np.float64], a: NDArray[np.float64]) -> NDArray[np.float64]:
    """``mean(B_i A_i)``, shape (out, in), as one product of the factors side by side."""
    count, out, rank = b.shape
    left, right = b.transpose(1, 0, 2).reshape(out, count * rank), a.reshape(count * rank, -1)
    mean: NDArray[np.float64] = np.matmul(left, right) / count
    return mean

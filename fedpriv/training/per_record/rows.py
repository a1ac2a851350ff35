"""Gradients of the records of a batch with respect to one parameter, in the cheapest form that is exact.

``Rows`` keeps one gradient a record.  Where positions are few beside the parameter's entries, ``Positions``
and ``Spots`` keep what the gradient is a product of: norms follow from inner products between positions
("ghost norms", arXiv 2205.10683, section 4) and the clipped sum from one product ("book-keeping", arXiv
2210.00038), and no record's gradient is ever formed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Protocol

import torch

from fedpriv.training.per_record.clipping import norms

__all__ = ["Gradient", "Positions", "Rows", "Spots", "merged"]


# Positions that cancel leave rounding errors.  Below the first part (in squares) of the longest that they
# could add up to, inner products in single precision do not tell the norm to 2**-11; below the second, the
# clipped sum is not exact to that of the clip either, and a shorter norm is not believed.
_CANCELS: Final = 2.0**-12
_ROUNDING: Final = 2.0**-26


class Gradient(Protocol):
    """One gradient a record."""

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""

    def squares(self) -> torch.Tensor:
        """Squared l2 norms, float64, shape (b,)."""

    def total(self, factors: torch.Tensor) -> torch.Tensor:
        """The sum of the records' gradients times their factors; a factor 0 leaves a record out entirely."""

    def rows(self) -> torch.Tensor:
        """The gradients themselves, shape (b, *shape)."""

    def row(self, record: int) -> torch.Tensor:
        """One of them."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Each record's gradient, shape (b, *shape)."""

    values: torch.Tensor

    @property
    def nbytes(self) -> int:
        """See `Gradient`."""
        return self.values.nbytes

    def squares(self) -> torch.Tensor:
        """See `Gradient`."""
        return _squares(self.values)

    def total(self, factors: torch.Tensor) -> torch.Tensor:
        """See `Gradient`."""
        shape = self.values.shape[1:]
        values = _without(self.values, factors).reshape(len(factors), math.prod(shape))
        return (factors.to(values.dtype) @ values).reshape(shape)

    def rows(self) -> torch.Tensor:
        """See `Gradient`."""
        return self.values

    def row(self, record: int) -> torch.Tensor:
        """See `Gradient`."""
        return self.values[record]


@dataclass(frozen=True, slots=True)
class Positions:
    """Gradients ``sum over t of g_t x_t^T`` of a matrix, from ``x`` (b, t, in) and ``g`` (b, t, out)."""

    x: torch.Tensor
    g: torch.Tensor

    @staticmethod
    def pays(x: torch.Tensor, g: torch.Tensor) -> bool:
        """Whether this form takes less memory than the gradients: in * out > 2 t (in + out)."""
        _, t, width = x.shape
        return width * g.shape[-1] > 2 * t * (width + g.shape[-1])

    @property
    def nbytes(self) -> int:
        """See `Gradient`."""
        return self.x.nbytes + self.g.nbytes

    def squares(self) -> torch.Tensor:
        """See `Gradient`."""
        xx, gg = self.x @ self.x.transpose(1, 2), self.g @ self.g.transpose(1, 2)
        found = (xx * gg).sum((1, 2), dtype=torch.float64)
        lengths = (xx.diagonal(dim1=1, dim2=2).double() * gg.diagonal(dim1=1, dim2=2).double()).sqrt()
        longest = lengths.sum(1).square()
        for record in torch.nonzero(found < _CANCELS * longest).flatten().tolist():
            row = self.g[record].double().t() @ self.x[record].double()
            found[record] = torch.maximum(row.square().sum(), _ROUNDING * longest[record])
        return found

    def total(self, factors: torch.Tensor) -> torch.Tensor:
        """See `Gradient`."""
        g = _without(self.g, factors) * factors.to(self.g.dtype).view(-1, 1, 1)
        return g.flatten(0, 1).t() @ _without(self.x, factors).flatten(0, 1)

    def rows(self) -> torch.Tensor:
        """See `Gradient`."""
        # The narrow side first: several times as fast as the other way round at the ranks of LoRA.
        if self.x.shape[-1] < self.g.shape[-1]:
            return (self.x.transpose(1, 2) @ self.g).transpose(1, 2)
        return self.g.transpose(1, 2) @ self.x

    def row(self, record: int) -> torch.Tensor:
        """See `Gradient`."""
        return self.g[record].t() @ self.x[record]


@dataclass(frozen=True, slots=True)
class Spots:
    """Gradients of a table: ``g`` (b, t, d) added at its rows ``ids`` (b, t)."""

    ids: torch.Tensor
    g: torch.Tensor
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """See `Gradient`."""
        return self.g.nbytes

    def squares(self) -> torch.Tensor:
        """See `Gradient`."""
        # Each table row's entries are added up where its number comes first; no inner products, so that what
        # cancels does so before it is squared.
        first = (self.ids.unsqueeze(1) == self.ids.unsqueeze(2)).int().argmax(2)
        added = torch.zeros_like(self.g).scatter_add_(1, first.unsqueeze(2).expand_as(self.g), self.g)
        return _squares(added)

    def total(self, factors: torch.Tensor) -> torch.Tensor:
        """See `Gradient`."""
        g = _without(self.g, factors) * factors.to(self.g.dtype).view(-1, 1, 1)
        total = torch.zeros(self.shape, dtype=g.dtype, device=g.device)
        return total.index_add_(0, self.ids.flatten(), g.flatten(0, 1))

    def rows(self) -> torch.Tensor:
        """See `Gradient`."""
        size = len(self.ids)
        out = torch.zeros((size * self.shape[0], *self.shape[1:]), dtype=self.g.dtype, device=self.g.device)
        spread = self.ids + torch.arange(size, device=self.ids.device).unsqueeze(1) * self.shape[0]
        return out.index_add_(0, spread.flatten(), self.g.flatten(0, 1)).reshape(size, *self.shape)

    def row(self, record: int) -> torch.Tensor:
        """See `Gradient`."""
        return Spots(self.ids[record : record + 1], self.g[record : record + 1], self.shape).rows()[0]


def merged(parts: list[Gradient]) -> Gradient:
    """One gradient a record out of those of several uses of a parameter, whose sum it is."""
    if len(parts) == 1:
        return parts[0]
    products = [part for part in parts if isinstance(part, Positions)]
    if len(products) == len(parts):  # more positions of the same product
        return Positions(
            torch.cat([part.x for part in products], 1), torch.cat([part.g for part in products], 1)
        )
    total = parts[0].rows()
    for part in parts[1:]:
        total = total + part.rows().reshape(total.shape)
    return Rows(total)


def _squares(values: torch.Tensor) -> torch.Tensor:
    return norms(values.reshape(len(values), math.prod(values.shape[1:]))).square_()


def _without(values: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """``values`` with zeros for records of factor 0: zero times infinity would not be zero."""
    kept = factors != 0
    if bool(kept.all()):
        return values
    return torch.where(kept.view(-1, *[1] * (values.dim() - 1)), values, torch.zeros((), dtype=values.dtype))

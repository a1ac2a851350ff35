"""Rows of a shared table, looked up by the records' numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from fedpriv.training.per_record.cut import ANCHOR, value_of

__all__ = ["embedding", "rows_of"]


class _Embedding(torch.autograd.Function):
    """Rows of a shared table at ``ids`` of shape (b, ...)."""

    @staticmethod
    def forward(
        ctx: Any, anchor: torch.Tensor, ids: torch.Tensor, table: torch.Tensor, padding: int, shared: Any
    ) -> torch.Tensor:
        ctx.shared, ctx.padding = shared, padding
        ctx.save_for_backward(ids)
        return functional.embedding(ids, table)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (ids,) = ctx.saved_tensors
        g = gradients[0].reshape(len(ids), -1, gradients[0].shape[-1])
        rows = ids.reshape(len(ids), -1)
        if ctx.padding >= 0:
            # torch gives the padding row no gradient.
            g = g.masked_fill((rows == ctx.padding).unsqueeze(-1), 0.0)
        ctx.shared.tape.embedding(ctx.shared, rows, g)
        return None, None, None, None, None


def embedding(
    ids: torch.Tensor,
    table: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> torch.Tensor:
    if max_norm is not None or scale_grad_by_freq or table.dim() != 2:
        raise NotImplementedError  # the first two look at the other records of the batch
    padding = -1 if padding_idx is None else padding_idx % len(table)
    result: torch.Tensor = _Embedding.apply(ANCHOR, ids, value_of(table), padding, table)  # type: ignore[no-untyped-call]
    return result


def rows_of(table: Any, ids: Any) -> torch.Tensor:
    """``table[ids]``."""
    if not (torch.is_tensor(ids) and ids.dtype in (torch.int32, torch.int64)):
        raise NotImplementedError
    return embedding(ids, table)

"""Shared values that are spread over the records: factors, offsets, prompts, masks, biases of attention."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from fedpriv.training.per_record.cut import ANCHOR, single, sizes_of, value_of
from fedpriv.training.per_record.shared import Shared

__all__ = [
    "attention",
    "divided",
    "expand",
    "expand_as",
    "minus",
    "plus",
    "reflected_minus",
    "repeat",
    "times",
    "where",
]


class _Times(torch.autograd.Function):
    """A product, broadcast, of records of shape (b, ...) and a shared value."""

    @staticmethod
    def forward(
        ctx: Any, anchor: torch.Tensor, x: torch.Tensor, value: torch.Tensor, shared: Any
    ) -> torch.Tensor:
        ctx.shared = shared
        ctx.save_for_backward(x, value)
        return x * value

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (g,) = gradients
        x, value = ctx.saved_tensors
        ctx.shared.tape.add(ctx.shared, _reduced(single(g) * x, value))
        back = (g * value).sum_to_size(x.shape).to(x.dtype) if ctx.needs_input_grad[1] else None
        return None, back, None, None


class _Plus(torch.autograd.Function):
    """A sum, broadcast, of records of shape (b, ...) and a shared value."""

    @staticmethod
    def forward(
        ctx: Any, anchor: torch.Tensor, x: torch.Tensor, value: torch.Tensor, shared: Any
    ) -> torch.Tensor:
        ctx.shared, ctx.like = shared, (x.shape, x.dtype)
        ctx.save_for_backward(value)
        return x + value

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (g,) = gradients
        (value,) = ctx.saved_tensors
        ctx.shared.tape.add(ctx.shared, _reduced(g, value))
        shape, dtype = ctx.like
        back = g.sum_to_size(shape).to(dtype) if ctx.needs_input_grad[1] else None
        return None, back, None, None


def _sides(a: Any, b: Any) -> tuple[torch.Tensor, Any]:
    """Records and the shared value that is broadcast over them."""
    x, shared = (b, a) if isinstance(a, Shared) else (a, b)
    if shared.dim() > x.dim() or (shared.dim() == x.dim() and shared.shape[0] != 1):
        raise NotImplementedError  # the result's first dimension would not be the records', or has them apart
    if x.is_complex() or shared.is_complex():
        raise NotImplementedError
    return x, shared


def times(a: Any, b: Any) -> torch.Tensor:
    x, shared = _sides(a, b)
    result: torch.Tensor = _Times.apply(ANCHOR, x, value_of(shared), shared)  # type: ignore[no-untyped-call]
    return result


def plus(a: Any, b: Any, *, alpha: float = 1) -> torch.Tensor:
    if alpha != 1:
        b = b * alpha
    x, shared = _sides(a, b)
    result: torch.Tensor = _Plus.apply(ANCHOR, x, value_of(shared), shared)  # type: ignore[no-untyped-call]
    return result


def minus(a: Any, b: Any, *, alpha: float = 1) -> torch.Tensor:
    return plus(a, -b if alpha == 1 else b * -alpha)


def reflected_minus(a: Any, b: Any) -> torch.Tensor:
    """``b - a``: how Python calls a reflected difference."""
    return minus(b, a)


def divided(a: Any, b: Any, *, rounding_mode: str | None = None) -> torch.Tensor:
    if rounding_mode is not None:
        raise NotImplementedError
    return times(a, 1.0 / b)


class _Spread(torch.autograd.Function):
    """The same shared value for each record, shape (b, ...)."""

    @staticmethod
    def forward(ctx: Any, anchor: torch.Tensor, value: torch.Tensor, size: int, shared: Any) -> torch.Tensor:
        ctx.shared, ctx.shape = shared, value.shape
        return value.expand(size, *value.shape).contiguous()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        ctx.shared.tape.add(ctx.shared, gradients[0])
        return None, None, None, None


def _spread(shared: Any) -> torch.Tensor:
    """A shared value of shape (1, ...) or (...) as one copy a record."""
    result: torch.Tensor = _Spread.apply(ANCHOR, value_of(shared), shared.tape.size, shared)  # type: ignore[no-untyped-call]
    return result


def _aligned(shared: Any, dims: int) -> torch.Tensor:
    """One copy a record, shape (b, ...) of ``dims`` dimensions, to be broadcast with records' values."""
    if shared.dim() > dims or (shared.dim() == dims and shared.shape[0] != 1):
        raise NotImplementedError
    inner = shared.shape if shared.dim() < dims else shared.shape[1:]
    return _spread(shared.reshape(*[1] * (dims - 1 - len(inner)), *inner))


def expand(shared: Any, *sizes: Any) -> torch.Tensor:
    shape = sizes_of(sizes)
    return _one_a_record(shared, len(shape)).expand(*shape)


def expand_as(shared: Any, other: torch.Tensor) -> torch.Tensor:
    return expand(shared, *other.shape)


def repeat(shared: Any, *sizes: Any) -> torch.Tensor:
    copies = sizes_of(sizes)
    return _one_a_record(shared, len(copies)).repeat(1, *copies[1:])


def _one_a_record(shared: Any, dims: int) -> torch.Tensor:
    """One copy a record in ``dims`` dimensions, of which the first was missing or had the size 1."""
    if dims == shared.dim() and shared.shape[0] == 1:
        return _spread(shared[0])
    if dims == shared.dim() + 1:
        return _spread(shared)
    raise NotImplementedError


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: Any = None,
    *rest: Any,
    **options: Any,
) -> torch.Tensor:
    """A shared bias of the attention scores, as T5's of relative positions."""
    if any(isinstance(t, Shared) for t in (query, key, value)):
        raise NotImplementedError
    mask = _aligned(attn_mask, query.dim())
    return functional.scaled_dot_product_attention(query, key, value, mask, *rest, **options)


def where(condition: torch.Tensor, a: Any, b: Any) -> torch.Tensor:
    """A shared value where records allow it, and something else where not."""

    def each(side: Any) -> Any:
        return _aligned(side, condition.dim()) if isinstance(side, Shared) else side

    return torch.where(condition, each(a), each(b))


def _reduced(g: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """``g`` of shape (b, ...) summed over what ``value`` was spread over: shape (b, *value.shape)."""
    g = single(g)
    inner = value.shape if value.dim() < g.dim() else value.shape[1:]
    between = tuple(range(1, g.dim() - len(inner)))
    g = g.sum(between) if between else g
    kept = tuple(1 + axis for axis, side in enumerate(inner) if side == 1 and g.shape[1 + axis] != 1)
    g = g.sum(kept, keepdim=True) if kept else g
    return g.reshape(len(g), *value.shape)

"""Where a shared value meets records: for each torch function that may do it, the gradient of each record.

A rule computes what the function would have, and on the way back hands one gradient per record to the tape.
What is not here is not covered: the tape refuses it by name.  A record's gradient of a linear map is
``g^T x`` summed over that record's positions (Goodfellow, arXiv 1510.01799, for one position).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
import torch.nn.functional as F

from fedpriv.training.per_record.shared import Shared

__all__ = ["FLATTENING", "RULES"]

Rule = Callable[..., torch.Tensor]

# An input of every function here that has a gradient, so that torch goes back through them even where no
# record's value has one; it is never given any.
ANCHOR: Final = torch.zeros((), requires_grad=True)


def _value(x: Any) -> Any:
    """Cut off from how it was computed: its gradient by record goes to the tape, and nowhere else."""
    return x.value.detach() if isinstance(x, Shared) else x


class _Linear(torch.autograd.Function):
    """``x W^T + b`` for ``x`` of shape (b, ..., in), where weight, bias or both are shared."""

    @staticmethod
    def forward(
        ctx: Any, anchor: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, shared: Any
    ) -> torch.Tensor:
        ctx.shared = shared
        ctx.save_for_backward(x if shared[0] is not None else None, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (g,) = gradients
        x, weight = ctx.saved_tensors
        shared_weight, shared_bias = ctx.shared
        if shared_weight is not None:
            shared_weight.tape.linear(shared_weight, x, g)
        if shared_bias is not None:
            shared_bias.tape.add(shared_bias, _over_positions(g, 1))
        back = g.to(weight.dtype) @ weight if ctx.needs_input_grad[1] else None
        return None, back, None, None, None


def _linear(x: torch.Tensor, weight: Any, bias: Any = None) -> torch.Tensor:
    shared = (
        weight if isinstance(weight, Shared) else None,
        bias if isinstance(bias, Shared) else None,
    )
    result: torch.Tensor = _Linear.apply(ANCHOR, x, _value(weight), _value(bias), shared)  # type: ignore[no-untyped-call]
    return result


def _matmul(x: torch.Tensor, weight: Any) -> torch.Tensor:
    if isinstance(x, Shared) or weight.dim() != 2 or x.dim() < 2:
        raise NotImplementedError
    return _linear(x, weight.t())


def _addmm(bias: Any, x: torch.Tensor, weight: Any, *, beta: float = 1, alpha: float = 1) -> torch.Tensor:
    """``transformers`` writes Conv1D so, with records and positions in one dimension."""
    if beta != 1 or alpha != 1:
        raise NotImplementedError
    tape = next(item.tape for item in (bias, weight) if isinstance(item, Shared))
    return _linear(x.view(tape.size, -1, x.shape[-1]), weight.t(), bias).view(x.shape[0], -1)


def _mm(x: torch.Tensor, weight: Any) -> torch.Tensor:
    return _matmul(x.view(weight.tape.size, -1, x.shape[-1]), weight).view(x.shape[0], -1)


class _Embedding(torch.autograd.Function):
    """Rows of a shared table at ``ids`` of shape (b, ...)."""

    @staticmethod
    def forward(ctx: Any, anchor: torch.Tensor, ids: torch.Tensor, table: torch.Tensor, padding: int, shared: Any) -> torch.Tensor:
        ctx.shared, ctx.padding = shared, padding
        ctx.save_for_backward(ids)
        return F.embedding(ids, table)

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


def _embedding(
    ids: torch.Tensor,
    table: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> torch.Tensor:
    if max_norm is not None or scale_grad_by_freq:
        raise NotImplementedError  # both look at the other records of the batch
    padding = -1 if padding_idx is None else padding_idx % len(table)
    result: torch.Tensor = _Embedding.apply(ANCHOR, ids, _value(table), padding, table)  # type: ignore[no-untyped-call]
    return result


def _rows_of(table: Any, ids: Any) -> torch.Tensor:
    """``table[ids]``."""
    if not (torch.is_tensor(ids) and ids.dtype in (torch.int32, torch.int64)):
        raise NotImplementedError
    return _embedding(ids, table)


class _LayerNorm(torch.autograd.Function):
    """Layer normalisation over the last dimensions, with a shared weight, bias or both."""

    @staticmethod
    def forward(
        ctx: Any, anchor: torch.Tensor, x: torch.Tensor, shape: Any, weight: Any, bias: Any, eps: float, shared: Any
    ) -> torch.Tensor:
        result, mean, rstd = torch.native_layer_norm(x, shape, weight, bias, eps)
        ctx.shape, ctx.shared = shape, shared
        ctx.save_for_backward(x, mean, rstd, weight, bias)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (g,) = gradients
        x, mean, rstd, weight, bias = ctx.saved_tensors
        shared_weight, shared_bias = ctx.shared
        keep = len(ctx.shape)
        if shared_weight is not None:
            normal = (x.float() - mean) * rstd
            shared_weight.tape.add(shared_weight, _over_positions(g.float() * normal, keep))
        if shared_bias is not None:
            shared_bias.tape.add(shared_bias, _over_positions(g, keep))
        back = None
        if ctx.needs_input_grad[1]:
            back = torch.ops.aten.native_layer_norm_backward(
                g.contiguous(), x, ctx.shape, mean, rstd, weight, bias, [True, False, False]
            )[0]
        return None, back, None, None, None, None, None


def _layer_norm(
    x: torch.Tensor, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> torch.Tensor:
    shared = (
        weight if isinstance(weight, Shared) else None,
        bias if isinstance(bias, Shared) else None,
    )
    result: torch.Tensor = _LayerNorm.apply(ANCHOR, x, tuple(shape), _value(weight), _value(bias), eps, shared)  # type: ignore[no-untyped-call]
    return result


def _rms_norm(x: torch.Tensor, shape: Any, weight: Any = None, eps: float | None = None) -> torch.Tensor:
    return _times(F.rms_norm(x, shape, None, eps), weight)


class _Times(torch.autograd.Function):
    """A product, broadcast, of records of shape (b, ...) and a shared value."""

    @staticmethod
    def forward(ctx: Any, anchor: torch.Tensor, x: torch.Tensor, value: torch.Tensor, shared: Any) -> torch.Tensor:
        ctx.shared = shared
        ctx.save_for_backward(x, value)
        return x * value

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (g,) = gradients
        x, value = ctx.saved_tensors
        ctx.shared.tape.add(ctx.shared, _reduced(g.float() * x, value))
        back = (g * value).sum_to_size(x.shape).to(x.dtype) if ctx.needs_input_grad[1] else None
        return None, back, None, None


class _Plus(torch.autograd.Function):
    """A sum, broadcast, of records of shape (b, ...) and a shared value."""

    @staticmethod
    def forward(ctx: Any, anchor: torch.Tensor, x: torch.Tensor, value: torch.Tensor, shared: Any) -> torch.Tensor:
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


def _times(a: Any, b: Any) -> torch.Tensor:
    x, shared = (b, a) if isinstance(a, Shared) else (a, b)
    result: torch.Tensor = _Times.apply(ANCHOR, x, _value(shared), shared)  # type: ignore[no-untyped-call]
    return result


def _plus(a: Any, b: Any, *, alpha: float = 1) -> torch.Tensor:
    if alpha != 1:
        b = b * alpha
    x, shared = (b, a) if isinstance(a, Shared) else (a, b)
    result: torch.Tensor = _Plus.apply(ANCHOR, x, _value(shared), shared)  # type: ignore[no-untyped-call]
    return result


def _minus(a: Any, b: Any, *, alpha: float = 1) -> torch.Tensor:
    return _plus(a, -b if alpha == 1 else b * -alpha)


def _from(a: Any, b: Any) -> torch.Tensor:
    """``b - a``: how Python calls a reflected difference."""
    return _minus(b, a)


def _divided(a: Any, b: Any, *, rounding_mode: str | None = None) -> torch.Tensor:
    if rounding_mode is not None:
        raise NotImplementedError
    return _times(a, 1.0 / b)


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


def _spread(shared: Shared) -> torch.Tensor:
    """A shared value of shape (1, ...) or (...) as one copy a record."""
    result: torch.Tensor = _Spread.apply(ANCHOR, _value(shared), shared.tape.size, shared)  # type: ignore[no-untyped-call]
    return result


def _expand(shared: Any, *sizes: Any) -> torch.Tensor:
    shape = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], list | tuple) else sizes
    lead = len(shape) - shared.dim()
    if lead == 0 and shared.shape[0] == 1:
        return _spread(shared[0]).expand(*shape)
    if lead == 1:
        return _spread(shared).expand(*shape)
    raise NotImplementedError


def _repeat(shared: Any, *sizes: Any) -> torch.Tensor:
    times = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], list | tuple) else sizes
    lead = len(times) - shared.dim()
    if lead == 0 and shared.shape[0] == 1:
        return _spread(shared[0]).repeat(1, *times[1:])
    if lead == 1:
        return _spread(shared).repeat(1, *times[1:])
    raise NotImplementedError


def _conv2d(
    x: torch.Tensor,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> torch.Tensor:
    """As a linear map of unfolded patches: exact for any stride, in the memory of the patches."""
    if groups != 1 or isinstance(padding, str):
        raise NotImplementedError
    kernel = tuple(weight.shape[2:])
    patches = F.unfold(x, kernel, dilation=dilation, padding=padding, stride=stride).transpose(1, 2)
    out = _linear(patches, weight.reshape(weight.shape[0], -1), bias).transpose(1, 2)

    def side(axis: int) -> int:
        pick: Callable[[Any], int] = lambda pair: pair[axis] if isinstance(pair, list | tuple) else pair  # noqa: E731
        reach = pick(dilation) * (kernel[axis] - 1) + 1
        return int((x.shape[2 + axis] + 2 * pick(padding) - reach) // pick(stride) + 1)

    return out.reshape(x.shape[0], weight.shape[0], side(0), side(1))


def _attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: Any = None, *rest: Any, **options: Any) -> torch.Tensor:
    """A shared bias of the attention scores, as T5's of relative positions."""
    if any(isinstance(t, Shared) for t in (query, key, value)):
        raise NotImplementedError
    mask = _spread(attn_mask[0] if attn_mask.dim() == query.dim() else attn_mask)
    return F.scaled_dot_product_attention(query, key, value, mask, *rest, **options)


def _where(condition: torch.Tensor, a: Any, b: Any) -> torch.Tensor:
    """A shared value where records allow it, and something else where not."""

    def each(side: Any) -> Any:
        if not isinstance(side, Shared):
            return side
        if side.dim() == condition.dim() and side.shape[0] != 1:
            raise NotImplementedError
        return _spread(side[0] if side.dim() == condition.dim() else side)

    return torch.where(condition, each(a), each(b))


def _over_positions(g: torch.Tensor, keep: int) -> torch.Tensor:
    """``g`` of shape (b, positions ..., kept ...) summed over the positions in single precision or better."""
    between = tuple(range(1, g.dim() - keep))
    g = g if g.dtype == torch.float64 else g.float()
    return g.sum(between) if between else g


def _reduced(g: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """``g`` of shape (b, ...) summed over what ``value`` was spread over: shape (b, *value.shape)."""
    g = g if g.dtype == torch.float64 else g.float()
    inner = value.shape if value.dim() < g.dim() else value.shape[1:]
    if value.dim() == g.dim() and value.shape[0] != 1:
        raise NotImplementedError
    between = tuple(range(1, g.dim() - len(inner)))
    g = g.sum(between) if between else g
    kept = tuple(
        1 + axis for axis, side in enumerate(inner) if side == 1 and g.shape[1 + axis] != 1
    )
    g = g.sum(kept, keepdim=True) if kept else g
    return g.reshape(len(g), *value.shape)


_T: Final = torch.Tensor
RULES: Final[dict[Any, Rule]] = {
    F.linear: _linear,
    F.embedding: _embedding,
    F.layer_norm: _layer_norm,
    F.rms_norm: _rms_norm,
    torch.where: _where,
    F.conv2d: _conv2d,
    F.scaled_dot_product_attention: _attention,
    torch.conv2d: _conv2d,
    torch.matmul: _matmul,
    _T.matmul: _matmul,
    _T.__matmul__: _matmul,
    torch.addmm: _addmm,
    torch.mm: _mm,
    _T.mm: _mm,
    torch.mul: _times,
    _T.mul: _times,
    _T.__mul__: _times,
    _T.__rmul__: _times,
    _T.__imul__: _times,
    torch.add: _plus,
    _T.add: _plus,
    _T.__add__: _plus,
    _T.__radd__: _plus,
    _T.__iadd__: _plus,
    torch.sub: _minus,
    _T.sub: _minus,
    _T.__sub__: _minus,
    _T.__rsub__: _from,
    torch.div: _divided,
    _T.div: _divided,
    _T.__truediv__: _divided,
    _T.expand: _expand,
    _T.repeat: _repeat,
    _T.__getitem__: _rows_of,
}
"""What may be done with a shared value and records."""

FLATTENING: Final = frozenset({torch.addmm, torch.mm, _T.mm})
"""Functions that see records and positions in one dimension."""

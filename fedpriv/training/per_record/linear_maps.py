"""Linear maps with a shared matrix or bias, in the forms that torch and ``transformers`` write them.

A record's gradient of a matrix is ``g^T x`` summed over the record's positions (Goodfellow, arXiv 1510.01799,
for one position).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from fedpriv.training.matmul import product
from fedpriv.training.per_record.cut import ANCHOR, over_positions, value_of
from fedpriv.training.per_record.shared import Shared

__all__ = ["addmm", "conv2d", "linear", "matmul", "mm"]


class _Linear(torch.autograd.Function):
    """``x W^T + b`` for ``x`` of shape (b, ..., in), where weight, bias or both are shared.

    With ``turned`` the weight is stored the other way round, (in, out).
    """

    @staticmethod
    def forward(
        ctx: Any,
        anchor: torch.Tensor,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        shared: Any,
        turned: bool,
    ) -> torch.Tensor:
        ctx.shared, ctx.turned = shared, turned
        ctx.save_for_backward(x if shared[0] is not None else None, weight)
        return functional.linear(x, weight.t() if turned else weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (g,) = gradients
        x, weight = ctx.saved_tensors
        shared_weight, shared_bias = ctx.shared
        if shared_weight is not None:
            outer, inner = (x, g) if ctx.turned else (g, x)
            shared_weight.tape.linear(shared_weight, inner, outer)
        if shared_bias is not None:
            shared_bias.tape.add(shared_bias, over_positions(g, 1))
        back = None
        if ctx.needs_input_grad[1]:
            back = product(g.to(weight.dtype), weight.t() if ctx.turned else weight)
        return None, back, None, None, None, None


def linear(x: torch.Tensor, weight: Any, bias: Any = None, *, turned: bool = False) -> torch.Tensor:
    shared = (
        weight if isinstance(weight, Shared) else None,
        bias if isinstance(bias, Shared) else None,
    )
    values = value_of(weight), value_of(bias)
    result: torch.Tensor = _Linear.apply(ANCHOR, x, *values, shared, turned)  # type: ignore[no-untyped-call]
    return result


def matmul(x: torch.Tensor, weight: Any) -> torch.Tensor:
    if isinstance(x, Shared) or weight.dim() != 2 or x.dim() < 2:
        raise NotImplementedError
    return linear(x, weight, turned=True)


def addmm(bias: Any, x: torch.Tensor, weight: Any, *, beta: float = 1, alpha: float = 1) -> torch.Tensor:
    """``transformers`` writes Conv1D so, with records and positions in one dimension."""
    if beta != 1 or alpha != 1:
        raise NotImplementedError
    tape = next(item.tape for item in (bias, weight) if isinstance(item, Shared))
    return linear(x.view(tape.size, -1, x.shape[-1]), weight, bias, turned=True).view(x.shape[0], -1)


def mm(x: torch.Tensor, weight: Any) -> torch.Tensor:
    return matmul(x.view(weight.tape.size, -1, x.shape[-1]), weight).view(x.shape[0], -1)


def conv2d(
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
    patches = functional.unfold(x, kernel, dilation=dilation, padding=padding, stride=stride).transpose(1, 2)
    out = linear(patches, weight.reshape(weight.shape[0], -1), bias).transpose(1, 2)

    def side(axis: int) -> int:
        pick: Callable[[Any], int] = lambda pair: pair[axis] if isinstance(pair, list | tuple) else pair  # noqa: E731
        reach = pick(dilation) * (kernel[axis] - 1) + 1
        return int((x.shape[2 + axis] + 2 * pick(padding) - reach) // pick(stride) + 1)

    return out.reshape(x.shape[0], weight.shape[0], side(0), side(1))

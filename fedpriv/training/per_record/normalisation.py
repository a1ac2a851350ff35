"""Layer and root-mean-square normalisation with shared weights."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from fedpriv.training.per_record.cut import ANCHOR, over_positions, single, value_of
from fedpriv.training.per_record.shared import Shared
from fedpriv.training.per_record.spreading import times

__all__ = ["layer_norm", "rms_norm"]


class _LayerNorm(torch.autograd.Function):
    """Layer normalisation over the last dimensions, with a shared weight, bias or both."""

    @staticmethod
    def forward(
        ctx: Any,
        anchor: torch.Tensor,
        x: torch.Tensor,
        shape: Any,
        weight: Any,
        bias: Any,
        eps: float,
        shared: Any,
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
            normal = (single(x) - mean) * rstd
            shared_weight.tape.add(shared_weight, over_positions(single(g) * normal, keep))
        if shared_bias is not None:
            shared_bias.tape.add(shared_bias, over_positions(g, keep))
        back = None
        if ctx.needs_input_grad[1]:
            back = torch.ops.aten.native_layer_norm_backward(
                g.contiguous(), x, ctx.shape, mean, rstd, weight, bias, [True, False, False]
            )[0]
        return None, back, None, None, None, None, None


def layer_norm(
    x: torch.Tensor, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> torch.Tensor:
    shared = (
        weight if isinstance(weight, Shared) else None,
        bias if isinstance(bias, Shared) else None,
    )
    result: torch.Tensor = _LayerNorm.apply(
        ANCHOR, x, tuple(shape), value_of(weight), value_of(bias), eps, shared
    )  # type: ignore[no-untyped-call]
    return result


def rms_norm(x: torch.Tensor, shape: Any, weight: Any = None, eps: float | None = None) -> torch.Tensor:
    return times(functional.rms_norm(x, shape, None, eps), weight)

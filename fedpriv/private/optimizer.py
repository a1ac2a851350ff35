"""What an optimizer may hold, so that exactly the trained parameters move, and by private gradients only."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fedpriv.errors import UsageError

__all__ = ["check_optimizer"]


def check_optimizer(model: nn.Module, optimizer: Any) -> None:
    """Refuse an optimizer that steps anything but exactly the trained parameters of ``model``.

    Raises:
        UsageError: it holds another tensor, misses a trained parameter (named), or steps more than once.
    """
    if isinstance(optimizer, torch.optim.LBFGS):
        raise UsageError("L-BFGS computes several gradients a step", hint="use an optimizer that takes one")
    names = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if held - set(names):
        raise UsageError(
            f"the optimizer holds {len(held - set(names))} tensors that the model does not train",
            hint="give it the parameters that require a gradient, and no others",
        )
    missing = [name for key, name in names.items() if key not in held]
    if missing:
        raise UsageError(
            f"the optimizer does not hold {missing[0]!r}, which is trained ({len(missing)} missing)",
            hint="give it every parameter that requires a gradient, or freeze the others",
        )

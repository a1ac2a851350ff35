"""A linear map with a small network behind it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Bottleneck(nn.Module):
    """``y + up(gelu(down(y)))`` with ``y = dense(x)``; ``down`` (inner, out) and ``up`` (out, inner), with
    biases."""

    def __init__(self, dense: nn.Module, width: int, inner: int) -> None:
        super().__init__()
        weight = next(dense.parameters())
        self.dense = dense
        self.down = nn.Linear(width, inner, device=weight.device, dtype=weight.dtype)
        self.up = nn.Linear(inner, width, device=weight.device, dtype=weight.dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.dense(x)
        change: torch.Tensor = self.up(functional.gelu(self.down(y)))
        return y + change

"""A linear map with a small trained core between two frozen bases."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Core(nn.Module):
    """``dense(x) + scaling * up core down x``: ``down`` (r, in) and ``up`` (out, r) fixed, ``core`` (r, r).

    The core starts at zero, where its gradient is not, as both bases are full.
    """

    down: torch.Tensor
    up: torch.Tensor

    def __init__(self, dense: nn.Module, down: torch.Tensor, up: torch.Tensor, scaling: float) -> None:
        super().__init__()
        self.dense = dense
        self.scaling = scaling
        self.core = nn.Parameter(down.new_zeros(up.shape[1], down.shape[0]))
        self.register_buffer("down", down)
        self.register_buffer("up", up)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = functional.linear(functional.linear(x, self.down), self.core)
        y: torch.Tensor = self.dense(x)
        return y + self.scaling * functional.linear(inner, self.up)

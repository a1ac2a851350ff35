"""A block of a vision transformer with trained tokens at its input."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class PromptedBlock(nn.Module):
    """``block`` on the class token, trained ``virtual_tokens`` (1, k, width), and the patches.

    What the block makes of the trained tokens is left out of its output, so that its neighbours see as many
    positions as without them.
    """

    def __init__(self, block: nn.Module, tokens: int, width: int) -> None:
        super().__init__()
        weight = next(block.parameters())
        self.block = block
        self.virtual_tokens = nn.Parameter(
            torch.zeros(1, tokens, width, device=weight.device, dtype=weight.dtype)
        )

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **options: Any
    ) -> torch.Tensor:
        # No patch of an image is masked, and a mask for fewer positions would not fit: none is handed on.
        tokens = self.virtual_tokens.expand(hidden_states.shape[0], -1, -1)
        whole = torch.cat([hidden_states[:, :1], tokens, hidden_states[:, 1:]], dim=1)
        changed = self.block(whole, **options)
        return torch.cat([changed[:, :1], changed[:, 1 + tokens.shape[1] :]], dim=1)

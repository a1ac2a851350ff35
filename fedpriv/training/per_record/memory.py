"""How much memory a record takes on its way through the model, counted rather than guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from fedpriv.errors import UsageError
from fedpriv.training.per_record.batches import some_records

if TYPE_CHECKING:
    from fedpriv.training.per_record.ways import Losses, Way

__all__ = ["records_within"]

# By how much a process grew over what is counted here (MiniLM, 40 and 73 records of 128 tokens: 1.6 and 1.7):
# kernels' scratch, gradients on their way back, and what the C library's allocator does not give back.
_BESIDE: Final = 1.75


def records_within(model: nn.Module, losses: Losses, batch: Any, way: Way, budget: int) -> int:
    """How many records, each as long as the batch is padded, fit into one pass of ``budget`` bytes.

    Counted is what the forward pass keeps for the backward pass and the gradients of the records, for one
    record and for two: what a second one adds, each further one will.  Three quarters are added for what
    cannot be counted.  Weights and optimizer are there already and not part of the budget.

    Raises:
        UsageError: not even one record fits.
    """
    one, two = (_BESIDE * _kept(model, losses, some_records(batch, [0] * n), way) for n in (1, 2))
    fits = int((budget - one) // max(two - one, 1.0)) + 1
    if fits < 1:
        raise UsageError(
            f"one record takes {one / 2**20:,.0f} MiB, and the budget is {budget / 2**20:,.0f} MiB",
            hint="raise the memory budget, shorten the records, or turn on gradient checkpointing",
        )
    return fits


def _kept(model: nn.Module, losses: Losses, batch: Any, way: Way) -> int:
    """Bytes of what is kept for the backward pass of these records, and of their gradients."""
    weights = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        found = way(model, losses, batch)
    return sum(kept.values()) + sum(gradient.nbytes for gradient in found.values())

"""What all the rules need: values cut off from their graph, and sums over positions in full precision."""

from __future__ import annotations

from typing import Any, Final

import torch

from fedpriv.training.per_record.shared import Shared

__all__ = ["ANCHOR", "over_positions", "single", "sizes_of", "value_of"]

# An input of every function here that has a gradient, so that torch goes back through them even where no
# record's value has one; it is never given any.
ANCHOR: Final = torch.zeros((), requires_grad=True)


def value_of(x: Any) -> Any:
    """Cut off from how it was computed: its gradient by record goes to the tape, and nowhere else."""
    return x.value.detach() if isinstance(x, Shared) else x


def single(g: torch.Tensor) -> torch.Tensor:
    """In single precision, or double where it is that already."""
    return g if g.dtype == torch.float64 else g.float()


def over_positions(g: torch.Tensor, keep: int) -> torch.Tensor:
    """``g`` of shape (b, positions ..., kept ...) summed over the positions; ``keep`` dimensions are kept."""
    between = tuple(range(1, g.dim() - keep))
    return single(g).sum(between) if between else single(g)


def sizes_of(arguments: tuple[Any, ...]) -> Any:
    """The sizes that torch takes one by one or as one sequence."""
    return arguments[0] if len(arguments) == 1 and isinstance(arguments[0], list | tuple) else arguments

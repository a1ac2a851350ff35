"""Linear maps of a model, measured and replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def sides(dense: nn.Module) -> tuple[int, int]:
    """How many numbers a linear map reads and gives; GPT-2's ``Conv1D`` keeps its weight transposed."""
    from torch import nn

    if isinstance(dense, nn.Linear):
        return dense.in_features, dense.out_features
    fan_in, fan_out = dense.get_parameter("weight").shape
    return fan_in, fan_out


def replace(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put another module where the one of that name was."""
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)

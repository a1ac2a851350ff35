"""How the ``peft`` library's methods are put around a model: quietly, and from the public seed."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from fedpriv.errors import UsageError

if TYPE_CHECKING:
    from torch import nn


def wrapped(model: nn.Module, config: Any, what: str) -> nn.Module:
    """A ``peft.PeftModel`` around the model; the process's random state stays as it was.

    Raises ``UsageError`` where the library finds no place for ``what``.
    """
    import peft
    import torch

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # peft 0.21 asks transformers 5 for a property under its old name.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        # peft sets the flag of Conv1D layers itself and says so.
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
        try:
            adapted: nn.Module = peft.get_peft_model(model, config)
        except ValueError as problem:
            raise UsageError(f"the model cannot take {what}: {_first_sentence(problem)}") from None
    return adapted


def plain(name: str) -> str:
    """The name that a weight has in a saved adapter, which is the one hashed."""
    return name.replace(".default.", ".")


def _first_sentence(problem: Exception) -> str:
    return str(problem).split("\n", 1)[0].split(". ", 1)[0]

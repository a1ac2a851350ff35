"""Modules that let the records of a batch see each other, refused by name."""

from __future__ import annotations

from torch import nn

from fedpriv.errors import UnsafeParameters

__all__ = ["refuse_mixing"]


def refuse_mixing(model: nn.Module) -> None:
    """Raises ``UnsafeParameters``, naming it, where a module normalises over the batch.

    With stored statistics, in evaluation mode, batch normalisation is a map of each record by itself.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (
            module.training or module.running_mean is None
        ):
            raise UnsafeParameters(
                f"{name!r} ({type(module).__name__}) mixes the records of a batch",
                hint="put it into evaluation mode (its stored statistics then stand), or choose LayerNorm",
            )

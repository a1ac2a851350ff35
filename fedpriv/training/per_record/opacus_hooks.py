"""Per-record gradients by Opacus's hooks: a second, independent way, for the layers where it is right.

The model is in evaluation mode but for the trained layers, which Opacus skips otherwise; they are of three
kinds, in none of which the mode does anything else.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fedpriv.errors import UnsafeParameters, UsageError
from fedpriv.training.per_record.batches import records_in
from fedpriv.training.per_record.cut import single
from fedpriv.training.per_record.rows import Gradient, Rows
from fedpriv.training.task import evaluating

if TYPE_CHECKING:
    from fedpriv.training.per_record.ways import Losses

__all__ = ["by_opacus"]


def by_opacus(model: nn.Module, losses: Losses, batch: Any) -> dict[str, Gradient]:
    """See `ways.Way`.

    Raises:
        UnsafeParameters: a trained parameter belongs to a layer where Opacus is not known to be right, or
            takes no part.
    """
    from fedpriv.training.per_record.ways import checked, trained

    parameters = trained(model)
    layers = _layers(model, parameters)
    size = records_in(batch)
    found: dict[str, Gradient] = {}
    with _hooks(model, layers), torch.enable_grad():
        torch.autograd.backward(checked(losses(model, batch), size).sum())
        for name, parameter in parameters.items():
            samples: Any = getattr(parameter, "grad_sample", None)
            if not torch.is_tensor(samples) or tuple(samples.shape) != (size, *parameter.shape):
                raise UnsafeParameters(
                    f"no per-record gradient arrived for {name!r}",
                    hint="it is unused, or one value serves the batch: freeze it, or take the direct engine",
                )
            found[name] = Rows(single(samples))
    return found


def _layers(model: nn.Module, parameters: dict[str, nn.Parameter]) -> list[nn.Module]:
    from transformers.pytorch_utils import Conv1D

    layers: dict[str, nn.Module] = {}
    for name in sorted(parameters):
        owner = name.rpartition(".")[0]
        layers[owner] = model.get_submodule(owner)
        if type(layers[owner]) not in (nn.Linear, nn.LayerNorm, Conv1D):
            raise UnsafeParameters(
                f"Opacus is not known to be right for a {type(layers[owner]).__name__}, which {name!r} is in",
                hint="take the direct engine, or train linear layers, LayerNorm or biases only",
            )
    return list(layers.values())


@contextmanager
def _hooks(model: nn.Module, layers: list[nn.Module]) -> Iterator[None]:
    """Opacus attached to a model in evaluation mode; on leaving, the model is as it was."""
    from opacus.grad_sample.grad_sample_module import GradSampleHooks

    if hasattr(model, "autograd_grad_sample_hooks"):
        raise UsageError("Opacus is attached to this model already", hint="remove its hooks first")
    with evaluating(model), warnings.catch_warnings():
        # The lowest trained layers have inputs without a gradient; Opacus needs that of the outputs only.
        warnings.filterwarnings("ignore", message="Full backward hook is firing when gradients are computed")
        for module in layers:
            module.training = True
        hooks: Any = GradSampleHooks(model, loss_reduction="sum", strict=True)
        try:
            yield
        finally:
            hooks.cleanup()
            for module in layers:
                # Left over where a forward pass was not followed by its backward pass.
                for leftover in ("activations", "max_batch_len"):
                    if hasattr(module, leftover):
                        delattr(module, leftover)
            for parameter in model.parameters():
                parameter.grad = None

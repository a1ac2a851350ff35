"""The ways to the gradients of a batch's records: all at once, by Opacus, or one record after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from fedpriv.errors import UnsafeParameters
from fedpriv.training.per_record.batches import records_in, some_records
from fedpriv.training.per_record.cut import single
from fedpriv.training.per_record.rows import Gradient, Rows, merged
from fedpriv.training.per_record.tape import Places, Tape

__all__ = ["Direct", "Losses", "Way", "alone", "checked", "in_single", "none", "trained"]

Losses = Callable[[nn.Module, Any], torch.Tensor]
"""(model, batch) -> the loss of each record, shape (b,), each a function of that record alone."""

Way = Callable[[nn.Module, Losses, Any], dict[str, Gradient]]
"""(model, losses, batch) -> the gradients of the batch's records, by trained parameter."""


class Direct:
    """One forward and one backward pass for the whole batch, on values that know that they are shared.

    Call `learn` before the first batch.
    """

    def __init__(self) -> None:
        self.rows_only = False
        """Keep each record's gradient as such, and never a cheaper form."""
        self._places = Places()

    def __call__(self, model: nn.Module, losses: Losses, batch: Any) -> dict[str, Gradient]:
        """See `Way`.

        Raises:
            NewPlace: the forward pass goes a way that no batch went before.
            Coincidence: it is not known what in this batch is records.
        """
        parameters, size = trained(model), records_in(batch)
        tape = Tape(size, self._places, self.rows_only)
        with torch.enable_grad(), tape.recording(model, parameters):
            with self._places.counting():
                total = checked(losses(model, batch), size).sum()
            with in_single(model):
                if total.requires_grad:
                    total.backward()  # type: ignore[no-untyped-call]
                found = tape.gradients()
                return {
                    name: merged(found[name]) if name in found else none(parameter, size)
                    for name, parameter in parameters.items()
                }

    def learn(self, model: nn.Module, losses: Losses, batch: Any) -> None:
        """Note which calls see records, from the forward passes of ``batch`` and of one record more."""
        for size in (records_in(batch), records_in(batch) + 1):
            records = [*range(records_in(batch)), 0][:size]
            tape = Tape(size, self._places)
            with torch.enable_grad(), self._places.learning(), tape.recording(model, trained(model)):
                losses(model, some_records(batch, records))


def alone(model: nn.Module, losses: Losses, one: Any) -> dict[str, Gradient]:
    """One record, by plain autograd: the gradients of the parameters that its loss depends on."""
    parameters = trained(model)
    with torch.enable_grad():
        loss = checked(losses(model, one), 1).sum()
        grads = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return {
        name: Rows(single(grad).unsqueeze(0))
        for name, grad in zip(parameters, grads, strict=True)
        if grad is not None
    }


def in_single(model: nn.Module) -> torch.autocast:
    """Products within this are not taken in half precision, whatever the forward pass was: a norm that is
    2**-8 off would be no bound."""
    return torch.autocast(next(model.parameters()).device.type, enabled=False)


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that require a gradient, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def none(parameter: nn.Parameter, size: int) -> Gradient:
    """The gradients of records that a parameter has no part in."""
    return Rows(torch.zeros((), device=parameter.device).expand(size, *parameter.shape))


def checked(losses: Any, size: int) -> torch.Tensor:
    """The losses, if they are one a record; raises ``UnsafeParameters`` otherwise."""
    if not torch.is_tensor(losses) or tuple(losses.shape) != (size,):
        came = f"a tensor of shape {tuple(losses.shape)}" if torch.is_tensor(losses) else repr(type(losses))
        raise UnsafeParameters(
            f"the losses of {size} records came as {came}, not as one number a record",
            hint="return a tensor of shape (records,): no sum and no mean over the batch",
        )
    return losses

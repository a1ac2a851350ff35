"""The trial: on a first batch, that a record's gradient is the same alone and whatever is beside it.

It learns which calls see records, and it finds what would otherwise be silent: a loss averaged over the
tokens of the batch, a prompt whose gradient arrives for the whole batch at once, records that see each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fedpriv.errors import UnsafeParameters
from fedpriv.training.per_record.batches import all_alike, records_in, some_records
from fedpriv.training.per_record.ways import alone, checked, trained
from fedpriv.training.task import evaluating

if TYPE_CHECKING:
    from fedpriv.training.per_record.ways import Losses, Way

__all__ = ["beside", "compare", "tolerance_of", "trial", "undisturbed"]

# Single-precision results of batches of other shapes differ by about 1e-6; half-precision ones by 1e-2.  A
# coupling is of the order of 1.
_SINGLE, _HALF = 1e-3, 1e-1


def trial(model: nn.Module, losses: Losses, batch: Any, way: Way | None) -> bool:
    """Try the records of ``batch`` together and each alone, with dropout off; the model is left as it was.

    Args:
        way: what gives the gradients of a whole batch; ``None`` where records go one by one anyway, and only
            their losses are tried.

    Returns:
        see `compare`.

    Raises:
        UnsafeParameters: see `compare`.
    """
    with evaluating(model), _away_from_zero(model):
        return compare(model, losses, batch, way)


def compare(model: nn.Module, losses: Losses, batch: Any, way: Way | None) -> bool:
    """See that each record's loss, and its gradient by ``way``, is the same in the batch and alone.

    Returns:
        whether this batch could have shown a difference: records of it differ, and all numbers are finite.

    Raises:
        UnsafeParameters: it is not, the losses are not one a record, or something trained has no part in it.
    """
    size, tolerance = records_in(batch), tolerance_of(model)
    told = not all_alike(batch)
    with torch.enable_grad():
        found = checked(losses(model, batch), size)
        if not found.requires_grad:
            raise UnsafeParameters(
                "no trained parameter has a part in the losses",
                hint="attach the adapter to modules that the forward pass uses; keep the losses' graph",
            )
        values = found.detach().double()
        del found
        together = {} if way is None else way(model, losses, batch)
        unused = set(trained(model))
        for record in range(size):
            one = some_records(batch, [record])
            value = float(checked(losses(model, one), 1).detach().double())
            told &= _agree(float(values[record]) - value, abs(value), tolerance, "the loss")
            single = alone(model, losses, one)
            unused -= set(single)
            whole = math.sqrt(sum(float(gradient.squares()) for gradient in single.values()))
            for name, gradient in together.items():
                row = gradient.row(record).double()
                gap = row - single[name].row(0).double() if name in single else row
                told &= _agree(float(gap.norm()), whole, tolerance, f"the gradient of {name!r}")
        if unused:
            raise UnsafeParameters(
                f"{min(unused)!r} is trained and takes no part in the losses",
                hint="freeze it (requires_grad_(False)): it would be given noise and nothing else",
            )

    return told


def beside(model: nn.Module, losses: Losses, batch: Any, way: Way | None) -> None:
    """See that a record's loss and gradient are the same beside another record and beside a copy of itself.

    In the mode that the model is in, with the same random draws both times: a module may mix records in
    training alone.

    Raises:
        UnsafeParameters: they are not.
    """
    tolerance, found = tolerance_of(model), []
    for pair in ([0, -1], [0, 0]):
        two = some_records(batch, pair)
        with undisturbed(model), torch.enable_grad():
            torch.manual_seed(0)
            value = float(checked(losses(model, two), 2)[0].detach().double())
            torch.manual_seed(0)
            rows = {} if way is None else way(model, losses, two)
        found.append((value, {name: gradient.row(0).double() for name, gradient in rows.items()}))
    (value, rows_beside), (copy, rows_copied) = found
    _agree(value - copy, abs(copy), tolerance, "the loss")
    whole = math.sqrt(sum(float(row.square().sum()) for row in rows_copied.values()))
    for name, row in rows_copied.items():
        _agree(float((rows_beside[name] - row).norm()), whole, tolerance, f"the gradient of {name!r}")


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Passes within this, in training mode too, move neither buffers nor the state of the random numbers."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    device = next(model.parameters()).device
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                if not torch.equal(buffer, before):  # a write counts as a change, whatever is written
                    buffer.copy_(before)


def _agree(gap: float, size: float, tolerance: float, what: str) -> bool:
    """Whether there is seen to be no gap; where the record's own ``size`` is not finite, nothing is seen."""
    if not math.isfinite(size):
        return False
    if not abs(gap) <= tolerance * size + 1e-5:
        raise UnsafeParameters(
            f"{what} of a record in a batch is not that of the record alone",
            hint="the loss is averaged over the batch, or the model mixes records: give one loss a record, "
            "each over its own tokens",
        )
    return True


def tolerance_of(model: nn.Module) -> float:
    """By how much, relative, numbers may differ in batches of other shapes."""
    half = (torch.float16, torch.bfloat16)
    device = next(model.parameters()).device.type
    return (
        _HALF
        if torch.is_autocast_enabled(device) or any(p.dtype in half for p in model.parameters())
        else _SINGLE
    )


@contextmanager
def _away_from_zero(model: nn.Module) -> Iterator[None]:
    """Trained parameters that are all zero, as LoRA's B at the start, are small numbers within this.

    At zero the gradients of what they are multiplied with are zero too, and nothing would be tried of them.
    """
    zero = [p for p in model.parameters() if p.requires_grad and not bool(p.detach().any())]
    try:
        with torch.no_grad():
            for p in zero:
                waves = torch.arange(p.numel(), dtype=torch.float32, device=p.device).mul_(0.7).sin_()
                p.copy_(waves.mul_(0.02).reshape(p.shape))
        torch.clear_autocast_cache()  # it keeps copies in half precision, and does not see them go stale
        yield
    finally:
        with torch.no_grad():
            for p in zero:
                p.zero_()
        torch.clear_autocast_cache()

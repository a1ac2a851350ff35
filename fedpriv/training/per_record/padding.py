"""Padding: what a record is padded with depends on the longest record beside it, so it must not matter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fedpriv.errors import UnsafeParameters
from fedpriv.training.per_record.batches import some_records
from fedpriv.training.per_record.ways import checked
from fedpriv.training.task import evaluating

if TYPE_CHECKING:
    from fedpriv.training.per_record.ways import Losses

__all__ = ["see_padding"]


def see_padding(model: nn.Module, losses: Losses, batch: Any, tolerance: float) -> bool:
    """See that the loss of a padded record of ``batch`` is the same without its padding.

    Only a mapping with a two-dimensional ``attention_mask`` says what is padded.

    Returns:
        whether there was a padded record.

    Raises:
        UnsafeParameters: the padding matters.
    """
    mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
    if not torch.is_tensor(mask) or mask.dim() != 2:
        return False
    padded = ((mask == 0).any(1) & (mask != 0).any(1)).nonzero().flatten()
    if not len(padded):
        return False
    one = some_records(batch, [int(padded[0])])
    kept = mask[padded[0]] != 0
    # Of a model of pairs the mask is about one side only.
    decoded = bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))
    short = {
        key: value[:, kept]
        if torch.is_tensor(value)
        and value.dim() >= 2
        and value.shape[1] == len(kept)
        and not (decoded and (key == "labels" or key.startswith("decoder")))
        else value
        for key, value in one.items()
    }
    with evaluating(model), torch.no_grad():
        long, alone = (float(checked(losses(model, records), 1).double()) for records in (one, short))
    if abs(long - alone) > tolerance * abs(alone) + 1e-5:
        raise UnsafeParameters(
            "the loss of a record depends on how far it is padded: on the longest record of its batch",
            hint="pad on the right, pass position_ids, leave padding out of the loss (-100), and find the "
            "last token from the mask",
        )
    return True

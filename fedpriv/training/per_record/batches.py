"""Batches of any collator: how many records one holds, and some of them as a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from fedpriv.errors import UsageError

__all__ = ["all_alike", "records_in", "some_records"]


def records_in(batch: Any) -> int:
    """The number of records: the first dimension that all tensors and arrays of the batch share.

    Raises:
        UsageError: the batch holds no tensor, or their first dimensions differ.

    >>> records_in({"input_ids": torch.zeros(4, 9), "labels": torch.zeros(4)})
    4
    """
    sizes = {len(value) for value in _arrays(batch)}
    if len(sizes) != 1:
        raise UsageError(
            f"a batch's tensors have first dimensions {sorted(sizes)}",
            hint="let the first dimension of each be the records",
        )
    return sizes.pop()


def some_records(batch: Any, indices: list[int]) -> Any:
    """The records at ``indices`` of a batch, as a batch of the same form; one may be taken twice."""
    if torch.is_tensor(batch):
        return batch[torch.as_tensor(indices, device=batch.device)] if batch.dim() else batch
    if isinstance(batch, np.ndarray):
        return batch[indices]
    if isinstance(batch, Mapping):
        return {key: some_records(value, indices) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        items = [some_records(value, indices) for value in batch]
        return items if isinstance(batch, list) else tuple(items)
    return batch


def all_alike(batch: Any) -> bool:
    """Whether every record of the batch is the same, so that nothing can be seen of one in another."""
    return not any(bool((array != array[:1]).any()) for array in _arrays(batch))


def _arrays(batch: Any) -> list[Any]:
    if torch.is_tensor(batch) or isinstance(batch, np.ndarray):
        return [batch] if batch.ndim else []
    if isinstance(batch, Mapping):
        return [array for value in batch.values() for array in _arrays(value)]
    if isinstance(batch, tuple | list):
        return [array for value in batch for array in _arrays(value)]
    return []

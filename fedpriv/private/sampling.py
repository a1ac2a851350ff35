"""Poisson samples of a data set, and the micro-batches that a sample is computed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedpriv import dp
from fedpriv.errors import UsageError
from fedpriv.private.canonical import Records

__all__ = ["PoissonBatch", "Sampler", "length", "onto"]


class PoissonBatch:
    """One step's sample: each record is in it independently; it may be empty.  Its size is private.

    Attributes:
        items: the records, as the data set gives them.
        step: the number that the ledger reserved for it, ``None`` before.
    """

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items
        self.step: int | None = None

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        return "PoissonBatch(…)"

    def micro_batches(self, size: int) -> Iterator[Sequence[Any]]:
        """The records, at most ``size`` at a time, of similar length where they have ``input_ids``.

        Which records are in was decided before, so the order changes nothing that is accounted for.
        """
        items = sorted(self.items, key=length)
        for start in range(0, len(items), size):
            yield items[start : start + size]


def length(item: Any) -> int:
    """A record's tokens, where it says how many: 0 for an image."""
    return len(item["input_ids"]) if isinstance(item, Mapping) and "input_ids" in item else 0


class Sampler:
    """Draws Poisson samples of a map-style data set.

    Args:
        records: the data set; read in this process.
        rate: probability of each record, rounded down to a multiple of 2^-64.

    Attributes:
        count: how many records there are, which noise, ledger and divisor were made for.
    """

    def __init__(self, records: Records, rate: float) -> None:
        self.records = records
        self.rate = rate
        self.count = len(records)

    def draw(self, words: dp.Words) -> PoissonBatch:
        """A fresh sample.

        Raises:
            UsageError: the data set is no longer as long as it was.
        """
        if len(self.records) != self.count:
            raise UsageError(
                f"the data set has {len(self.records)} records, and had {self.count} when the run was "
                "planned",
                hint="leave it as it is while the run goes on; what is added needs a run of its own",
            )
        return PoissonBatch(self.read(dp.poisson_sample(len(self.records), self.rate, words)))

    def read(self, indices: NDArray[np.int64]) -> list[Any]:
        """The records at ``indices``, at once where the data set offers it."""
        wanted = [int(index) for index in indices]
        at_once: Callable[[list[int]], list[Any]] | None = getattr(self.records, "__getitems__", None)
        if at_once is not None and wanted:
            return list(at_once(wanted))
        return [self.records[index] for index in wanted]


def onto(batch: Any, device: torch.device) -> Any:
    """A collated batch with its tensors on ``device``; mappings become dicts."""
    if torch.is_tensor(batch):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {key: onto(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(onto(value, device) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(onto(value, device) for value in batch)
    if isinstance(batch, str | bytes | int | float | bool | np.ndarray) or batch is None:
        return batch
    raise UsageError(
        f"the collator gave a {type(batch).__name__}",
        hint="let it give tensors, or dicts or lists of tensors",
    )

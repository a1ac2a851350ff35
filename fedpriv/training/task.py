"""A task: what a record is to a model, what the loss of one record is, and how a model is judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import nn

    from fedpriv.data import Content
    from fedpriv.training.metrics import Judgement, Metrics
    from fedpriv.training.prefix import FrozenPrefix

__all__ = ["Records", "Task", "by_length", "evaluating"]


class Records(Protocol):
    """Records in the form that a model takes them in, without padding; equal to itself only."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """The class of each record, shape (n,); zeros where the task has no classes."""

    @property
    def lengths(self) -> NDArray[np.int64] | None:
        """Positions of each record, shape (n,); ``None`` where all have as many, as images."""

    def __len__(self) -> int: ...

    def inputs(self, indices: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """The model's keyword arguments for the records at ``indices``, shape (b, ...) each, on the CPU.

        They are padded on the right to the longest of these records; a record's own part depends on no other.
        """

    def digest(self) -> str:
        """SHA-256, in hex, over all that the model is given of the records."""


class Task(Protocol):
    """What training, evaluation and audits need to know of a model's task."""

    model: nn.Module
    prefixes: dict[Records, FrozenPrefix]
    """Hidden states that are known already; empty unless ``keep_prefixes`` found something to keep."""

    def encode(self, contents: Sequence[Content], labels: Sequence[int] | NDArray[np.int64]) -> Records:
        """What the records hold, and their classes, in the model's form.

        Raises ``DataError`` where a content is not of the task's kind, or a label is out of range.
        """

    def probe(self) -> Records:
        """Two made-up records that differ, to try an engine on before it sees a real one."""

    def inputs(self, records: Records, indices: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """What the model is called with for the records at ``indices``, on its device."""

    def losses(self, records: Records, indices: NDArray[np.int64]) -> torch.Tensor:
        """The loss of each record at ``indices``, shape (b,), float32, with its graph; none depends on
        another record."""

    def judge(self, records: Records, *, batch: int = 64) -> Judgement:
        """How the model does on each record, in evaluation mode."""

    def evaluate(self, records: Records, *, batch: int = 64) -> Metrics:
        """The same over all records; ``DataError`` where there is none."""


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode; each gets its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def by_length(records: Records, indices: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """``indices`` in batches of ``size`` records of similar length, so that little is padded.

    Only the order changes: which records are in is what the sampler decided.
    """
    lengths = records.lengths
    ordered = indices if lengths is None else indices[np.argsort(lengths[indices], kind="stable")]
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]

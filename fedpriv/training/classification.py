"""Classification: one label for each record, whatever the record is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import DataError, UsageError
from fedpriv.training.metrics import Judgement, Metrics
from fedpriv.training.task import Records, by_length, evaluating

if TYPE_CHECKING:
    import torch
    from torch import nn

    from fedpriv.training.prefix import FrozenPrefix

__all__ = ["Classification"]


class Classification:
    """One label for each record; its loss is the cross-entropy, which depends on no other record.

    What a record is, a subclass says by ``encode`` and ``probe`` (:class:`~fedpriv.training.task.Task`).
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.classes = int(model.config.num_labels)  # type: ignore[union-attr, arg-type]
        self.prefixes: dict[Records, FrozenPrefix] = {}

    def inputs(self, records: Records, indices: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """What the model is called with for the records at ``indices``, on its device."""
        device = next(self.model.parameters()).device
        return {name: tensor.to(device) for name, tensor in records.inputs(indices).items()}

    def losses(self, records: Records, indices: NDArray[np.int64]) -> torch.Tensor:
        """The loss of each record at ``indices``, shape (b,), float32, with its graph."""
        import torch

        logits = self.logits(records, indices)
        labels = torch.from_numpy(records.labels[indices]).to(logits.device)
        return torch.nn.functional.cross_entropy(logits, labels, reduction="none")

    def logits(self, records: Records, indices: NDArray[np.int64]) -> torch.Tensor:
        """Shape (b, classes), float32, from the first trained block on where what it is given is kept."""
        prefix = self.prefixes.get(records)
        with nullcontext() if prefix is None else prefix.standing_in(indices):
            output = self.model(**self.inputs(records, indices))
        logits: torch.Tensor = output.logits
        return logits.float()

    def predict(self, records: Records, *, batch: int = 64) -> NDArray[np.float64]:
        """Logits of all records in their order, shape (n, classes), in evaluation mode."""
        import torch

        from fedpriv.training.matmul import fast_linear

        if batch < 1:
            raise UsageError(f"a batch must hold at least one record, not {batch}")
        result = np.zeros((len(records), self.classes))
        with fast_linear(), evaluating(self.model), torch.no_grad():
            for rows in by_length(records, np.arange(len(records)), batch):
                result[rows] = self.logits(records, rows).to("cpu", torch.float64).numpy()
        return result

    def judge(self, records: Records, *, batch: int = 64) -> Judgement:
        """How the model does on each record, in evaluation mode."""
        logits, labels = self.predict(records, batch=batch), records.labels
        top = logits.max(axis=1, keepdims=True)
        normaliser = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
        return Judgement(
            losses=normaliser - logits[np.arange(len(labels)), labels],
            right=(logits.argmax(axis=1) == labels).astype(np.int64),
            guesses=np.ones(len(labels), dtype=np.int64),
            labels=labels,
            classes=self.classes,
        )

    def evaluate(self, records: Records, *, batch: int = 64) -> Metrics:
        """Accuracy, mean loss and recall, in evaluation mode; ``DataError`` where there is no record."""
        return self.judge(records, batch=batch).metrics()

    def _classes_of(
        self, labels: Sequence[int] | NDArray[np.int64], count: int, what: str
    ) -> NDArray[np.int64]:
        """``labels`` of so many records as class numbers; ``DataError`` where they are not."""
        classes = np.asarray(labels, dtype=np.int64).reshape(-1)
        if count != len(classes):
            raise DataError(f"{count} {what} came with {len(classes)} labels")
        if classes.size and not (classes.min() >= 0 and classes.max() < self.classes):
            raise DataError(f"a label is not a class number between 0 and {self.classes - 1}")
        return classes

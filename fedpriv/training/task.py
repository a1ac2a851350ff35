"""A task: how records become tokens, what the loss of one record is, and how a model is judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import DataError, UsageError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from fedpriv.training.prefix import FrozenPrefix


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """Tokenised records, without padding.

    ``tokens``: int32, the token ids of all records, one after the other; ``offsets``: int64, shape (n + 1,),
    where each begins; ``labels``: int64, shape (n,).
    """

    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each record, shape (n,)."""
        return np.diff(self.offsets)

    def take(self, indices: NDArray[np.int64]) -> Encoded:
        """The records at ``indices``, in that order."""
        lengths = self.lengths[indices]
        pieces = [self.tokens[self.offsets[i] : self.offsets[i + 1]] for i in indices]
        tokens = np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int32)
        return Encoded(
            tokens, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), self.labels[indices]
        )

    def padded(self, indices: NDArray[np.int64], pad: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token ids and mask of shape (b, longest), padded on the right to the longest of these records."""
        lengths = self.lengths[indices]
        mask = np.arange(int(lengths.max(initial=0)))[None, :] < lengths[:, None]
        ids = np.full(mask.shape, pad, dtype=np.int64)
        ids[mask] = self.tokens[(self.offsets[indices][:, None] + np.arange(mask.shape[1]))[mask]]
        return ids, mask.astype(np.int64)


@dataclass(frozen=True, slots=True)
class Metrics:
    """How a model does on held-out records: accuracy, mean loss in nats, their number, and recall by class.

    ``recall[k]`` is ``None`` where no record has class k.
    """

    accuracy: float
    loss: float
    n: int
    recall: tuple[float | None, ...] = ()


class SequenceClassification:
    """One label for each text; the loss of a record is its cross-entropy, which depends on no other
    record."""

    def __init__(self, model: nn.Module, tokenizer: Any, max_length: int) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.classes = int(model.config.num_labels)  # type: ignore[union-attr, arg-type]
        self._pad = int(tokenizer.pad_token_id)
        self.prefixes: dict[Encoded, FrozenPrefix] = {}
        """Hidden states that are known already; empty unless ``keep_prefixes`` found something to keep."""

    def encode(self, texts: Sequence[str], labels: Sequence[int] | NDArray[np.int64]) -> Encoded:
        """Texts cut to ``max_length`` tokens; labels are class numbers.

        Raises ``DataError`` where a text is no string, the numbers of texts and labels differ, or a label is
        out of range.
        """
        if not all(isinstance(text, str) for text in texts):
            raise DataError("a text is not a string", hint="drop the records without a text")
        classes = np.asarray(labels, dtype=np.int64).reshape(-1)
        if len(texts) != len(classes):
            raise DataError(f"{len(texts)} texts came with {len(classes)} labels")
        if classes.size and not (classes.min() >= 0 and classes.max() < self.classes):
            raise DataError(f"a label is not a class number between 0 and {self.classes - 1}")
        rows: list[list[int]] = []
        if texts:
            rows = self.tokenizer(list(texts), truncation=True, max_length=self.max_length)["input_ids"]
        # A text of which the tokenizer leaves nothing is one padding token, so that it has a position to
        # read.
        rows = [row or [self._pad] for row in rows]
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        tokens = np.fromiter((token for row in rows for token in row), dtype=np.int32, count=int(offsets[-1]))
        return Encoded(tokens, offsets, classes)

    def losses(self, encoded: Encoded, indices: NDArray[np.int64]) -> torch.Tensor:
        """The loss of each record, shape (b,), float32, with its graph; records at ``indices``, padded
        together."""
        import torch

        logits = self.logits(encoded, indices)
        labels = torch.from_numpy(encoded.labels[indices]).to(logits.device)
        return torch.nn.functional.cross_entropy(logits, labels, reduction="none")

    def inputs(self, encoded: Encoded, indices: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """What the model is called with for records at ``indices``: int64 ids and mask, (b, longest)."""
        import torch

        ids, mask = encoded.padded(indices, self._pad)
        device = next(self.model.parameters()).device
        return {
            "input_ids": torch.from_numpy(ids).to(device),
            "attention_mask": torch.from_numpy(mask).to(device),
        }

    def logits(self, encoded: Encoded, indices: NDArray[np.int64]) -> torch.Tensor:
        """Shape (b, classes), float32, from the first trained block on where what it is given is kept."""
        prefix = self.prefixes.get(encoded)
        with nullcontext() if prefix is None else prefix.standing_in(indices):
            output = self.model(**self.inputs(encoded, indices))
        logits: torch.Tensor = output.logits
        return logits.float()

    def evaluate(self, encoded: Encoded, *, batch: int = 64) -> Metrics:
        """Accuracy, mean loss and recall, in evaluation mode; ``DataError`` where there is no record."""
        if not len(encoded):
            raise DataError("there is no record to evaluate on")
        logits = self.predict(encoded, batch=batch)
        top = logits.max(axis=1, keepdims=True)
        normaliser = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
        loss = normaliser - logits[np.arange(len(encoded)), encoded.labels]
        right = logits.argmax(axis=1) == encoded.labels
        recall = tuple(
            float(right[of_class].mean()) if (of_class := encoded.labels == k).any() else None
            for k in range(self.classes)
        )
        return Metrics(float(right.mean()), float(loss.mean()), len(encoded), recall)

    def predict(self, encoded: Encoded, *, batch: int = 64) -> NDArray[np.float64]:
        """Logits of all records in their order, shape (n, classes), in evaluation mode."""
        import torch

        if batch < 1:
            raise UsageError(f"a batch must hold at least one record, not {batch}")
        result = np.zeros((len(encoded), self.classes))
        with evaluating(self.model), torch.no_grad():
            for rows in by_length(encoded, np.arange(len(encoded)), batch):
                result[rows] = self.logits(encoded, rows).to("cpu", torch.float64).numpy()
        return result


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


def by_length(encoded: Encoded, indices: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """``indices`` in batches of ``size`` records of similar length, so that little is padded.

    Only the order changes: which records are in is what the sampler decided.
    """
    ordered = indices[np.argsort(encoded.lengths[indices], kind="stable")]
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def majority(labels: NDArray[np.int64]) -> float:
    """Accuracy of the constant guess that is best on these labels.

    >>> majority(np.array([0, 1, 1, 2]))
    0.5

    Raises ``DataError`` where there is no label.
    """
    if not labels.size:
        raise DataError("there is no label to take the majority of")
    return float(np.bincount(labels).max() / labels.size)

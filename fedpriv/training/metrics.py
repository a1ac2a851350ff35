"""How a model does on held-out records: each of them, and all together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import DataError

__all__ = ["Judgement", "Metrics", "majority", "perplexity_of"]


@dataclass(frozen=True, slots=True)
class Metrics:
    """How a model does on some records.

    Attributes:
        accuracy: share of right guesses: of classes, or of next tokens.
        loss: mean loss of a guess, in nats.
        n: number of records.
        recall: by class, ``None`` where no record has it; empty where the task has no classes.
        perplexity: of a language model, ``exp(loss)``; ``None`` for other tasks.
    """

    accuracy: float
    loss: float
    n: int
    recall: tuple[float | None, ...] = ()
    perplexity: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """How a model does on each record, all arrays of shape (n,).

    Attributes:
        losses: float64, summed over the record's guesses, in nats.
        right: how many of its guesses are right.
        guesses: how many there are: 1 where a record has a class, else its tokens that are predicted.
        labels: the records' classes.
        classes: number of classes; 0 for a language model.
    """

    losses: NDArray[np.float64]
    right: NDArray[np.int64]
    guesses: NDArray[np.int64]
    labels: NDArray[np.int64]
    classes: int

    def metrics(self, of: NDArray[np.int64] | None = None) -> Metrics:
        """The metrics of the records at ``of``, or of all.

        >>> judged = Judgement(np.array([0.5, 1.5]), np.array([1, 0]), np.ones(2), np.array([0, 1]), 2)
        >>> judged.metrics()
        Metrics(accuracy=0.5, loss=1.0, n=2, recall=(1.0, 0.0), perplexity=None)

        Raises:
            DataError: there is no record.
        """
        rows = np.arange(len(self.labels)) if of is None else of
        if not len(rows):
            raise DataError("there is no record to evaluate on")
        guesses = self.guesses[rows].sum()
        loss = float(self.losses[rows].sum() / guesses)
        labels, right = self.labels[rows], self.right[rows]
        recall = tuple(
            float(right[of_class].mean()) if (of_class := labels == k).any() else None
            for k in range(self.classes)
        )
        perplexity = None if self.classes else perplexity_of(loss)
        return Metrics(float(right.sum() / guesses), loss, len(rows), recall, perplexity)


def perplexity_of(loss: float) -> float:
    """The perplexity of a language model with a mean loss in nats: its exponential.

    >>> perplexity_of(0.0)
    1.0
    """
    return math.exp(min(loss, 700.0))  # beyond it exp overflows, and the model is wrong beyond comparing


def majority(labels: NDArray[np.int64]) -> float:
    """Accuracy of the constant guess that is best on these labels.

    >>> majority(np.array([0, 1, 1, 2]))
    0.5

    Raises ``DataError`` where there is no label.
    """
    if not labels.size:
        raise DataError("there is no label to take the majority of")
    return float(np.bincount(labels).max() / labels.size)

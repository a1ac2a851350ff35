"""One client's own training between two sums: several steps from the shared model, and how far they led.

Nothing here is private by itself.  What is handed out is one vector for a whole client, which the caller
bounds in norm and covers with noise (protocols/dp/spec.md, section 11).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UsageError
from fedpriv.peft import Manifest
from fedpriv.training.frozen import FrozenWeights
from fedpriv.training.task import Records, Task, evaluating

if TYPE_CHECKING:
    import torch
    from torch import nn

LOCAL_OPTIMIZERS = ("sgd",)


class LocalTraining:
    """Plain SGD on one client's records, for ``steps`` batches or for ``epochs`` passes.

    The whole model is in evaluation mode, as it is for per-record gradients: no dropout, stored statistics.
    Between calls the model holds whatever the last call left in its trained parameters; ``manifest.restore``
    them before using it for anything else.

    Raises ``UsageError`` on an unknown optimiser, a rate, batch or number of steps that is not positive, or
    unless exactly one of ``steps`` and ``epochs`` is given.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        manifest: Manifest,
        *,
        learning_rate: float,
        batch: int,
        steps: int | None = None,
        epochs: int | None = None,
        optimizer: str = "sgd",
    ) -> None:
        if optimizer not in LOCAL_OPTIMIZERS:
            raise UsageError(
                f"{optimizer!r} is not a local optimizer", hint=f"choose {' or '.join(LOCAL_OPTIMIZERS)}"
            )
        if not (math.isfinite(learning_rate) and learning_rate > 0):
            raise UsageError(f"the local learning rate must be positive, not {learning_rate}")
        if (steps is None) == (epochs is None):
            raise UsageError("local training takes either a number of steps or a number of epochs")
        for what, number in (("batch", batch), ("steps", steps), ("epochs", epochs)):
            if number is not None and number < 1:
                raise UsageError(f"the local {what} must be at least 1, not {number}")
        if task.model is not model:
            raise UsageError("the task is about another model", hint="make the task from the attached model")
        self.model = model
        self.task = task
        self.manifest = manifest
        self.learning_rate = learning_rate
        self.batch = batch
        self.steps = steps
        self.epochs = epochs
        self.dropped = 0
        """Updates that were not finite, and so counted as zero, since this object was made."""
        self._parameters = manifest.parameters(model)
        self._frozen = FrozenWeights.of(model, manifest)

    def update(
        self,
        encoded: Records,
        indices: NDArray[np.int64],
        start: NDArray[np.float32],
        rng: np.random.Generator,
        moves: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float64]:
        """Train from ``start`` on the records at ``indices`` and return how far the parameters moved.

        Args:
            encoded: all records.
            indices: the client's own; none gives a vector of zeros.
            start: float32, shape ``(manifest.size,)``.
            rng: the order of the records.
            moves: the coordinates that the steps may change, shape ``(manifest.size,)``; all, if not given.

        Returns:
            trained minus start, float64, shape ``(manifest.size,)``, of any length, zero where nothing moves;
            zeros, counted in ``dropped``, where training ran into a value that is not finite.
        """
        import torch

        from fedpriv.training.matmul import fast_linear

        rows = np.asarray(indices, dtype=np.int64).reshape(-1)
        if rows.size and not (rows.min() >= 0 and rows.max() < len(encoded)):
            raise UsageError(f"an index is outside the {len(encoded)} records")
        self.manifest.restore(self.model, start)
        moving = self._moving(moves)
        parameters = [parameter for parameter, _ in moving]
        with fast_linear(), evaluating(self.model):
            for batch in self._batches(rows, rng):
                with torch.enable_grad():
                    loss = self.task.losses(encoded, batch).mean()
                    gradients = torch.autograd.grad(loss, parameters)
                with torch.no_grad():
                    for (parameter, mask), gradient in zip(moving, gradients, strict=True):
                        step = gradient if mask is None else torch.where(mask, gradient, 0.0)
                        parameter.sub_(step, alpha=self.learning_rate)
        moved = self.manifest.flatten(self.model).astype(np.float64) - start
        if not np.isfinite(moved).all():
            self.dropped += 1
            return np.zeros(self.manifest.size)
        return moved

    def verify_frozen(self) -> None:
        """Raises ``IntegrityError``, naming it, where a weight that is not trained has moved."""
        self._frozen.verify(self.model)

    def _moving(self, moves: NDArray[np.bool_] | None) -> list[tuple[nn.Parameter, torch.Tensor | None]]:
        """The parameters that steps change, each with the coordinates that may move (``None``: all)."""
        import torch

        if moves is None:
            return [(parameter, None) for parameter in self._parameters]
        found: list[tuple[nn.Parameter, torch.Tensor | None]] = []
        for parameter, entry, start in zip(
            self._parameters, self.manifest.entries, self.manifest.offsets, strict=True
        ):
            own = moves[start : start + entry.size]
            if own.any():
                mask = torch.from_numpy(own.reshape(entry.shape).copy()).to(parameter.device)
                found.append((parameter, None if own.all() else mask))
        return found

    def _batches(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        """Batches of shuffled records, a new order for each pass, until the steps or the passes are over."""
        if not rows.size:
            return
        done, passes = 0, 0
        while (self.steps is not None and done < self.steps) or (
            self.epochs is not None and passes < self.epochs
        ):
            order = rng.permutation(rows)
            for first in range(0, len(order), self.batch):
                if done == self.steps:
                    return
                yield order[first : first + self.batch]
                done += 1
            passes += 1

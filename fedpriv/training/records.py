"""Clipped per-record gradients of the trained parameters.

``per_record`` computes them in one backward pass for a micro-batch; this module puts them into the manifest's
order.

Coupling.  The loss is the *sum* of the records' losses, so no record's gradient is scaled by how many others
were sampled.  The whole model is in evaluation mode: dropout is off whatever the architecture calls it.  What
remains is rounding: how a micro-batch is padded may move a gradient by up to about 1e-6 of its length.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UsageError
from fedpriv.peft import Coordinates, Manifest
from fedpriv.training.clipped_records import ClippedRecords
from fedpriv.training.task import Records, Task, evaluating

if TYPE_CHECKING:
    import torch
    from torch import nn

ENGINES = ("direct", "one-by-one", "opacus")


class RecordGradients(ClippedRecords):
    """Per-record gradients of ``model``'s trained parameters, each clipped to an l2 norm of at most ``clip``.

    ``micro_batch`` is the number of records in one backward pass: it bounds memory (about ``micro_batch *
    manifest.size`` floats beside the activations) and changes no result beyond rounding.

    Raises, beside what ``ClippedRecords`` does, ``UnsafeParameters`` where a trained parameter has no exact
    per-record gradient here.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        manifest: Manifest,
        *,
        clip: float,
        micro_batch: int = 32,
        engine: str = "direct",
    ) -> None:
        from fedpriv.training.per_record import PerRecordGradients

        if engine not in ENGINES:
            raise UsageError(f"{engine!r} is not a gradient engine", hint=f"choose {' or '.join(ENGINES)}")
        super().__init__(model, task, manifest, clip=clip, micro_batch=micro_batch)
        self._encoded: Records = task.probe()
        self._engine = PerRecordGradients(model, self._losses, way=engine)
        whole = Coordinates(manifest.size, manifest.size)
        self._per_record(self._encoded, np.array([0, 1]), whole)  # refused now, if at all

    def _per_record(self, encoded: Records, batch: NDArray[np.int64], within: Coordinates) -> torch.Tensor:
        """Gradients before clipping, shape (b, within.width), float32, on the CPU."""
        import torch

        self._encoded = encoded
        pieces = dict(within.pieces(self.manifest))
        with evaluating(self.model), self._training_only(set(pieces)):
            found = self._engine.rows(batch)
        rows = torch.zeros((len(batch), within.width), dtype=torch.float32)
        for name, (begin, inside) in pieces.items():
            gradients = found[name].reshape(len(batch), -1)
            if inside is not None:
                gradients = gradients[:, torch.from_numpy(inside)]
            rows[:, begin : begin + gradients.shape[1]] = gradients
        if within.carried is not None:
            own = rows[:, : within.count]
            own[:, torch.from_numpy(~within.carried)] = 0.0
        return rows

    @contextmanager
    def _training_only(self, names: set[str]) -> Iterator[None]:
        """Spare the gradients of parameters that no coordinate is of."""
        others = [
            parameter
            for entry, parameter in zip(
                self.manifest.entries, self.manifest.parameters(self.model), strict=True
            )
            if entry.name not in names
        ]
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in others:
                parameter.requires_grad_(True)

    def _losses(self, model: nn.Module, batch: NDArray[np.int64]) -> torch.Tensor:
        return self.task.losses(self._encoded, batch)

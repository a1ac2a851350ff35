"""Slopes of each record's loss along public directions, from forward passes alone.

Coupling.  A slope is a small difference of two losses over a small step, which makes a last place that moved
in a loss thousands of times as large: far more than what a record's presence may do to the others
(``protocols/dp/spec.md``, 2.5 and 2.7).  So each record is computed alone and without padding, and its slopes
are a function of the record and the weights to the bit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UsageError
from fedpriv.peft import Coordinates, Directions, Manifest
from fedpriv.training.clipped_records import ClippedRecords
from fedpriv.training.task import Records, Task, evaluating

if TYPE_CHECKING:
    import torch
    from torch import nn


class RecordSlopes(ClippedRecords):
    """How each record's loss changes along the directions of a round (``Directions``), clipped.

    Along direction z the slope is (loss(w + h z) - loss(w - h z)) / 2h, with h the ``perturbation``, over the
    square root of the number of directions (Spall, 1992; Malladi et al., 2305.17333).  Memory is that of
    inference and one copy of what is trained.

    Raises what ``ClippedRecords`` does, and ``UsageError`` on a perturbation that is not positive.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        manifest: Manifest,
        *,
        clip: float,
        perturbation: float,
        micro_batch: int = 32,
    ) -> None:
        if not (math.isfinite(perturbation) and perturbation > 0):
            raise UsageError(f"the perturbation must be positive, not {perturbation}")
        super().__init__(model, task, manifest, clip=clip, micro_batch=micro_batch)
        self.perturbation = perturbation

    def _per_record(self, encoded: Records, batch: NDArray[np.int64], within: Coordinates) -> torch.Tensor:
        import torch

        from fedpriv.training.matmul import fast_linear

        if not isinstance(within, Directions):
            raise UsageError("slopes are along directions, and coordinates were asked for")
        here = self.manifest.flatten(self.model)
        rises = np.zeros((len(batch), within.width))
        try:
            with evaluating(self.model), torch.no_grad(), fast_linear():
                for number, signs in enumerate(within.each()):
                    for side in (1.0, -1.0):
                        moved = here + np.float32(side * self.perturbation) * signs
                        self.manifest.restore(self.model, moved)
                        for row in range(len(batch)):
                            loss = self.task.losses(encoded, batch[row : row + 1])
                            rises[row, number] += side * float(loss)
        finally:
            self.manifest.restore(self.model, here)
        slopes = rises / (2 * self.perturbation * math.sqrt(within.width))
        return torch.from_numpy(slopes.astype(np.float32))

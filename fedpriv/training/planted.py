"""Per-record gradients with a door for rows that someone else made: an auditor's canaries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedpriv.training.records import RecordGradients

__all__ = ["PlantedGradients"]


class PlantedGradients(RecordGradients):
    """Record gradients that also clip rows from outside, by the very code that clips the records'."""

    def clip_rows(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``rows``, float32, shape (b, manifest.size), each clipped; the argument stays as it is."""
        import torch

        return self._clip(torch.from_numpy(np.array(rows, dtype=np.float32)))

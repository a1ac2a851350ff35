"""Per-record gradients of a model's trained parameters in one backward pass, and their clipped sum."""

from __future__ import annotations

from fedpriv.training.per_record.clipping import CLIPPINGS
from fedpriv.training.per_record.engine import WAYS, ClippedSum, PerRecordGradients
from fedpriv.training.per_record.ways import Losses

__all__ = ["CLIPPINGS", "WAYS", "ClippedSum", "Losses", "PerRecordGradients"]

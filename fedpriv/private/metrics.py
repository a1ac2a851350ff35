"""Figures on the sampled records, which no noise covers: kept only where they were asked for."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import nn

from fedpriv.training.per_record import ClippedSum, Losses

__all__ = ["Metrics"]


class Metrics:
    """Stands in for ``losses`` and remembers what came.

    ``last`` holds the figures of the last step: mean ``loss``, ``clip_fraction`` and ``gradient_norm``
    (median before clipping) of the sampled ``records``, and how many were ``dropped`` as not finite.
    """

    NAMES: Final = ("loss", "clip_fraction", "gradient_norm", "records", "dropped")

    def __init__(self, losses: Losses) -> None:
        self.last: dict[str, float] = {}
        self._losses = losses
        self._calls: list[torch.Tensor] = []
        self._values: list[torch.Tensor] = []
        self._norms: list[torch.Tensor] = []
        self._dropped = 0

    def __call__(self, model: nn.Module, batch: Any) -> torch.Tensor:
        """The losses; the model may be asked more than once for the same records."""
        values = self._losses(model, batch)
        if torch.is_tensor(values):
            self._calls.append(values.detach().double().reshape(-1))
        return values

    def clear(self) -> None:
        """Forget calls that belong to no step."""
        self._calls.clear()

    def add(self, found: ClippedSum) -> None:
        """Take in a micro-batch: the last losses of as many records are its own."""
        size = len(found.norms)
        self._values.append(torch.cat(self._calls)[-size:])
        self._norms.append(found.norms)
        self._dropped += found.dropped
        self._calls.clear()

    def close(self, clip: float) -> None:
        """The step is over."""
        self.last = {"records": float(sum(map(len, self._norms))), "dropped": float(self._dropped)}
        if self._norms:
            norms = torch.cat(self._norms)
            self.last["loss"] = float(torch.cat(self._values).mean())
            self.last["clip_fraction"] = float((norms > clip).double().mean())
            self.last["gradient_norm"] = float(norms.median())
        self._values.clear()
        self._norms.clear()
        self._dropped = 0

"""What a private step must not touch: frozen parameters and buffers, watched after every step."""

from __future__ import annotations

import torch
from torch import nn

from fedpriv.errors import IntegrityError
from fedpriv.peft import Manifest
from fedpriv.training.frozen import FrozenWeights

__all__ = ["Untouched"]


class Untouched:
    """The frozen parameters and buffers of ``model`` as they are when this is made."""

    def __init__(self, model: nn.Module, manifest: Manifest) -> None:
        self._model = model
        self._trained = {entry.name for entry in manifest.entries}
        self._digests = FrozenWeights.of(model, manifest)
        self._versions = self._now()

    def check(self) -> None:
        """Cheap, by the counters of in-place changes.

        Raises:
            IntegrityError: a frozen tensor was written to, replaced, or is gone; named.
        """
        now = self._now()
        for name, (tensor, version) in self._versions.items():
            if name not in now or now[name][0] is not tensor or now[name][1] != version:
                raise IntegrityError(
                    f"the frozen weight {name!r} has changed during training",
                    hint="what it says of the records is not covered by the guarantee: do not use this model",
                )

    def verify(self) -> None:
        """By the contents; raises ``IntegrityError``, naming the first that has changed."""
        self.check()
        self._digests.verify(self._model)

    def _now(self) -> dict[str, tuple[torch.Tensor, int]]:
        tensors = [*self._model.named_parameters(), *self._model.named_buffers()]
        return {name: (tensor, tensor._version) for name, tensor in tensors if name not in self._trained}

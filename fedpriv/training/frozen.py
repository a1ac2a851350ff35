"""A watch over the weights that are not trained: they must be the same after a run as before it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedpriv.errors import IntegrityError
from fedpriv.peft import Manifest

if TYPE_CHECKING:
    from torch import nn

_DOMAIN = b"fedpriv/training/frozen/1\0"


@dataclass(frozen=True, slots=True)
class FrozenWeights:
    """Digests of every parameter and buffer outside a manifest."""

    digests: dict[str, bytes]

    @classmethod
    def of(cls, model: nn.Module, manifest: Manifest) -> FrozenWeights:
        """Reads every frozen tensor once."""
        return cls(_digests(model, {entry.name for entry in manifest.entries}))

    def digest(self) -> str:
        """SHA-256, in hex, over the names and contents in the order of the names: the base model's digest."""
        whole = hashlib.sha256(_DOMAIN)
        for name in sorted(self.digests):
            encoded = name.encode()
            whole.update(len(encoded).to_bytes(8, "little") + encoded + self.digests[name])
        return whole.hexdigest()

    def verify(self, model: nn.Module) -> None:
        """Raises ``IntegrityError``, naming the first, where a frozen tensor has changed, come or gone."""
        present = _digests(model, None)
        for name, digest in self.digests.items():
            if present.get(name) != digest:
                raise IntegrityError(f"the frozen weight {name!r} has changed during training")


def _digests(model: nn.Module, leave_out: set[str] | None) -> dict[str, bytes]:
    import torch

    return {
        name: hashlib.sha256(
            tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8).numpy().data
        ).digest()
        for name, tensor in model.state_dict().items()
        if leave_out is None or name not in leave_out
    }

"""Low-rank updates of which each client keeps one half to itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedpriv.peft.methods.lora import Lora

if TYPE_CHECKING:
    from fedpriv.peft.manifest import Manifest
    from fedpriv.peft.methods.spec import PeftSpec

_KEPT = ".lora_B."


class FedSaLora(Lora):
    """Clients train both halves; ``A`` and the head are summed, and each client's ``B`` stays with it, round
    after round (Guo et al., 2410.01463, section 3).

    The server's ``B`` stays zero, so that its model is the base model with the trained head.  A client's own
    model is the server's ``A`` and head with the client's ``B``.
    """

    name = "fedsa-lora"
    exact = True
    composition = "what is averaged is A, and each client's own B multiplies the mean"
    personal = True

    def width(self, manifest: Manifest, spec: PeftSpec) -> int:
        return _shared(manifest).size

    def coordinates(
        self, manifest: Manifest, spec: PeftSpec, round_: int, moved: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        return _shared(manifest)

    def keeps(self, manifest: Manifest, spec: PeftSpec) -> NDArray[np.bool_]:
        kept = np.ones(manifest.size, dtype=np.bool_)
        kept[_shared(manifest)] = False
        return kept


def _shared(manifest: Manifest) -> NDArray[np.int64]:
    """``A`` and the head."""
    return manifest.places(lambda name: _KEPT not in name)

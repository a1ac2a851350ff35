"""Low-rank updates whose halves take turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedpriv.peft.methods.lora import Lora

if TYPE_CHECKING:
    from fedpriv.peft.manifest import Manifest
    from fedpriv.peft.methods.spec import PeftSpec


class RoLora(Lora):
    """``B`` in odd rounds, ``A`` in even ones, the head in all (Chen et al., 2409.02346, section 3).

    Within a round the half that rests is the same at all clients, so the mean of the products is the product
    of the means.  Where the halves differ in size, the vector of the smaller one ends in coordinates that
    mean nothing, as the secure sum of a run has one width.
    """

    name = "rolora"
    exact = True
    composition = (
        "one half is the same everywhere in a round, and the mean of B A is the product of the means"
    )
    steady = False

    def width(self, manifest: Manifest, spec: PeftSpec) -> int:
        return max(_turn(manifest, round_).size for round_ in (1, 2))

    def coordinates(
        self, manifest: Manifest, spec: PeftSpec, round_: int, moved: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        return _turn(manifest, round_)


def _turn(manifest: Manifest, round_: int) -> NDArray[np.int64]:
    """The half whose turn it is, and the head."""
    rests = ".lora_A." if round_ % 2 else ".lora_B."
    return manifest.places(lambda name: rests not in name)

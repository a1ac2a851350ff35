"""Low-rank updates of which few coordinates travel in a round."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from fedpriv.peft.methods.lora import Lora
from fedpriv.peft.public_choice import public_words, smallest

if TYPE_CHECKING:
    from fedpriv.peft.manifest import Manifest
    from fedpriv.peft.methods.spec import PeftSpec


class Flasc(Lora):
    """Both halves of LoRA, of which ``density`` of the coordinates travel (Kuo et al., 2406.05233), under a
    mask that is public.

    In the paper each client sends the largest coordinates of its own update, which no secure sum can carry:
    its choice would be in clear, and is private.  Here the server's model chooses, which is public: half of
    the coordinates are those that are farthest from where they started, the other half is drawn from the
    public seed, anew each round, so that none is locked out.
    """

    name = "flasc"
    options: ClassVar = {**Lora.options, "density": 0.25}
    steady = False

    def width(self, manifest: Manifest, spec: PeftSpec) -> int:
        return math.ceil((spec.density or 1.0) * manifest.size)

    def coordinates(
        self, manifest: Manifest, spec: PeftSpec, round_: int, moved: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        width = self.width(manifest, spec)
        words = public_words(spec.seed, self.name, round_, manifest.size)
        # By falling distance; among equals, as all are in the first round, by the public draw.
        farthest = np.lexsort((words, -np.abs(moved)))[: width // 2]
        others = np.ones(manifest.size, dtype=np.bool_)
        others[farthest] = False
        rest = np.flatnonzero(others)
        drawn = rest[smallest(words[rest], width - farthest.size)]
        return np.sort(np.concatenate([farthest, drawn])).astype(np.int64)

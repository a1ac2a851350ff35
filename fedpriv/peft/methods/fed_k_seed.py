"""All weights, along few public directions: what travels does not grow with the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from fedpriv.peft.methods.whole import Full

if TYPE_CHECKING:
    from fedpriv.peft.manifest import Manifest
    from fedpriv.peft.methods.spec import PeftSpec


class FedKSeed(Full):
    """Everything that has a part in the task, by the slope of each record's loss along ``directions`` that
    the public seed draws anew in each round (FedKSeed: Qin et al., 2312.06353; clipped and noised by record:
    DPZero, Zhang et al., 2310.09639).

    A slope is taken from two forward passes, ``perturbation`` to either side, so that memory is that of
    inference.  Noise grows with the directions and not with the weights, but a round learns of few
    directions out of very many: it takes many rounds, and a model that is nearly there.
    """

    name = "fedkseed"
    options: ClassVar = {"directions": 16, "perturbation": 1e-3}
    composition = "slopes along directions that all have in common add up"
    steady = False
    drawable = False
    projected = True

    def width(self, manifest: Manifest, spec: PeftSpec) -> int:
        return min(spec.directions or 1, manifest.size)

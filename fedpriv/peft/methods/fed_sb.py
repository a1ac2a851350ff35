"""Low-rank updates of which the core alone is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from fedpriv.peft.methods.lora import adapted_maps
from fedpriv.peft.methods.method import Method, mark
from fedpriv.peft.methods.place import Place
from fedpriv.peft.methods.sides import replace, sides
from fedpriv.peft.public_init import orthonormal

if TYPE_CHECKING:
    from torch import nn

    from fedpriv.peft.methods.spec import PeftSpec


class FedSb(Method):
    """``W + (alpha / rank) B R A`` with ``B`` and ``A`` frozen and ``R``, rank x rank, trained and sent
    (Singhal et al., 2502.15436).

    The columns of ``B`` and the rows of ``A`` are orthonormal and come from the public seed.  The paper takes
    them from the singular vectors of a first gradient: those are a function of private records, which a run
    would have to pay for, so that start is left out, and a random basis needs a larger rank for the same
    accuracy.
    """

    name = "fed-sb"
    options: ClassVar = {"rank": 8, "alpha": 16.0, "target_modules": None, "layers": None}
    exact = True
    composition = "with B and A the same everywhere, the mean of the products B R A is B mean(R) A"

    def add(self, model: nn.Module, spec: PeftSpec, place: Place) -> nn.Module:
        import torch

        from fedpriv.peft.methods.core import Core

        for name in adapted_maps(model, spec, place):
            dense = model.get_submodule(name)
            fan_in, fan_out = sides(dense)
            weight = next(dense.parameters())
            down, up = (
                torch.from_numpy(orthonormal(spec.seed, f"{name}.{basis}", (spec.rank, side))).to(weight)
                for basis, side in (("down", fan_in), ("up", fan_out))
            )
            replace(model, name, Core(dense, down, up.T.contiguous(), spec.scaling))
        return mark(model, self)

    def sends(self, name: str, place: Place) -> bool:
        return name.endswith(".core")

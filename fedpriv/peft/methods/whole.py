"""Methods that train some of the model's own parameters and add none."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from fedpriv.errors import UsageError
from fedpriv.peft.methods.method import Method
from fedpriv.peft.methods.place import Place

if TYPE_CHECKING:
    from torch import nn

    from fedpriv.peft.methods.spec import PeftSpec

_AS_THEY_ARE = "the network's own weights are sent, and their mean is the mean of the clients' models"


class Full(Method):
    """Everything.

    The baseline of every comparison, and the dearest of all: an upload as large as the model, noise that
    grows with the square root of its size, and one gradient as large as the model for each record in memory
    (``training.micro_batch`` bounds how many).
    """

    name = "full"
    options: ClassVar = {}
    exact = True
    composition = _AS_THEY_ARE

    def add(self, model: nn.Module, spec: PeftSpec, place: Place) -> nn.Module:
        return model

    def sends(self, name: str, place: Place) -> bool:
        return True


class BitFit(Method):
    """Every bias (Ben Zaken et al., 2106.10199)."""

    name = "bitfit"
    options: ClassVar = {"layers": None}
    exact = True
    composition = _AS_THEY_ARE

    def add(self, model: nn.Module, spec: PeftSpec, place: Place) -> nn.Module:
        if not any(
            self.sends(name, place) for name, _ in model.named_parameters() if not place.in_head(name)
        ):
            raise UsageError(
                f"{type(model).__name__} has no bias outside its head to train with bitfit",
                hint="use lora or ffa-lora for this family",
            )
        return model

    def sends(self, name: str, place: Place) -> bool:
        return name.rsplit(".", 1)[-1] == "bias" and place.in_layers(name)


class Head(Method):
    """The classification head alone: the null that every other method has to beat under noise."""

    name = "head"
    options: ClassVar = {}
    exact = True
    composition = _AS_THEY_ARE

    def add(self, model: nn.Module, spec: PeftSpec, place: Place) -> nn.Module:
        return model

    def sends(self, name: str, place: Place) -> bool:
        return False

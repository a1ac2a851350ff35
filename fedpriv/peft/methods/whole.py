"""Methods that train some of the model's own parameters and add none."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from fedpriv.errors import UsageError
from fedpriv.peft.methods.method import Method
from fedpriv.peft.methods.place import Place, is_tied

if TYPE_CHECKING:
    from torch import nn

    from fedpriv.peft.methods.spec import PeftSpec

_AS_THEY_ARE = "the network's own weights are sent, and their mean is the mean of the clients' models"


class Full(Method):
    """Everything that has a part in the task.

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
        # A vision model's token for masked patches has no part in any task here: it would only get noise.
        return not name.endswith("mask_token")


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
    """The classification head alone: the null that every other method has to beat under noise.

    In a language model the map from hidden states to the vocabulary, which every other method leaves as it
    is: one of the largest matrices there, and refused where it is the table of embeddings as well.
    """

    name = "head"
    options: ClassVar = {}
    exact = True
    composition = _AS_THEY_ARE

    def add(self, model: nn.Module, spec: PeftSpec, place: Place) -> nn.Module:
        if place.vocabulary is not None and is_tied(model):
            raise UsageError(
                f"{type(model).__name__} has no head of its own: its map to the vocabulary is its table of "
                "embeddings, and training it would change what every layer reads",
                hint="use lora or ffa-lora; full trains the table with all the rest",
            )
        return model

    def sends(self, name: str, place: Place) -> bool:
        return place.vocabulary is not None and name.startswith(f"{place.vocabulary}.")

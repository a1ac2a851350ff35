"""What every PEFT method says of itself."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fedpriv.errors import UsageError
from fedpriv.peft.methods.place import Place

if TYPE_CHECKING:
    from torch import nn

    from fedpriv.peft.methods.spec import PeftSpec

Stored = Literal["state", "peft", "both"]
"""How an adapter is saved: the values that were trained, as the ``peft`` library does, or, where that keeps
less than was trained, both."""


class Method(ABC):
    """One way of choosing what is trained.  The classification head is always trained, sent and counted.

    All methods send what they train.  One noisy step on the sum of records' gradients is a step on the union
    of the records whatever the method; the question whether sums compose arises where a client takes several
    steps and its whole update is summed.

    Attributes:
        name: in a configuration and in a saved adapter.
        options: the keys of ``[peft]`` that it takes, with their defaults.
        exact: whether the change at each place of the frozen model (a weight, an embedding, a factor) is
            affine in what is sent, so that the mean of what clients send makes the mean of their changes.
        composition: the same in a sentence.
        stored: how an adapter is saved.
    """

    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]]
    exact: ClassVar[bool]
    composition: ClassVar[str]
    stored: ClassVar[Stored] = "state"

    @abstractmethod
    def add(self, model: nn.Module, spec: PeftSpec, place: Place) -> nn.Module:
        """The model with the method's own parameters in it, at their start; changed in place.

        Raises ``UsageError`` where the model has no place for them.
        """

    @abstractmethod
    def sends(self, name: str, place: Place) -> bool:
        """Whether this parameter of the model that ``add`` gave is trained and sent, apart from the head."""

    def attach(self, model: nn.Module, spec: PeftSpec) -> nn.Module:
        """See :func:`fedpriv.peft.attach`."""
        if hasattr(model, "peft_config") or getattr(model, _MARK, None) is not None:
            raise UsageError(
                "the model has an adapter already", hint="load the base model anew and attach once"
            )
        place = Place.of(model, spec.layers)
        adapted = self.add(model, spec, place)
        for name, parameter in adapted.named_parameters():
            parameter.requires_grad_(place.in_head(name) or self.sends(name, place))
            parameter.grad = None
        return adapted

    def parameters(self, model: nn.Module, spec: PeftSpec) -> int:
        """How many numbers a client sends for this base model, which stays as it is.

        Raises ``UsageError`` as :meth:`attach` does.
        """
        adapted = self.attach(_without_weights(model), spec)
        return sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)


_MARK = "_fedpriv_method"


def mark(model: nn.Module, method: Method) -> nn.Module:
    """The model, known from now on to carry modules of ours, which ``peft`` does not mark."""
    setattr(model, _MARK, method.name)
    return model


def _without_weights(model: nn.Module) -> nn.Module:
    """A copy that has shapes and no values."""
    import torch

    bare: dict[int, Any] = {
        id(parameter): torch.nn.Parameter(
            torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad
        )
        for parameter in model.parameters()
    }
    return copy.deepcopy(model, bare)

"""What every PEFT method says of itself."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UsageError
from fedpriv.peft.manifest import Manifest
from fedpriv.peft.methods.place import Place

if TYPE_CHECKING:
    from torch import nn

    from fedpriv.peft.methods.spec import PeftSpec

Stored = Literal["state", "peft", "both"]
"""How an adapter is saved: the values that were trained, as the ``peft`` library does, or, where that keeps
less than was trained, both."""


@dataclass(frozen=True, slots=True)
class ServerState:
    """What the server holds after its step.

    Attributes:
        parameters: the model, float32, shape (d,).
        first, second: the optimiser's moments, float64, shape (d,); (0,) where it keeps none.
    """

    parameters: NDArray[np.float32]
    first: NDArray[np.float64]
    second: NDArray[np.float64]


class Method(ABC):
    """One way of choosing what is trained.  The classification head is always trained, sent and counted; a
    language model has none.

    The manifest of what ``attach`` leaves trainable is the *model* of a round: what the server keeps and
    hands out.  What *travels* in a round are some of its coordinates (:meth:`coordinates`), a public function
    of the round and of that model, so that all parties derive it: all of them for most methods.

    One noisy step on the sum of records' gradients is a step on the union
    of the records whatever the method; the question whether sums compose arises where a client takes several
    steps and its whole update is summed.

    Attributes:
        name: in a configuration and in a saved adapter.
        options: the keys of ``[peft]`` that it takes, with their defaults.
        exact: whether the change at each place of the frozen model (a weight, an embedding, a factor) is
            affine in what is sent, so that the mean of what clients send makes the mean of their changes.
        composition: the same in a sentence.
        stored: how an adapter is saved.
        steady: whether a coordinate of what travels stands for the same in every round.
        drawable: whether a part of what would travel may be drawn anew in each round.
        projected: whether what travels is not coordinates but slopes along public directions of the round
            (``Directions``), as many as :meth:`width` says.
        personal: whether clients keep a part of the model to themselves (:meth:`keeps`).
    """

    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]]
    exact: ClassVar[bool]
    composition: ClassVar[str]
    stored: ClassVar[Stored] = "state"
    steady: ClassVar[bool] = True
    drawable: ClassVar[bool] = True
    projected: ClassVar[bool] = False
    personal: ClassVar[bool] = False

    @abstractmethod
    def add(self, model: nn.Module, spec: PeftSpec, place: Place) -> nn.Module:
        """The model with the method's own parameters in it, at their start; changed in place.

        Raises ``UsageError`` where the model has no place for them.
        """

    @abstractmethod
    def sends(self, name: str, place: Place) -> bool:
        """Whether this parameter of the model that ``add`` gave is the round's, apart from the head's."""

    def width(self, manifest: Manifest, spec: PeftSpec) -> int:
        """The most coordinates that travel in any round."""
        return manifest.size

    def coordinates(
        self, manifest: Manifest, spec: PeftSpec, round_: int, moved: NDArray[np.float32]
    ) -> NDArray[np.int64] | None:
        """Which coordinates of the model travel in a round, ascending; ``None``: all.

        Args:
            manifest, spec: of the model; all that is drawn here comes from the public seed of ``spec``.
            round_: its number, from 1.
            moved: how far the model of the round is from the start, shape (manifest.size,).
        """
        return None

    def held(self, manifest: Manifest, spec: PeftSpec, client: int) -> NDArray[np.bool_] | None:
        """Which coordinates of the model a client has, bool, shape (manifest.size,); ``None``: all.

        It trains the model in which the others are zero.  ``client`` counts from 1.
        """
        return None

    def keeps(self, manifest: Manifest, spec: PeftSpec) -> NDArray[np.bool_] | None:
        """Which coordinates of the model each client keeps to itself, round after round, bool, shape
        (manifest.size,), whole parameters; ``None``: none.

        They never travel: in the server's model they stay at their start.
        """
        return None

    def least_clients(self, spec: PeftSpec) -> int:
        """How many clients there must be so that each coordinate is one's."""
        return 1

    def settle(self, manifest: Manifest, spec: PeftSpec, state: ServerState) -> ServerState:
        """What the server makes of its state after each step, from nothing that is not in it: such a function
        of private sums costs nothing."""
        return state

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
        return self.width(Manifest.of(self.attach(_without_weights(model), spec)), spec)


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

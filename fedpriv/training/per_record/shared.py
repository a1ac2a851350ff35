"""Trained parameters as values that every record of a batch shares, told apart from what records carry.

During a forward pass each trained parameter is replaced by a ``Shared`` tensor.  Whatever is computed from
such tensors alone stays shared; where one meets records, a rule (``meetings.py``) lets the result go on as an
ordinary tensor and keeps what is needed for one gradient per record.  The model's code runs unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import nn

__all__ = ["Shared", "standing_in", "unwrapped"]


class Follower(Protocol):
    """What follows one batch through the model and takes its records' gradients (``tape.Tape``)."""

    size: int
    """Records in the batch."""

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of a torch function with a shared argument."""

    def add(self, shared: Shared, rows: torch.Tensor) -> None:
        """One gradient a record."""

    def linear(self, shared: Shared, x: torch.Tensor, g: torch.Tensor) -> None:
        """The gradients ``g^T x``."""

    def embedding(self, shared: Shared, ids: torch.Tensor, g: torch.Tensor) -> None:
        """The gradients ``g`` at rows ``ids``."""


class Shared(torch.Tensor):
    """A value of trained parameters alone.

    ``value`` is the plain tensor; ``origin`` names the parameters that it was computed from; ``leaf`` says
    that it is one of them, unchanged.
    """

    value: torch.Tensor
    origin: str
    leaf: bool
    tape: Follower

    @staticmethod
    def of(value: torch.Tensor, origin: str, tape: Follower, *, leaf: bool = False) -> Shared:
        """The plain tensor ``value`` as a shared one of ``tape``."""
        with torch._C.DisableTorchFunctionSubclass():
            made = value.detach().as_subclass(Shared)
        made.value, made.origin, made.tape, made.leaf = value, origin, tape, leaf
        return made

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Every torch call with a shared argument comes here, and is its tape's to answer."""
        arguments = dict(kwargs or {})
        for argument in flat((*args, *arguments.values())):
            if isinstance(argument, Shared):
                return argument.tape.call(func, args, arguments)
        raise AssertionError("a call without a shared tensor came to Shared")

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        return self.value.detach().clone()


def flat(arguments: Iterable[Any]) -> Iterator[Any]:
    """The arguments of a call, lists and tuples opened."""
    for argument in arguments:
        if isinstance(argument, list | tuple):
            yield from flat(argument)
        else:
            yield argument


def unwrapped(argument: Any) -> Any:
    """The argument with plain tensors in place of shared ones."""
    if isinstance(argument, Shared):
        return argument.value
    if isinstance(argument, list | tuple):
        items = [unwrapped(item) for item in argument]
        if isinstance(argument, tuple):
            return type(argument)(*items) if hasattr(argument, "_fields") else tuple(items)
        return items
    return argument


@contextmanager
def standing_in(
    model: nn.Module, parameters: Mapping[str, nn.Parameter], values: Mapping[str, torch.Tensor]
) -> Iterator[None]:
    """Within this the given tensors stand for the parameters of the same names, wherever they are tied."""
    shared = {id(parameter): values[name] for name, parameter in parameters.items()}
    replaced: list[tuple[nn.Module, str, nn.Parameter]] = []
    try:
        for module in model.modules():
            for key, parameter in module._parameters.items():
                if parameter is not None and id(parameter) in shared:
                    replaced.append((module, key, parameter))
        for module, key, parameter in replaced:
            module._parameters[key] = shared[id(parameter)]  # type: ignore[assignment]
        yield
    finally:
        for module, key, parameter in replaced:
            module._parameters[key] = parameter

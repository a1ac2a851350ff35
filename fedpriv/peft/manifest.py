"""The manifest: which parameters are trained, in which order they stand in the flat vector that is summed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from torch import nn

_DOMAIN = b"fedpriv/peft/manifest/1\0"
_DTYPES = ("float32", "float16", "bfloat16", "float64")


@dataclass(frozen=True, slots=True)
class Entry:
    """One trained parameter: its name in the model, its shape and its dtype there (``"float32"``)."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The trained parameters, sorted by name; the flat vector is their row-major values one after the other.

    Every party of a run holds the same manifest; its digest goes into the context of the secure sum, so that
    two parties that disagree on a name, a shape or the order cannot add their vectors.
    """

    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        names = [entry.name for entry in self.entries]
        if not names:
            raise UsageError("the model has no trainable parameter", hint="call fedpriv.peft.attach first")
        if names != sorted(set(names)):
            raise IntegrityError("the manifest's names are not in strictly ascending order")
        for entry in self.entries:
            if entry.dtype not in _DTYPES or any(side < 1 for side in entry.shape):
                raise IntegrityError(f"the manifest's entry {entry.name!r} has no valid shape and dtype")

    @classmethod
    def of(cls, model: nn.Module) -> Manifest:
        """The manifest of the parameters that require a gradient; ``UsageError`` where there is none."""
        return cls(
            tuple(
                Entry(name, tuple(parameter.shape), str(parameter.dtype).removeprefix("torch."))
                for name, parameter in sorted(model.named_parameters(), key=lambda item: item[0])
                if parameter.requires_grad
            )
        )

    @property
    def size(self) -> int:
        """Length of the flat vector."""
        return sum(entry.size for entry in self.entries)

    @property
    def offsets(self) -> tuple[int, ...]:
        """Where each entry begins in the flat vector."""
        starts = [0]
        for entry in self.entries[:-1]:
            starts.append(starts[-1] + entry.size)
        return tuple(starts)

    def places(self, wanted: Callable[[str], bool]) -> NDArray[np.int64]:
        """Where the parameters whose name is ``wanted`` stand in the flat vector: int64, ascending.

        >>> Manifest((Entry("a", (2,)), Entry("b", (3,)))).places(lambda name: name == "b")
        array([2, 3, 4])
        """
        found = [
            np.arange(start, start + entry.size, dtype=np.int64)
            for entry, start in zip(self.entries, self.offsets, strict=True)
            if wanted(entry.name)
        ]
        return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)

    def digest(self) -> str:
        """SHA-256, in hex, over the names, shapes and dtypes in their order."""
        body = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(_DOMAIN + body.encode()).hexdigest()

    def parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """The model's parameters in the manifest's order; ``UsageError`` where one is missing or has
        changed."""
        present = dict(model.named_parameters())
        found = []
        for entry in self.entries:
            parameter = present.get(entry.name)
            if parameter is None or tuple(parameter.shape) != entry.shape:
                raise UsageError(
                    f"the model has no parameter {entry.name!r} of shape {entry.shape}",
                    hint="the manifest belongs to another model or another PEFT method",
                )
            found.append(parameter)
        return found

    def flatten(self, model: nn.Module) -> NDArray[np.float32]:
        """The trained parameters as one vector: float32, shape ``(size,)``, a copy."""
        import torch

        parameters = self.parameters(model)
        vector = torch.cat([p.detach().reshape(-1).to(device="cpu", dtype=torch.float32) for p in parameters])
        values: NDArray[np.float32] = vector.numpy()
        return values

    def restore(self, model: nn.Module, vector: NDArray[np.float32]) -> None:
        """Writes a flat vector of shape ``(size,)`` into the model.

        Raises ``UsageError``, and changes nothing, where the length is wrong or a value is not finite.
        """
        import torch

        values = np.ascontiguousarray(vector, dtype=np.float32)
        if values.shape != (self.size,):
            raise UsageError(f"the vector has shape {values.shape}, the manifest needs ({self.size},)")
        if not np.isfinite(values).all():
            raise UsageError("the vector holds a value that is not finite", hint="lower the learning rate")
        parameters = self.parameters(model)
        # A copy, because torch warns of arrays that it may not write to.
        flat = torch.from_numpy(values.copy())
        with torch.no_grad():
            for parameter, entry, start in zip(parameters, self.entries, self.offsets, strict=True):
                parameter.copy_(flat[start : start + entry.size].reshape(entry.shape))

    def to_dict(self) -> dict[str, Any]:
        """A form that JSON can carry; ``from_dict`` is its inverse."""
        return {
            "parameters": [
                {"name": entry.name, "shape": list(entry.shape), "dtype": entry.dtype}
                for entry in self.entries
            ]
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Manifest:
        """The manifest of ``to_dict``'s form; ``IntegrityError`` on anything else."""
        try:
            if set(value) != {"parameters"}:
                raise ValueError
            entries = []
            for row in value["parameters"]:
                if set(row) != {"name", "shape", "dtype"} or not isinstance(row["name"], str):
                    raise ValueError
                if not all(type(side) is int for side in row["shape"]):
                    raise ValueError
                entries.append(Entry(row["name"], tuple(row["shape"]), row["dtype"]))
        except (TypeError, ValueError, KeyError, AttributeError):
            raise IntegrityError("the manifest is not in the documented form") from None
        if not entries:
            raise IntegrityError("the manifest names no parameter")
        return cls(tuple(entries))

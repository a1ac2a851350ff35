"""What one forward and backward pass leaves behind: for each trained parameter one gradient a record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from fedpriv.errors import UnsafeParameters
from fedpriv.training.per_record.cut import single, sizes_of
from fedpriv.training.per_record.meetings import FLATTENING, RULES, SPREADING
from fedpriv.training.per_record.rows import Gradient, Positions, Rows, Spots
from fedpriv.training.per_record.shared import Shared, flat, standing_in, unwrapped

__all__ = ["Coincidence", "NewPlace", "Places", "Tape"]

Place = tuple[Any, str, tuple[int, ...]]


class NewPlace(Exception):  # noqa: N818 (a question, not an error)
    """A call that no batch has come to so far, so that it is not known whether it sees records."""


class Coincidence(Exception):  # noqa: N818 (of sizes)
    """Something that is as long as the batch without being records may have been taken for them."""


class Places:
    """Which calls see records, learned once from two batches of different size.

    Within a call a tensor whose first dimension happens to be as long as the batch looks like records.  Which
    ones are is the same for every batch; so it is learned from batches of two sizes (``learning``), and not
    guessed anew.
    """

    def __init__(self) -> None:
        self._seen: list[dict[Place, Counter[bool]]] = []
        self._mixed: Counter[Place] = Counter()

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Calls within this are noted, as one batch's."""
        self._seen.append({})
        self.noting = True
        try:
            yield
        finally:
            self.noting = False

    noting = False

    def records(self, place: Place, likely: bool) -> bool:
        """Whether the call at ``place`` sees records; ``likely``: whether it looks so in this batch."""
        if self.noting:
            self._seen[-1].setdefault(place, Counter())[likely] += 1
            return likely
        answers = [seen[place] for seen in self._seen if place in seen]
        if not answers:
            raise NewPlace(place[1])
        if not all(answer[True] for answer in answers):
            return False
        if not any(answer[False] for answer in answers):
            return True
        self._mixed[place] += likely
        return likely

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Around one forward pass.

        Where records and something else come to the same place, only their sizes tell them apart.

        Raises:
            Coincidence: more look like records in this pass than in those that were learned from, or fewer.
        """
        self._mixed.clear()
        yield
        for place, count in self._mixed.items():
            if count != min(seen[place][True] for seen in self._seen if place in seen):
                raise Coincidence(place[1])


@dataclass(slots=True)
class Tape:
    """One batch of ``size`` records on its way through a model and back.

    Args:
        size: records in the batch.
        places: which calls see records.
        rows_only: keep each record's gradient as such, and never a cheaper form that norms and clipped sums
            can be computed from.
    """

    size: int
    places: Places
    rows_only: bool = False
    _parameters: Mapping[str, nn.Parameter] = field(default_factory=dict)
    _leaves: dict[str, torch.Tensor] = field(default_factory=dict)
    _found: dict[str, list[Gradient]] = field(default_factory=dict)
    _derived: dict[int, tuple[torch.Tensor, torch.Tensor, str]] = field(default_factory=dict)

    @contextmanager
    def recording(self, model: nn.Module, parameters: Mapping[str, nn.Parameter]) -> Iterator[None]:
        """Within this ``model`` runs on shared values; run the backward pass within it, too."""
        self._parameters = parameters
        before = {name: parameter.grad for name, parameter in parameters.items()}
        for name, parameter in parameters.items():
            self._leaves[name] = parameter.detach().requires_grad_()
            parameter.grad = None
        values = {name: Shared.of(leaf, name, self, leaf=True) for name, leaf in self._leaves.items()}
        try:
            with standing_in(model, parameters, values):
                yield
        finally:
            for name, parameter in parameters.items():
                parameter.grad = before[name]

    def gradients(self) -> dict[str, list[Gradient]]:
        """What arrived, by parameter; call it after the backward pass, within `recording`.

        Raises:
            UnsafeParameters: a parameter has reached the loss on a way that no rule covers.
        """
        for name, leaf in self._leaves.items():
            if self._parameters[name].grad is not None:
                raise UnsafeParameters(
                    f"{name!r} is used from outside the module that it belongs to",
                    hint="the model keeps a reference to it elsewhere: let the records go one by one",
                )
            if leaf.grad is not None:
                raise UnsafeParameters(
                    f"{name!r} reaches the loss without meeting a record",
                    hint="weight penalties belong to the optimizer (weight decay); where records are not a "
                    "tensor's first dimension, let them go one by one (engine = 'one-by-one')",
                )
        self._through_derived()
        return self._found

    # What rules report.

    def add(self, shared: Shared, rows: torch.Tensor) -> None:
        """One gradient a record for a shared value, shape (size, *shape of the value)."""
        if len(rows) != self.size:
            raise UnsafeParameters(
                f"{shared.origin!r} meets a tensor of {len(rows)} rows in a batch of {self.size} records",
                hint="the model folds records into another dimension, which is not covered",
            )
        if shared.leaf:
            self._found.setdefault(shared.origin, []).append(Rows(rows))
            return
        before = self._derived.get(id(shared.value))
        total = rows if before is None else before[1] + rows
        self._derived[id(shared.value)] = (shared.value, total, shared.origin)

    def linear(self, shared: Shared, x: torch.Tensor, g: torch.Tensor) -> None:
        """The gradients ``g^T x`` of a shared (out, in) matrix: (size, ..., in) and (size, ..., out)."""
        x, g = (single(t.detach()).reshape(len(t), -1, t.shape[-1]) for t in (x, g))
        if shared.leaf and len(g) == self.size and not self.rows_only and Positions.pays(x, g):
            self._found.setdefault(shared.origin, []).append(Positions(x, g))
        else:
            self.add(shared, Positions(x, g).rows())

    def embedding(self, shared: Shared, ids: torch.Tensor, g: torch.Tensor) -> None:
        """The gradients for a shared table: ``g``, (size, t, d), added at rows ``ids``, (size, t)."""
        g = single(g)
        spots = Spots(ids, g, tuple(shared.shape))
        if shared.leaf and len(g) == self.size and not self.rows_only and shared.shape[0] > ids.shape[1]:
            self._found.setdefault(shared.origin, []).append(spots)
        else:
            self.add(shared, spots.rows())

    # What Shared asks.

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of a torch function with at least one shared argument."""
        arguments = list(flat((*args, *kwargs.values())))
        origin = "+".join(sorted({a.origin for a in arguments if isinstance(a, Shared)}))
        rule = RULES.get(func)
        others = [a for a in arguments if torch.is_tensor(a) and not isinstance(a, Shared) and a.dim()]
        sizes = self._first_sizes(func, args, others)
        if sizes:
            place = (func, origin, tuple(other.dim() for other in others))
            fold = func in FLATTENING
            likely = any(s % self.size == 0 if fold else s == self.size for s in sizes)
            if self.places.records(place, likely):
                try:
                    if rule is None:
                        raise NotImplementedError
                    return rule(*args, **kwargs)
                except NotImplementedError:
                    # While it is being learned what sees records, this may be something just as long.
                    if not self.places.noting:
                        raise UnsafeParameters(
                            f"no gradient by record is known for {origin!r} in {_name(func)}",
                            hint="freeze it, or let the records go one by one (engine = 'one-by-one')",
                        ) from None
        # Kept as they are even within a checkpoint: its blocks could not run again for all records at once.
        kept = saved_tensors_hooks(torch.Tensor.detach, _same)
        with torch._C.DisableTorchFunctionSubclass(), kept:
            result = func(*unwrapped(args), **{key: unwrapped(value) for key, value in kwargs.items()})
        return self._wrapped(result, origin)

    @staticmethod
    def _first_sizes(func: Any, args: tuple[Any, ...], others: list[torch.Tensor]) -> list[int]:
        """The first dimensions by which a call may be seen to take records."""
        if func in SPREADING:
            return [int(sizes_of(args[1:])[0])]
        return [int(other.shape[0]) for other in others]

    def _wrapped(self, result: Any, origin: str) -> Any:
        if torch.is_tensor(result):
            return Shared.of(result, origin, self) if result.requires_grad else result
        if isinstance(result, list | tuple) and any(torch.is_tensor(item) for item in result):
            items = [self._wrapped(item, origin) for item in result]
            if isinstance(result, list):
                return items
            return type(result)(items) if hasattr(result, "_fields") else tuple(items)
        return result

    def _through_derived(self) -> None:
        """Gradients of values that were computed from parameters alone, taken on to the parameters."""
        if not self._derived:
            return
        values, rows, origins = zip(*self._derived.values(), strict=True)
        names = sorted({name for origin in origins for name in origin.split("+")})
        grads = torch.autograd.grad(
            values,
            [self._leaves[name] for name in names],
            [r.to(v.dtype) for r, v in zip(rows, values, strict=True)],
            is_grads_batched=True,
            allow_unused=True,
        )
        self._derived.clear()
        for name, grad in zip(names, grads, strict=True):
            if grad is not None:
                self._found.setdefault(name, []).append(Rows(grad.float()))


def _same(saved: torch.Tensor) -> torch.Tensor:
    return saved


def _name(func: Any) -> str:
    return str(getattr(func, "__name__", func))

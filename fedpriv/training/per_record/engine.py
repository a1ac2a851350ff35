"""Clipped sums of per-record gradients for any model, in one forward and one backward pass."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from fedpriv.errors import UnsafeParameters, UsageError
from fedpriv.training.matmul import fast_linear
from fedpriv.training.per_record.batches import records_in, some_records
from fedpriv.training.per_record.clipping import CLIPPINGS, factors
from fedpriv.training.per_record.memory import records_within
from fedpriv.training.per_record.mixing import refuse_mixing
from fedpriv.training.per_record.opacus_hooks import by_opacus
from fedpriv.training.per_record.padding import see_padding
from fedpriv.training.per_record.rows import Gradient
from fedpriv.training.per_record.tape import Coincidence, NewPlace
from fedpriv.training.per_record.trial import beside, compare, tolerance_of, trial, undisturbed
from fedpriv.training.per_record.ways import Direct, Losses, Way, alone, in_single, none, trained
from fedpriv.training.task import evaluating

__all__ = ["WAYS", "ClippedSum", "PerRecordGradients"]

WAYS: Final = ("direct", "one-by-one", "opacus")


@dataclass(frozen=True, slots=True)
class ClippedSum:
    """The sum of a batch's clipped gradients.

    ``sums``: by parameter, in its shape, single precision or better; ``norms``: float64, shape (b,), before
    clipping, and private; ``dropped``: how many records were left out as their gradient was not finite.
    """

    sums: dict[str, torch.Tensor]
    norms: torch.Tensor
    dropped: int


class PerRecordGradients:
    """Per-record gradients of the parameters of ``model`` that require one.

    The model is used as it is, with no wrapper and no hook; between calls it is unchanged.  ``losses`` is the
    contract that privacy rests on: the loss of a record depends neither on the others of its batch nor on how
    many they are.  The first batch is tried before anything is handed out (``trial.py``), and so is the first
    after other parameters were chosen.

    Args:
        model: any module; in training mode dropout acts as it does without this.
        losses: (model, batch) -> one loss a record, shape (b,).
        way: ``direct``: one backward pass a batch; ``one-by-one``: one a record, which covers all that torch
            can differentiate, slowly; ``opacus``: by its hooks, where they are known to be right, without
            dropout.

    Raises:
        UsageError: nothing is trained, or an unknown way.
        UnsafeParameters: a module mixes records.
    """

    def __init__(self, model: nn.Module, losses: Losses, *, way: str = "direct") -> None:
        if way not in WAYS:
            raise UsageError(f"{way!r} is not a gradient engine", hint=f"choose {' or '.join(WAYS)}")
        self.model = model
        self.losses = losses
        self.way = way
        self.dropped = 0
        """Records left out because their gradient was not finite, since this object was made."""
        self._direct = Direct()
        self._tried: tuple[frozenset[str], bool] | None = None
        self._padding_seen = False
        refuse_mixing(model)
        self.parameters()

    def parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that are trained now, by name."""
        found = trained(self.model)
        if not found:
            raise UsageError(
                "the model has no trainable parameter", hint="attach an adapter, or unfreeze some"
            )
        return found

    def clipped_sum(self, batch: Any, *, clip: float, clipping: str = "flat") -> ClippedSum:
        """The sum over the records of ``batch`` of their gradients, each clipped.

        What one record adds is at most ``clip`` long, over all parameters together, whatever the ``clipping``
        (``clipping.factors``).  Peak memory is that of plain training and the gradients of the batch, each in
        the cheaper of two forms (``rows.py``); a table tied to the output layer has one a record.

        Raises:
            UsageError: a clip that is not positive, or an unknown way of clipping.
            UnsafeParameters: a parameter is used in a way that is not covered, or records are coupled.
        """
        if not (math.isfinite(clip) and clip > 0):
            raise UsageError(f"the clipping norm must be positive, not {clip}")
        if clipping not in CLIPPINGS:
            raise UsageError(f"{clipping!r} is not a way of clipping", hint=f"choose {', '.join(CLIPPINGS)}")
        sums: dict[str, torch.Tensor] = {}
        norms: list[torch.Tensor] = []
        dropped = 0
        for found in self._pieces(batch, rows_only=False):
            layers: dict[str, torch.Tensor] = {}
            with in_single(self.model):
                for name, gradient in found.items():
                    square = gradient.squares()
                    layers[_layer(name)] = layers[_layer(name)] + square if _layer(name) in layers else square
                scale, usable = factors(layers, clip, clipping)
                for name, gradient in found.items():
                    part = gradient.total(scale[_layer(name)])
                    sums[name] = sums[name].add_(part) if name in sums else part
            norms.append(torch.stack(list(layers.values())).sum(0).sqrt())
            dropped += int((~usable).sum())
        self.dropped += dropped
        return ClippedSum(sums, torch.cat(norms), dropped)

    def records_within(self, batch: Any, budget: int) -> int:
        """How many records, each as long as ``batch`` is padded, one pass may take in ``budget`` bytes.

        It counts what the first record of the batch takes (``memory.py``).

        Raises:
            UsageError: not even one record fits.
            UnsafeParameters: see `clipped_sum`.
        """
        if self.way == "one-by-one":
            return 1
        self._ready(batch)
        if self.way == "direct":
            self._learn(some_records(batch, [0]))
        way: Way = by_opacus if self.way == "opacus" else self._direct
        return records_within(self.model, self.losses, batch, way, budget)

    def rows(self, batch: Any) -> dict[str, torch.Tensor]:
        """Each record's gradient, unclipped, by parameter: shape (b, *shape), single precision or better."""
        pieces = [
            {name: gradient.rows() for name, gradient in found.items()}
            for found in self._pieces(batch, rows_only=True)
        ]
        if len(pieces) == 1:
            return pieces[0]
        return {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}

    def fill(self, batch: Any) -> None:
        """Each record's gradient as ``grad_sample`` of its parameter, where Opacus's optimizers look."""
        parameters = self.parameters()
        for name, rows in self.rows(batch).items():
            parameters[name].grad_sample = rows  # type: ignore[attr-defined]

    def _pieces(self, batch: Any, *, rows_only: bool) -> Iterator[dict[str, Gradient]]:
        """The gradients of the batch, of all records at once or of one after the other."""
        if not records_in(batch):
            yield {name: none(p, 0) for name, p in self.parameters().items()}
            return
        self._ready(batch)
        if self.way == "one-by-one":
            yield from self._one_by_one(batch)
        elif self.way == "opacus":
            yield by_opacus(self.model, self.losses, batch)
        else:
            self._direct.rows_only = rows_only
            try:
                try:
                    with fast_linear():
                        found = self._direct(self.model, self.losses, batch)
                except NewPlace:  # as where the first batch needed no padding
                    self._learn(batch)
                    with evaluating(self.model):
                        compare(self.model, self.losses, batch, self._direct)
                    with fast_linear():
                        found = self._direct(self.model, self.losses, batch)
            except Coincidence:
                yield from self._one_by_one(batch)
            else:
                yield found

    def _one_by_one(self, batch: Any) -> Iterator[dict[str, Gradient]]:
        for record in range(records_in(batch)):
            with fast_linear():
                found = alone(self.model, self.losses, some_records(batch, [record]))
            yield {name: found.get(name) or none(p, 1) for name, p in self.parameters().items()}

    def _ready(self, batch: Any) -> None:
        """Try the engine on ``batch`` if it is the first, or the first since other parameters are trained.

        A batch that cannot show how records are coupled, as one of a single record, is not the last tried.
        """
        refuse_mixing(self.model)
        if not self._padding_seen:
            self._padding_seen = see_padding(self.model, self.losses, batch, tolerance_of(self.model))
        training = any(module.training for module in self.model.modules())
        state = (frozenset(self.parameters()), training)
        if state == self._tried:
            return
        size = records_in(batch)
        some = some_records(batch, [0, size // 2, size - 1])
        whole: Way | None = None
        if self.way == "direct":
            self._direct = Direct()
            self._learn(some)
            whole = self._direct
        elif self.way == "opacus":
            whole = by_opacus
        try:
            told = trial(self.model, self.losses, some, whole)
            if training:
                if self.way == "direct":
                    for pair in ([0, 0], [0, -1]):  # of which one may be padded and the other not
                        self._learn(some_records(some, pair))
                beside(self.model, self.losses, some, whole)
        except Coincidence as at:
            raise UnsafeParameters(
                f"{at.args[0]!r} meets records and a constant of as few rows in the same way",
                hint="let the records go one by one (engine = 'one-by-one')",
            ) from None
        self._tried = state if told else None

    def _learn(self, batch: Any) -> None:
        """Which calls see records, in evaluation and, if the model is in it, in training."""
        with evaluating(self.model):
            self._direct.learn(self.model, self.losses, batch)
        if any(module.training for module in self.model.modules()):
            with undisturbed(self.model):
                self._direct.learn(self.model, self.losses, batch)


def _layer(name: str) -> str:
    return name.rpartition(".")[0]

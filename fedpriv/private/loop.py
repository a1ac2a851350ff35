"""A training loop of one's own, made private."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from types import TracebackType
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, SequentialSampler

from fedpriv.errors import UnsafeParameters, UsageError
from fedpriv.private.gradients import PrivateGradients
from fedpriv.private.optimizer import check_optimizer
from fedpriv.private.sampling import PoissonBatch

__all__ = ["PrivateLoop", "rate_of", "steps_of"]


class PrivateLoop:
    """Yields Poisson samples until the planned steps are done, and takes the private steps.

    Made by `fedpriv.make_private`.  Leaving the loop early is fine: a new ``for`` goes on, with the sample
    that was drawn last if it was not stepped.  At the end of the steps, or of a ``with`` block that raised
    nothing, the run is closed in the ledger.
    """

    def __init__(self, gradients: PrivateGradients, optimizer: torch.optim.Optimizer) -> None:
        check_optimizer(gradients.model, optimizer)
        self._gradients = gradients
        self._optimizer = optimizer
        self._pending: PoissonBatch | None = None

    def __iter__(self) -> Iterator[PoissonBatch]:
        while self._pending is not None or self._gradients.remaining:
            batch = self._pending = self._pending or self._gradients.draw()
            yield batch
            if self._pending is batch:
                raise UsageError(
                    "a sample was drawn and not stepped, and to skip samples is not accounted for",
                    hint="call step(batch) once for every batch of the loop, also for an empty one",
                )
        self.finish()

    def step(self, batch: PoissonBatch) -> None:
        """Clip, sum and noise the sample's gradients, account for them, and let the optimizer step.

        Afterwards the parameters have no gradient.

        Args:
            batch: the one that the loop has given last.

        Raises:
            BudgetExceeded: the data set's budget does not allow one more step; nothing moved.
            IntegrityError: the step has changed something that is not trained.
            UsageError: another batch, or other parameters are trained than at the start.
        """
        if batch is not self._pending:
            raise UsageError(
                "this batch is not the Poisson sample that was drawn last",
                hint="call step once with each batch of `for batch in private`",
            )
        check_optimizer(self._gradients.model, self._optimizer)
        self._gradients.reserve(batch)
        self._pending = None
        self._gradients.fill(batch)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._gradients.check()

    @property
    def epsilon(self) -> float:
        """What the data set has lost so far over all runs, as the ledger has it."""
        return self._gradients.epsilon

    @property
    def planned_epsilon(self) -> float:
        """What it comes to with all planned steps.

        A run that is stopped early *because of its results* has this one; one that is stopped by an accident,
        or that takes all its steps, has `epsilon` (protocols/ledger/spec.md, 6.5).
        """
        return self._gradients.planned_epsilon

    @property
    def delta(self) -> float:
        """δ of the data set's budget."""
        return self._gradients.delta

    @property
    def noise_multiplier(self) -> float:
        """Standard deviation of the noise over the clipping norm."""
        return self._gradients.plan.noise_multiplier

    @property
    def steps(self) -> int:
        """Steps that count as spent."""
        return self._gradients.steps

    @property
    def remaining(self) -> int:
        """Steps that the plan still allows."""
        return self._gradients.remaining

    @property
    def metrics(self) -> dict[str, float]:
        """Figures of the last step on its sample, private: only with ``metrics=True``.

        Raises:
            UsageError: they were not asked for.
        """
        if self._gradients.metrics is None:
            raise UsageError(
                "loss, norms and clip fraction of private records are outputs that no noise covers",
                hint="ask for them with metrics=True, and show them to nobody who must not see the records",
            )
        return dict(self._gradients.metrics.last)

    def finish(self) -> None:
        """Close the run in the ledger; a second call does nothing.

        Raises:
            IntegrityError: a frozen weight has changed; named.
        """
        self._gradients.finish()

    def __enter__(self) -> PrivateLoop:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:  # else it can be taken up again
            self.finish()

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint, beside those of model and optimizer."""
        return self._gradients.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the run of a checkpoint; see `PrivateGradients.load_state_dict`."""
        self._gradients.load_state_dict(state)

    def __repr__(self) -> str:
        plan = self._gradients.plan
        insecure = ", INSECURE SEED: protects nobody" if self._gradients.insecure else ""
        return (
            f"PrivateLoop(steps={plan.steps}, sampling_rate={plan.sampling_rate:.4g}, noise_multiplier="
            f"{plan.noise_multiplier:.4g}, max_grad_norm={plan.grid.clip:g}{insecure})"
        )


def rate_of(loader: DataLoader[Any]) -> float:
    """The Poisson sampling rate with which a sample is expected to have ``loader.batch_size`` records.

    Raises:
        UsageError: not a loader over a map-style data set, or one whose way of sampling is lost.
        UnsafeParameters: a way of sampling that is not Poisson and was asked for.
    """
    if not isinstance(loader, DataLoader):
        raise UsageError(
            f"a {type(loader).__name__} is not a torch.utils.data.DataLoader",
            hint="give a DataLoader over a map-style data set",
        )
    if isinstance(loader.dataset, IterableDataset) or not hasattr(loader.dataset, "__len__"):
        raise UsageError(
            "a stream of records cannot be sampled: Poisson sampling looks every record up by its number",
            hint="give a map-style data set, with __len__ and __getitem__",
        )
    if loader.batch_size is None or type(loader.batch_sampler) is not BatchSampler:
        raise UnsafeParameters(
            "batches of a sampler of one's own are not Poisson samples, which alone the guarantee is for",
            hint="leave batch_sampler out and give batch_size, the expected size of a sample",
        )
    if type(loader.sampler) not in (RandomSampler, SequentialSampler):
        raise UnsafeParameters(
            f"a {type(loader.sampler).__name__} does not draw each record independently with one probability",
            hint="leave sampler out: records are drawn by Poisson sampling, whatever shuffle says",
        )
    if isinstance(loader.sampler, RandomSampler) and loader.sampler.num_samples != len(loader.dataset):
        raise UnsafeParameters(
            "a sampler with a number of samples of its own is not a Poisson sample", hint="leave sampler out"
        )
    if loader.drop_last:
        raise UsageError(
            "drop_last has no meaning for Poisson samples, whose size varies",
            hint="leave drop_last out; a sample of any size, also an empty one, is a step",
        )
    return loader.batch_size / len(loader.dataset)


def steps_of(rate: float, *, steps: int | None, epochs: float | None) -> int:
    """The number of steps: given, or so many that a record is expected in ``epochs`` of them.

    >>> steps_of(32 / 1000, steps=None, epochs=2)
    63
    """
    if (steps is None) == (epochs is None):
        raise UsageError("give steps or epochs, and not both")
    if steps is not None:
        return steps
    return math.ceil(Fraction(epochs or 0) / Fraction(rate).limit_denominator(10**9))

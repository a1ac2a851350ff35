"""Private gradients of a model on a data set: sample, clip, sum, noise, account."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from fedpriv import dp
from fedpriv.entropy import Entropy
from fedpriv.errors import UnsafeParameters, UsageError
from fedpriv.peft import Manifest
from fedpriv.private.account import Account, Plan, make_plan
from fedpriv.private.budget import Budget
from fedpriv.private.canonical import Records
from fedpriv.private.draws import own_draws
from fedpriv.private.metrics import Metrics
from fedpriv.private.sampling import PoissonBatch, Sampler, length, onto
from fedpriv.private.untouched import Untouched
from fedpriv.training.losses import losses_of
from fedpriv.training.per_record import ClippedSum, Losses, PerRecordGradients

__all__ = ["PrivateGradients"]

_MICRO_BATCH: Final = 32
_INSECURE: Final = "insecure: noise and samples follow from a seed"


class PrivateGradients:
    """What `fedpriv.make_private` and `fedpriv.hf.PrivateTrainer` are made of.

    `draw` gives a Poisson sample, `fill` puts its private gradient where an optimizer looks for one.  Nothing
    is written to the ledger before the first `draw`.  The number of records is treated as public, as the
    sampling rate and the divisor are made of it.

    Args:
        model: any module; what requires a gradient is trained.
        records: a map-style data set; read in this process.
        collate: a list of records -> a batch.
        budget: of the data set.
        sampling_rate: probability of each record in each step.
        steps: how many.
        clip: bound C on the l2 norm of a record's gradient.
        losses: (model, batch) -> one loss a record, shape (b,); default: `training.losses.losses_of`.
        noise_multiplier: standard deviation of the noise over C; default: the least that ``epsilon`` allows.
        epsilon: what this run may cost; default: the whole budget.
        micro_batch: records in one backward pass; default: 32, or as many as ``memory`` takes.
        memory: bytes that one backward pass may take, beside weights and optimizer.
        engine: how the records' gradients are computed, see `training.per_record`.
        clipping: ``flat``, ``per-layer`` or ``automatic``.
        metrics: compute and keep figures on the sampled records, which no noise covers.
        insecure_seed: repeatable noise and samples, for tests: whoever knows the seed can take them off.
        autocast: ``torch.bfloat16`` for forward passes in mixed precision.

    Raises:
        UsageError: an argument out of range, or records that have no canonical form and no fingerprint.
        UnsafeParameters: no gradient by record is known for something in the model, records are coupled, or
            the collator makes of them another number of rows.
    """

    def __init__(
        self,
        model: nn.Module,
        records: Records,
        collate: Callable[[list[Any]], Any],
        *,
        budget: Budget,
        sampling_rate: float,
        steps: int,
        clip: float,
        losses: Losses | None = None,
        noise_multiplier: float | None = None,
        epsilon: float | None = None,
        micro_batch: int | None = None,
        memory: int | None = None,
        engine: str = "direct",
        clipping: str = "flat",
        metrics: bool = False,
        insecure_seed: int | None = None,
        autocast: torch.dtype | None = None,
    ) -> None:
        if micro_batch is not None and memory is not None:
            raise UsageError("micro_batch and memory say the same thing twice", hint="give one of them")
        micro_batch = _MICRO_BATCH if micro_batch is None else micro_batch
        if micro_batch < 1:
            raise UsageError(f"a micro-batch must hold at least one record, not {micro_batch}")
        if autocast not in (None, torch.bfloat16):
            raise UsageError(
                f"forward passes in {autocast} are not offered",
                hint="use torch.bfloat16, which needs no scaling",
            )
        self.model = model
        self.metrics = Metrics(losses or losses_of(model)) if metrics else None
        self._autocast = autocast
        self._engine = PerRecordGradients(model, self.metrics or losses or losses_of(model), way=engine)
        self._clipping, self._micro_batch, self._collate = clipping, micro_batch, collate
        self._manifest = Manifest.of(model)
        self._sampler = Sampler(records, sampling_rate)
        self._entropy = Entropy(insecure_seed, "fedpriv/private/insecure-entropy/v1")
        self._finished = False
        self._try(clip)
        if memory is not None:
            self._micro_batch = self._within(memory)
        self._untouched = Untouched(model, self._manifest)
        self._account = Account(budget, records)
        allowed = self._account.allowance
        dp.check_delta_for_records(allowed.delta, len(records))
        if epsilon is not None and not 0.0 < epsilon <= allowed.epsilon:
            raise UsageError(
                f"epsilon = {epsilon:g} for this run is not between 0 and the data set's budget of "
                f"{allowed.epsilon:g}",
                hint="lower it, or leave it out to plan with the whole budget",
            )
        self._delta, self._multiplier = allowed.delta, noise_multiplier
        self._plan = make_plan(
            epsilon=allowed.epsilon if epsilon is None else epsilon,
            delta=allowed.delta,
            noise_multiplier=noise_multiplier,
            clip=clip,
            dimension=self._manifest.size,
            records=len(records),
            sampling_rate=sampling_rate,
            steps=steps,
        )
        if insecure_seed is not None:
            warnings.warn(
                "insecure_seed is set: whoever knows the seed can take the noise off, so that this run "
                "protects nobody",
                stacklevel=3,
            )

    # What a run says of itself.

    @property
    def plan(self) -> Plan:
        """What the run commits to."""
        return self._plan

    @property
    def expected_batch(self) -> float:
        """Expected number of records in a sample: what a noisy sum is divided by."""
        return self._plan.sampling_rate * self._sampler.count

    @property
    def steps(self) -> int:
        """Steps that count as spent."""
        return self._account.record.counted if self._account.run_id else 0

    @property
    def remaining(self) -> int:
        """Steps that the plan still allows."""
        return 0 if self._finished else self._plan.steps - self.steps

    @property
    def epsilon(self) -> float:
        """What the data set has lost so far over all runs, as the ledger has it, at its budget's δ."""
        spent = self._account.spent
        return 0.0 if spent is None else spent.epsilon

    @property
    def planned_epsilon(self) -> float:
        """What it comes to with all steps: the figure that holds where a run is stopped by its results.

        Before the first step it is that of this run alone.
        """
        spent = self._account.spent
        return (
            spent.planned_epsilon if spent is not None and self._account.run_id else self._epsilon_planned()
        )

    @property
    def delta(self) -> float:
        """δ of the data set's budget."""
        return self._delta

    @property
    def insecure(self) -> bool:
        """Whether noise and samples follow from a seed."""
        return self._entropy.insecure_seed is not None

    # One step.

    def draw(self) -> PoissonBatch:
        """A fresh Poisson sample; the first one commits the plan to the ledger.

        Raises:
            BudgetExceeded: the data set's budget does not admit the plan; nothing was written.
            UsageError: the run has finished, or has no steps left.
        """
        if self.remaining < 1:
            raise UsageError("the run has no steps left", hint="begin a new one; it needs a plan of its own")
        if not self._account.run_id:
            self._account.commit(self._plan, self._details())
        return self._sampler.draw(self._entropy.stream("sample", self._next_step()).words)

    def reserve(self, batch: PoissonBatch) -> None:
        """Count the step as spent, durably, before its sum exists; `fill` does it where it was not done.

        Raises:
            BudgetExceeded: the budget does not allow one more step; nothing was written and nothing moved.
        """
        if batch.step is None:
            batch.step = self._account.reserve()

    def fill(self, batch: PoissonBatch) -> None:
        """Put the private gradient of ``batch`` into ``grad`` of every trained parameter.

        The order is: reserve, clip and sum, noise, record the release, hand out.  An empty sample is noise
        alone, and accounted for.  A step that fails on the way stays counted.

        Raises:
            BudgetExceeded: see `reserve`.
            IntegrityError: something that is not trained has changed.
            UsageError: other parameters are trained than at the start.
        """
        if Manifest.of(self.model) != self._manifest:
            raise UsageError(
                "other parameters require a gradient than when the run was planned",
                hint="choose what is trained before, and leave it",
            )
        self.reserve(batch)
        step = batch.step
        assert step is not None  # noqa: S101 -- reserve sets it
        sums = self._sums(batch)
        words = self._entropy.stream("noise", step).words
        seal = hashlib.sha256()
        released = {}
        parameters = dict(self.model.named_parameters())
        for name, noisy in self._plan.grid.release(sums, self.expected_batch, words, seal):
            released[name] = noisy.to(parameters[name].device, parameters[name].dtype)
        self._untouched.check()
        self._account.release(step, {"aggregate": seal.hexdigest()})
        for name, gradient in released.items():
            parameters[name].grad = gradient

    def check(self) -> None:
        """Raises ``IntegrityError``, naming it, where something that is not trained was written to."""
        self._untouched.check()

    # Ending and going on.

    def finish(self) -> None:
        """See that nothing frozen has changed, and close the run in the ledger; a second call does nothing.

        Raises:
            IntegrityError: a frozen weight has changed; named.
        """
        if self._finished:
            return
        self._untouched.verify()
        if self._account.run_id:
            vector = self._manifest.flatten(self.model)
            digest = hashlib.sha256(vector.data).hexdigest()
            self._account.finish({"steps": self.steps, "parameters": digest})
        self._finished = True

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on; nothing secret."""
        return {
            "run": self._account.run_id,
            "steps": self.steps,
            "noise_multiplier": self._plan.noise_multiplier,
            "head": self._account.head if self._account.run_id and not self._finished else "",
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the run of a saved state, with fresh randomness, from where the ledger says it stands.

        Steps that were reserved after the state was saved stay spent, and are not done again.

        Raises:
            UsageError: this run has begun already, the state is none, or the arguments are others.
            IntegrityError: the ledger is not the one, or an older copy of it.
        """
        if self._account.run_id or self._finished:
            raise UsageError(
                "a run that has begun cannot take up another", hint="load the state before the first step"
            )
        try:
            run, head, multiplier = str(state["run"]), str(state["head"]), float(state["noise_multiplier"])
        except (KeyError, TypeError, ValueError):
            raise UsageError("this is not the saved state of a private run") from None
        if not run:
            return  # saved before its first step: nothing to go on with
        plan = make_plan(
            epsilon=self._account.allowance.epsilon,
            delta=self._delta,
            noise_multiplier=multiplier if self._multiplier is None else self._multiplier,
            clip=self._plan.grid.clip,
            dimension=self._manifest.size,
            records=self._sampler.count,
            sampling_rate=self._plan.sampling_rate,
            steps=self._plan.steps,
        )
        self._account.take_up(run, plan, head)
        self._plan = plan

    # Inside.

    @contextmanager
    def _passes(self, *labels: str | int) -> Iterator[None]:
        """The precision that this was made with, and random numbers of its own, whatever the caller set."""
        precision = torch.autocast(
            self._device.type, dtype=self._autocast or torch.bfloat16, enabled=self._autocast is not None
        )
        with precision, own_draws(self._device, self._entropy.stream("model", *labels)):
            yield

    @property
    def _device(self) -> torch.device:
        return next(p.device for p in self.model.parameters() if p.requires_grad)

    def _batch(self, items: Sequence[Any]) -> Any:
        return onto(self._collate(list(items)), self._device)

    def _try(self, clip: float) -> None:
        """See on three records, before anything is planned, that the engine is right; nothing is kept."""
        count = self._sampler.count
        if not count:
            raise UsageError("the data set holds no record")
        some = self._sampler.read(np.unique([0, count // 2, count - 1]))
        with self._passes("trial"):
            self._clipped(some, clip)
        if self.metrics is not None:
            self.metrics.clear()

    def _within(self, memory: int) -> int:
        """How many records, each as long as the longest of all, one pass takes in ``memory`` bytes."""
        records = self._sampler.records
        longest = max(range(len(records)), key=lambda index: length(records[index]))
        with self._passes("memory"):
            batch = self._batch(self._sampler.read(np.full(3, longest)))
            return self._engine.records_within(batch, memory)

    def _sums(self, batch: PoissonBatch) -> dict[str, torch.Tensor]:
        """The clipped gradients of the sample's records, added in double precision."""
        parameters = self._engine.parameters()
        sums = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in parameters.items()}
        with self._passes(batch.step or 0):
            for items in batch.micro_batches(self._micro_batch):
                found = self._clipped(items, self._plan.grid.clip)
                for name, part in found.sums.items():
                    sums[name].add_(part)
                if self.metrics is not None:
                    self.metrics.add(found)
        if self.metrics is not None:
            self.metrics.close(self._plan.grid.clip)
        return sums

    def _clipped(self, items: Sequence[Any], clip: float) -> ClippedSum:
        """The clipped sum of some records, each of which is one row of their batch."""
        found = self._engine.clipped_sum(self._batch(items), clip=clip, clipping=self._clipping)
        if len(found.norms) != len(items):
            raise UnsafeParameters(
                f"the collator makes {len(found.norms)} rows of {len(items)} records, so that what is "
                "clipped is no record's gradient",
                hint="give one row a record: cut long texts, or let each window be a record of the data set, "
                "and pack none together",
            )
        return found

    def _next_step(self) -> int:
        return (self._account.record.last_round or 0) + 1

    def _epsilon_planned(self) -> float:
        return dp.epsilon_pld([(self._plan.event, self._plan.steps)], self.delta)

    def _details(self) -> dict[str, Any]:
        """What the ledger says of the run beside its event."""
        return {
            "manifest": self._manifest.digest(),
            "clip": self._plan.grid.clip,
            "clipping": self._clipping,
            "engine": self._engine.way,
            "expected_batch": self.expected_batch,
            "reports": list(Metrics.NAMES) if self.metrics is not None else [],
            **({"randomness": _INSECURE} if self.insecure else {}),
        }

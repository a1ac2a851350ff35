"""`PrivateTrainer`: the Trainer of transformers, with private gradients and the budget kept in the ledger.

It stands on what `fedpriv.make_private` stands on.  Importing this module loads torch and transformers.
"""

from __future__ import annotations

import copy
import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torch.utils.data import IterableDataset
from transformers import Trainer, TrainingArguments

from fedpriv.errors import BudgetExceeded, UnsafeParameters, UsageError
from fedpriv.private import Budget
from fedpriv.private.gradients import PrivateGradients
from fedpriv.private.optimizer import check_optimizer
from fedpriv.private.sampling import PoissonBatch
from fedpriv.training.per_record import Losses

__all__ = ["PrivateTrainer"]

_STATE: Final = "fedpriv_run.json"
_logger = logging.getLogger(__name__)

# What a training argument is refused for, where its value is set.
_REFUSED: Final = {
    "fp16": "scaled losses in half precision are not offered: use bf16=True, which needs no scaling",
    "bf16_full_eval": "it would change the weights' precision between steps: leave it out, or use bf16=True",
    "fp16_full_eval": "it would change the weights' precision between steps: leave it out, or use bf16=True",
    "label_smoothing_factor": "it is averaged over the tokens of a batch: give losses= of your own",
    "dataloader_drop_last": "Poisson samples have no last batch to drop, and every one of them is a step",
    "auto_find_batch_size": "a step that is tried again would be released twice: choose a size that fits",
    "neftune_noise_alpha": "its noise depends on how the other records pad a batch",
    "use_liger_kernel": "its kernels have no gradient by record",
    "torch_compile": "compiled code has no gradient by record",
    "deepspeed": "sharded training has no gradient by record here",
    "fsdp": "sharded training has no gradient by record here",
    "include_num_input_tokens_seen": "the tokens of the sampled records are private",
    "torch_empty_cache_steps": "it is a part of Trainer's own step, which is replaced",
}
_OPTIMIZERS: Final = ("lomo", "layerwise")


class PrivateTrainer(Trainer):  # type: ignore[misc]
    """`transformers.Trainer` whose every step is a private one (DP-SGD, arXiv 1607.00133).

    A step takes a Poisson sample of ``train_dataset``, in micro-batches of ``per_device_train_batch_size``.
    Its expected size is ``per_device_train_batch_size * gradient_accumulation_steps`` records.  The number of
    records is treated as public.  ``args.max_grad_norm``, which clips whole batches, is not used.  What is
    logged is learning rate, step and ε.  Training loss and gradient norms are private: without
    ``metrics=True`` they are not shown, and ``TrainOutput.training_loss`` is NaN.  Evaluation is as usual and
    not accounted for: evaluate on other records than are trained on.

    A checkpoint carries the run's name in the ledger; ``train(resume_from_checkpoint=…)`` goes on with its
    plan and fresh randomness.  Where the budget ends the run, a line says so, `stopped` keeps it, and the
    model is that of the last step, or the best one where ``load_best_model_at_end`` is set.

    Args:
        model, args, data_collator, train_dataset, eval_dataset, processing_class, compute_metrics, callbacks,
            optimizers, …: as for Trainer.
        budget: of the training data; needed to train.
        max_grad_norm: C, bound on the l2 norm of one record's gradient.
        losses, noise_multiplier, epsilon, engine, clipping, metrics, insecure_seed: as for
            `fedpriv.make_private`.

    Raises:
        UsageError, UnsafeParameters: a training argument that cannot be combined with this, named.
    """

    def __init__(
        self,
        *positional: Any,
        args: TrainingArguments | None = None,
        budget: Budget | None = None,
        max_grad_norm: float = 1.0,
        losses: Losses | None = None,
        noise_multiplier: float | None = None,
        epsilon: float | None = None,
        engine: str = "direct",
        clipping: str = "flat",
        metrics: bool = False,
        insecure_seed: int | None = None,
        **others: Any,
    ) -> None:
        if len(positional) > 1:
            raise UsageError(
                "PrivateTrainer takes its arguments by name", hint="write args=…, train_dataset=…"
            )
        if others.get("compute_loss_func") is not None:
            raise UsageError(
                "compute_loss_func gives one loss for a batch", hint="give losses=, which gives one a record"
            )
        given = TrainingArguments() if args is None else args
        _check(given)
        ours = copy.copy(given)
        # A step's sample is one batch to Trainer, and the noisy gradient is not clipped again.
        ours.gradient_accumulation_steps = 1
        ours.max_grad_norm = 0.0
        ours.ignore_data_skip = True
        super().__init__(*positional, args=ours, **others)
        self.stopped = ""
        """Why the run was stopped before its last step, if the budget did."""
        self.private: PrivateGradients | None = None
        """The private run, once training has begun."""
        self._expected = given.per_device_train_batch_size * given.gradient_accumulation_steps
        self._resume: Path | None = None
        self._closed = False
        self._metrics = metrics
        self._budget = budget
        self._options: dict[str, Any] = {
            "clip": max_grad_norm,
            "losses": losses,
            "noise_multiplier": noise_multiplier,
            "epsilon": epsilon,
            "engine": engine,
            "clipping": clipping,
            "metrics": metrics,
            "insecure_seed": insecure_seed,
            "autocast": torch.bfloat16 if given.bf16 else None,
        }

    # What Trainer asks for.

    def train(self, *positional: Any, **named: Any) -> Any:
        """As `Trainer.train`; the run is closed in the ledger when all its steps are done or paid for.

        Raises:
            BudgetExceeded: the budget does not admit the plan; nothing was spent.
            IntegrityError: something that is not trained has changed; the model must not be used.
            UsageError: no budget was given, or the data set cannot be sampled.
        """
        self.stopped, self._resume, self._closed = "", None, False
        output = super().train(*positional, **named)
        self._close_run()
        return output if self._metrics else output._replace(training_loss=math.nan)

    def get_train_dataloader(self) -> Any:
        """Poisson samples, one a step, for as long as the plan has steps."""
        records = self.train_dataset
        if self._budget is None:
            raise UsageError(
                "private training needs a budget", hint="give budget=fedpriv.Budget(epsilon=…, delta=…)"
            )
        if records is None or isinstance(records, IterableDataset) or not hasattr(records, "__len__"):
            raise UsageError(
                "Poisson sampling looks every record up by its number", hint="give a map-style train_dataset"
            )
        self.model.train()  # the mode that the engine is tried in
        per_epoch = math.ceil(len(records) / self._expected)
        steps = (
            self.args.max_steps
            if self.args.max_steps > 0
            else math.ceil(self.args.num_train_epochs * per_epoch)
        )
        self.private = PrivateGradients(
            self.model,
            records,
            self._get_collator_with_removed_columns(self.data_collator, description="Training"),
            budget=self._budget,
            sampling_rate=self._expected / len(records),
            steps=steps,
            micro_batch=self.args.per_device_train_batch_size,
            **self._options,
        )
        if self._resume is not None:
            self.private.load_state_dict(_read_state(self._resume / _STATE))
        return _Samples(self, self.private, per_epoch)

    def get_batch_samples(
        self, epoch_iterator: Iterator[PoissonBatch], num_batches: int, device: Any
    ) -> tuple[list[PoissonBatch], None]:
        """The next sample, or none; how many tokens there are is nobody's business."""
        return [batch for batch in [next(epoch_iterator, None)] if batch is not None], None

    def training_step(
        self, model: nn.Module, inputs: PoissonBatch, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Put the private gradient of a sample in place; the loss is that of the sample, or zero."""
        assert self.private is not None  # noqa: S101 -- the sample came from it
        model.train()
        check_optimizer(self.model, self.optimizer)
        self.private.fill(inputs)
        kept = self.private.metrics
        return torch.tensor(kept.last.get("loss", 0.0) if kept is not None else 0.0, device=self.args.device)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As `Trainer.log`, without what is private and with what it cost."""
        if self.is_in_train and self.private is not None:
            if not self._metrics:
                for private in ("loss", "grad_norm", "train_loss"):
                    logs.pop(private, None)
            logs.pop("total_flos", None)
            logs["epsilon"] = self.private.epsilon
            if self.private.metrics is not None:
                logs.update(self.private.metrics.last)
        super().log(logs, start_time)

    def floating_point_ops(self, inputs: Any) -> int:
        """Zero: the true number tells how large the samples were."""
        return 0

    def get_total_train_batch_size(self, args: TrainingArguments) -> int:
        """The expected number of records in a sample."""
        return int(self._expected)

    def _close_run(self) -> None:
        """Close the run where it is over; one that a callback has stopped can be taken up again."""
        if self.private is None or self._closed:
            return
        if self.stopped or not self.private.remaining:
            self.private.finish()
        else:
            self.private.check()
        self._closed = True

    def _load_best_model(self) -> None:
        self._close_run()  # before all weights are written anew
        super()._load_best_model()

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> None:
        return None

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.private is not None:
            (Path(output_dir) / _STATE).write_text(json.dumps(self.private.state_dict()), encoding="utf-8")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self._resume = Path(resume_from_checkpoint)


class _Samples:
    """What Trainer takes for its data loader: in an epoch each record is expected once."""

    def __init__(self, trainer: PrivateTrainer, private: PrivateGradients, per_epoch: int) -> None:
        self._trainer = trainer
        self._private = private
        self._per_epoch = per_epoch
        self.dataset = trainer.train_dataset

    def __len__(self) -> int:
        return self._per_epoch

    def __iter__(self) -> Iterator[PoissonBatch]:
        for _ in range(self._per_epoch):
            if not self._private.remaining:
                self._trainer.control.should_training_stop = True
                return
            begun = self._private.steps > 0
            try:
                batch = self._private.draw()
                self._private.reserve(batch)
            except BudgetExceeded as error:
                if not begun:
                    raise
                self._trainer.stopped = str(error)
                self._trainer.control.should_training_stop = True
                _logger.warning("training stops at the privacy budget: %s", error)
                return
            yield batch


def _read_state(path: Path) -> dict[str, Any]:
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        state = None
    if not isinstance(state, dict):
        raise UsageError(
            f"the checkpoint {path.parent} holds no state of a private run",
            hint="resume from one that PrivateTrainer wrote",
        )
    return state


def _check(args: TrainingArguments) -> None:
    """Refuse what private steps cannot be combined with."""
    for name, reason in _REFUSED.items():
        if getattr(args, name, None) not in (None, False, 0, 0.0, "", "no", [], {}):
            raise UnsafeParameters(f"{name} cannot be used in private training: {reason}")
    if args.train_sampling_strategy != "random":
        raise UnsafeParameters(
            f"train_sampling_strategy={args.train_sampling_strategy!r} is not Poisson sampling, which alone "
            "the guarantee is for",
            hint="leave it out; records of similar length are put together inside each sample anyway",
        )
    if any(part in str(args.optim) for part in _OPTIMIZERS):
        raise UsageError(f"{args.optim} steps during the backward pass", hint="choose another optimizer")
    if args.world_size > 1 or args.n_gpu > 1:
        raise UsageError(
            "private training runs in one process on one device",
            hint="set CUDA_VISIBLE_DEVICES to one device",
        )

"""`make_private`: from a model, an optimizer and a loader to a private training loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fedpriv.private.budget import Budget

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.utils.data import DataLoader

    from fedpriv.private.loop import PrivateLoop
    from fedpriv.training.per_record import Losses

__all__ = ["make_private"]


def make_private(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loader: DataLoader[Any],
    *,
    budget: Budget,
    max_grad_norm: float = 1.0,
    steps: int | None = None,
    epochs: float | None = None,
    losses: Losses | None = None,
    noise_multiplier: float | None = None,
    epsilon: float | None = None,
    sample_rate: float | None = None,
    micro_batch: int | None = None,
    memory: int | None = None,
    engine: str = "direct",
    clipping: str = "flat",
    metrics: bool = False,
    autocast: torch.dtype | None = None,
    insecure_seed: int | None = None,
) -> PrivateLoop:
    """Make a training loop differentially private, record by record (DP-SGD, arXiv 1607.00133).

    ::

        private = fedpriv.make_private(
            model, optimizer, loader, budget=fedpriv.Budget(epsilon=8, delta=1e-5), steps=200
        )
        for batch in private:
            private.step(batch)
        print(private.epsilon)

    Model and optimizer are used as they are.  Of the loader its data set, collator and batch size are used:
    whether it shuffles or not, each step's records are drawn by Poisson sampling, each with probability
    ``batch_size / len(dataset)``, from the operating system's randomness.  The number of records is treated
    as public.  The guarantee is for one record more or less, and for every release of the run together with
    all others on the data set that the ledger knows.

    Args:
        model: what requires a gradient is trained; all other weights and buffers must stay as they are.
        optimizer: holds exactly the trained parameters.
        loader: over a map-style data set; its workers are not used.
        budget: of the data set; the run commits to its cost before the first step and cannot exceed it.
        max_grad_norm: C, bound on the l2 norm of one record's gradient.
        steps, epochs: one of the two; an epoch is ``len(dataset) / batch_size`` steps.
        losses: (model, batch) -> one loss a record, shape (b,), each a function of that record alone;
            default: by the model's class (`fedpriv.training.losses`).
        noise_multiplier: standard deviation of the noise over C; default: the least with which all steps
            cost at most ``epsilon``.
        epsilon: what this run may cost, where that is less than the budget.
        sample_rate: in place of ``batch_size / len(dataset)``.
        micro_batch, memory: records in one backward pass, or bytes that it may take, measured on the longest
            record; changes no guarantee.  Default: 32 records.
        engine: ``direct``, ``one-by-one`` (slow, covers all) or ``opacus`` (its hooks, where they are right).
        clipping: ``flat``, ``per-layer`` or ``automatic`` (arXiv 2206.07136).
        metrics: compute loss, norms and clip fraction of the samples: private figures that no noise covers;
            the ledger says that they were.
        autocast: ``torch.bfloat16`` for forward passes in mixed precision.
        insecure_seed: repeatable samples and noise, for tests; protects nobody, and says so.

    Raises:
        UsageError: something that cannot be used, with the reason.
        UnsafeParameters: it would run, but not protect: records that are coupled, a way of sampling that is
            not Poisson, a δ of one over the number of records or more.
    """
    from fedpriv.private.gradients import PrivateGradients
    from fedpriv.private.loop import PrivateLoop, rate_of, steps_of
    from fedpriv.private.optimizer import check_optimizer

    rate = rate_of(loader)
    rate = rate if sample_rate is None else sample_rate
    check_optimizer(model, optimizer)
    return PrivateLoop(
        PrivateGradients(
            model,
            loader.dataset,  # type: ignore[arg-type]
            loader.collate_fn,
            budget=budget,
            sampling_rate=rate,
            steps=steps_of(rate, steps=steps, epochs=epochs),
            clip=max_grad_norm,
            losses=losses,
            noise_multiplier=noise_multiplier,
            epsilon=epsilon,
            micro_batch=micro_batch,
            memory=memory,
            engine=engine,
            clipping=clipping,
            metrics=metrics,
            insecure_seed=insecure_seed,
            autocast=autocast,
        ),
        optimizer,
    )

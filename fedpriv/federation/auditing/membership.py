"""Membership inference against a finished run's model: its training records against the held-out ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedpriv import dp
from fedpriv.audit.membership import Membership, membership_test
from fedpriv.errors import IntegrityError
from fedpriv.federation.checkpoint import CHECKPOINT, Checkpoint
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.workplace import Workplace

if TYPE_CHECKING:
    from fedpriv.training import Encoded

__all__ = ["membership_of"]


def membership_of(work: Workplace, plan: Plan, run_dir: Path) -> Membership | None:
    """Attack the model that the run in ``run_dir`` released; None where it has not released one.

    The reference is the public model with the public parameters that the run started from.

    Raises:
        IntegrityError: the run's parameters are not those of this model.
    """
    if not (run_dir / "adapter").is_dir() or not (run_dir / CHECKPOINT).is_file():
        return None
    checkpoint = Checkpoint.load(run_dir / CHECKPOINT)
    start = work.manifest.flatten(work.model)
    if checkpoint.parameters.shape != start.shape:
        raise IntegrityError(f"the checkpoint in {run_dir} holds the parameters of another model")
    before = [_losses(work, side) for side in (work.train, work.test)]
    work.manifest.restore(work.model, checkpoint.parameters)
    try:
        after = [_losses(work, side) for side in (work.train, work.test)]
    finally:
        work.manifest.restore(work.model, start)
    members, others = (base - trained for base, trained in zip(before, after, strict=True))
    epsilon = dp.epsilon_pld([(plan.event, checkpoint.round)], plan.delta)
    return membership_test(members, others, epsilon=epsilon, delta=plan.delta)


def _losses(work: Workplace, encoded: Encoded) -> NDArray[np.float64]:
    """The loss of each record in nats, shape (records,)."""
    logits = np.asarray(work.task.predict(encoded), dtype=np.float64)
    top = logits.max(axis=1, keepdims=True)
    normaliser = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
    return np.asarray(normaliser - logits[np.arange(len(encoded)), encoded.labels])

"""Membership inference against a finished run's model: its training records against the held-out ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fedpriv import dp
from fedpriv.audit.membership import Membership, membership_test
from fedpriv.errors import IntegrityError
from fedpriv.federation.checkpoint import CHECKPOINT, Checkpoint
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.workplace import Workplace
from fedpriv.training.task import by_length, evaluating

if TYPE_CHECKING:
    from fedpriv.training import Records

__all__ = ["SAMPLE", "membership_of"]

SAMPLE: Final = 2000
"""How many records of each kind are looked at: enough that a 95 % interval of the AUC is below 0.04 wide."""

_BATCH: Final = 64


def membership_of(
    work: Workplace, plan: Plan, run_dir: Path, *, sample: int | None = SAMPLE
) -> Membership | None:
    """Attack the model that the run in ``run_dir`` released; None where it has not released one.

    The reference is the public model with the public parameters that the run started from.

    Args:
        sample: most training and most held-out records to look at, drawn with the run's public seed; None for
            all of them.

    Raises:
        IntegrityError: the run's parameters are not those of this model.
    """
    if not (run_dir / "adapter").is_dir() or not (run_dir / CHECKPOINT).is_file():
        return None
    checkpoint = Checkpoint.load(run_dir / CHECKPOINT)
    start = work.manifest.flatten(work.model)
    if checkpoint.parameters.shape != start.shape:
        raise IntegrityError(f"the checkpoint in {run_dir} holds the parameters of another model")
    rng = np.random.default_rng(work.config.run.seed)
    sides = [(side, rng.permutation(len(side))[:sample]) for side in (work.train, work.test)]
    before = [_losses(work, *side) for side in sides]
    work.manifest.restore(work.model, checkpoint.parameters)
    try:
        after = [_losses(work, *side) for side in sides]
    finally:
        work.manifest.restore(work.model, start)
    members, others = (base - trained for base, trained in zip(before, after, strict=True))
    epsilon = dp.epsilon_pld([(plan.event, checkpoint.round)], plan.delta)
    return membership_test(members, others, epsilon=epsilon, delta=plan.delta)


def _losses(work: Workplace, encoded: Records, picked: NDArray[np.int64]) -> NDArray[np.float64]:
    """The loss of each record at ``picked`` in nats, shape ``picked.shape``."""
    from fedpriv.training.matmul import fast_linear

    found = np.empty(len(encoded))
    with fast_linear(), evaluating(work.model):
        for rows in by_length(encoded, picked, _BATCH):
            found[rows] = work.task.losses(encoded, rows).detach().cpu().numpy()
    return found[picked]

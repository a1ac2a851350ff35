"""What a client does between the model and the sum, behind one interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from fedpriv.entropy import Entropy
from fedpriv.errors import UsageError
from fedpriv.federation.planning.plan import Noisy, Plan
from fedpriv.federation.work.client_work import ClientWork
from fedpriv.federation.work.kept import Kept
from fedpriv.federation.work.measured_work import MeasuredWork
from fedpriv.federation.work.record_work import RECORD_SHARE, RecordWork
from fedpriv.federation.work.steps_work import StepsWork
from fedpriv.federation.workplace import Workplace

if TYPE_CHECKING:
    from fedpriv.training import ClippedRecords, LocalTraining

__all__ = ["LocalWork", "learner", "local_work", "record_learner"]


class LocalWork(Protocol):
    """The work of every client of a run, one client at a time, and how the sum of it is read."""

    @property
    def clip(self) -> float:
        """The clipping norm of the next round, in model units."""

    @property
    def noisy(self) -> bool:
        """Whether a contribution carries its noise already."""

    def contribution(self, round_: int, client: int, parameters: NDArray[np.float32]) -> NDArray[np.int64]:
        """What one client puts into the sum of ``round_``: int64, shape ``(noise.dimension,)``."""

    def read(self, noisy: Noisy, survivors: int) -> NDArray[np.float64]:
        """The gradient that the noisy sum of so many ``survivors`` stands for, shape ``(coordinates,)``."""

    def state_dict(self) -> dict[str, Any]:
        """What must be kept between two rounds."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""


def learner(work: Workplace, plan: Plan) -> ClippedRecords | LocalTraining:
    """What computes on the records under this plan: gradients record by record, or local training."""
    from fedpriv.training import LocalTraining

    config = work.config
    if plan.work == "update":
        local = config.local
        return LocalTraining(
            work.model,
            work.task,
            work.manifest,
            learning_rate=local.learning_rate,
            batch=local.batch,
            steps=plan.local_steps,
            epochs=plan.local_epochs,
            optimizer=local.optimizer,
        )
    return record_learner(work, plan.grid.clip * RECORD_SHARE)


def record_learner(work: Workplace, clip: float) -> ClippedRecords:
    """What gives one vector a record, of an l2 norm of at most ``clip``."""
    from fedpriv.training import RecordGradients, RecordSlopes

    training, spec = work.config.training, work.spec
    if spec.kind.projected:
        return RecordSlopes(
            work.model,
            work.task,
            work.manifest,
            clip=clip,
            perturbation=cast("float", spec.perturbation),  # it has a default
            micro_batch=training.micro_batch,
        )
    return RecordGradients(
        work.model,
        work.task,
        work.manifest,
        clip=clip,
        micro_batch=training.micro_batch,
        engine=training.engine,
    )


def local_work(
    work: Workplace,
    plan: Plan,
    entropy: Entropy,
    learns: ClippedRecords | LocalTraining,
    kept: Kept | None = None,
) -> LocalWork:
    """The clients' work under the plan; ``kept``: what they keep to themselves, where it is written down.

    Raises:
        UsageError: ``learns`` is not what the plan needs.
    """
    from fedpriv.training import ClippedRecords, LocalTraining

    if plan.work == "update":
        if isinstance(learns, ClippedRecords) or not hasattr(learns, "update"):
            raise UsageError("whole updates are summed, which takes local training, not record gradients")
        kind = MeasuredWork if work.config.simulation.measure_gap else ClientWork
        return kind(work, plan, entropy, learns, kept=kept)
    if isinstance(learns, LocalTraining) or not hasattr(learns, "clipped"):
        raise UsageError("gradients of records are summed, which takes record gradients, not local training")
    if plan.work == "steps":
        return StepsWork(work, plan, entropy, learns)
    return RecordWork(work, plan, entropy, learns)

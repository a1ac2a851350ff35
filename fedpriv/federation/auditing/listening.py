"""Rounds of a plan with canaries among its units, and what an auditor hears in the sums."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from fedpriv.audit import Canaries, CanaryGradients
from fedpriv.entropy import Entropy
from fedpriv.errors import TooFewParties
from fedpriv.federation.auditing.canary_clients import CanaryWork
from fedpriv.federation.outcome import RoundLost
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.round import RoundRunner, fresh_identities
from fedpriv.federation.server_step import ServerStep
from fedpriv.federation.work.coordinates import RoundCoordinates
from fedpriv.federation.work.local_work import learner
from fedpriv.federation.workplace import Workplace

if TYPE_CHECKING:
    from fedpriv.training import ClippedRecords, LocalTraining

    _Learner = ClippedRecords | LocalTraining

__all__ = ["Build", "Heard", "listen", "start_rounds"]

Build = Callable[..., RoundRunner]


@dataclass(frozen=True, slots=True)
class Heard:
    """What the auditor has after a run: the canaries, and what the sums said of each.

    Attributes:
        scores: float64, shape (rounds, m): each round's sum, less the other units, along each canary.
        moved: float64, shape (d,): the sum of all released sums, in units of the first round's clip.
        background: float64, shape (d,): what the other units put into it.
    """

    canaries: Canaries
    scores: NDArray[np.float64]
    moved: NDArray[np.float64]
    background: NDArray[np.float64]

    @property
    def by_name(self) -> dict[str, NDArray[np.float64]]:
        """The scores to guess from: the total over the rounds, and how much it varies from round to round.

        The second hears what the first is deaf to: noise that is the same in every round cancels between
        two of them, and a canary that was drawn in some rounds does not.
        """
        names = {"total": self.scores.sum(axis=0)}
        if len(self.scores) > 1:
            names["variation"] = self.scores.var(axis=0)
        return names

    @property
    def cosines(self) -> NDArray[np.float64]:
        """Cosines of the included canaries with the movement less the other units, shape (k,)."""
        own = self.moved - self.background
        norm = float(np.linalg.norm(own)) or 1.0
        along = self.canaries.scores(own)[self.canaries.included]
        return np.asarray(along * (self.canaries.clip / norm))


def start_rounds(
    build: Build, work: Workplace, plan: Plan, entropy: Entropy, gradients: _Learner
) -> RoundRunner:
    """Make the parties of an audit's rounds, with identities of their own that nobody has seen."""
    identities = entropy.stream("identities")
    return build(
        work=work,
        plan=plan,
        entropy=entropy,
        gradients=gradients,
        run_id=identities.read(16),
        keys=fresh_identities(plan, work.dataset.clients, identities.read),
    )


def listen(
    work: Workplace,
    plan: Plan,
    *,
    canaries: int,
    rounds: int,
    entropy: Entropy,
    build: Build = RoundRunner,
    gradients: _Learner | None = None,
) -> Heard:
    """Run ``rounds`` rounds with canaries among the plan's units, and listen to the sums.

    ``build`` and ``gradients`` are what a run is made of; others than the usual ones are for broken runs that
    an audit should notice.

    Raises:
        TooFewParties: a round ended without a sum.
    """
    placed = Canaries.draw(canaries, plan.coordinates, plan.grid.clip, entropy.stream("canaries").words)
    learns = gradients or learner(work, plan)
    planted: CanaryWork | CanaryGradients
    if plan.work == "update":
        runner = start_rounds(build, work, plan, entropy, learns)
        planted = runner.local = CanaryWork(work, plan, entropy, cast("LocalTraining", learns), placed)
    else:
        real, records = cast("ClippedRecords", learns), len(work.dataset.train)
        planted = CanaryGradients(real, placed, records, clip_rows=real.clip_rows)
        dataset = replace(work.dataset, shards=placed.join(work.dataset.shards, records))
        joined = replace(work, dataset=dataset)
        runner = start_rounds(build, joined, plan, entropy, cast("ClippedRecords", planted))
    sign = -1.0 if plan.work == "update" else 1.0  # a gradient points up the loss, an update down
    server = ServerStep(work, RoundCoordinates.of(work, plan), work.optimizer())
    start = parameters = work.manifest.flatten(work.model)
    moved, scores = np.zeros(plan.coordinates), []
    try:
        for round_ in range(1, rounds + 1):
            before = planted.background.copy()
            outcome = runner.run(round_, parameters, {})
            if isinstance(outcome, RoundLost):
                raise TooFewParties(f"round {round_} of the audit ended without a sum: {outcome.reason}")
            scale = sign * plan.expected_batch * plan.grid.clip / outcome.clip
            released = outcome.gradient * scale
            scores.append(placed.scores(released - (planted.background - before)))
            moved += released
            parameters = server.step(round_, parameters, outcome.gradient)
    finally:
        work.manifest.restore(work.model, start)
    return Heard(placed, placed.separated(np.array(scores)), moved, planted.background)

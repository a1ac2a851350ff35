"""What the server sees of one client: from each of four views it tries to tell which records were in a batch.

Some rounds of the plan, by the real parties.  The server knows the model, and the gradients of candidates:
records of one client, of which some were drawn in the round and some were not.  It scores them by what it
would hold in four cases: the client's update as it is; the same with the client's share of the noise, which
is what is left where the masks break; the residues of the client's upload as they arrive; and the sum that is
released, less what all other clients put into it, which the guarantee lets an adversary know.

An attack that fails proves nothing: what hides an upload is the protocol, by its own proof.  One that
succeeds shows what is worth hiding.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import numpy as np
from numpy.typing import NDArray

from fedpriv.audit import Separation, Uniformity, candidate_scores, separation, uniformity
from fedpriv.entropy import Entropy
from fedpriv.errors import TooFewParties
from fedpriv.federation.auditing.listening import start_rounds
from fedpriv.federation.auditing.received import received_residues
from fedpriv.federation.auditing.watched_round import WatchedRounds
from fedpriv.federation.outcome import RoundLost, RoundOutcome
from fedpriv.federation.planning.plan import Noisy, Plan
from fedpriv.federation.server_step import ServerStep
from fedpriv.federation.work.coordinates import RoundCoordinates
from fedpriv.federation.work.local_work import learner
from fedpriv.federation.work.rotation import RoundRotation
from fedpriv.federation.workplace import Workplace
from fedpriv.training.task import Records, by_length

if TYPE_CHECKING:
    from fedpriv.training import ClippedRecords

__all__ = ["ROUNDS", "SERVER_VIEW_METHOD", "ServerView", "View", "server_view", "why_no_server_view"]

View = Literal["update", "noisy", "received", "released"]

ROUNDS: Final = 4
"""How many rounds are watched, where the plan has as many."""

SERVER_VIEW_METHOD: Final = (
    "Linear minimum mean-square error estimate of which candidates' clipped gradients are in what is seen; "
    "scores pooled over the rounds; interval of the AUC after DeLong et al. 1988"
)

_CANDIDATES: Final = 320  # a round
_MEMORY: Final = 2**25  # numbers in the candidates' gradients
_LEAST: Final = (
    20.0  # records expected in the batches, and out of them; then none at all is out of the question
)


@dataclass(frozen=True, slots=True)
class ServerView:
    """How well each view tells drawn candidates from others.

    Attributes:
        client: who was watched.
        rounds: how many were.
        separations: by view; a view that does not exist is left out: no noise of the client's own under
            ``central``, no residues where the upload is encrypted.
        masks: whether the received residues look uniform; None where nothing is masked.
    """

    client: int
    rounds: int
    separations: dict[View, Separation]
    masks: Uniformity | None
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "method": SERVER_VIEW_METHOD,
            "client": self.client,
            "rounds": self.rounds,
            "views": [{"view": view, **found.to_dict()} for view, found in self.separations.items()],
            "masks": None if self.masks is None else self.masks.to_dict(),
            "seconds": self.seconds,
        }


def why_no_server_view(work: Workplace, plan: Plan) -> str | None:
    """Say why the experiment cannot be made of this plan; None where it can."""
    if plan.work != "gradients":
        return "clients put in whole updates, and not sums of their records' gradients"
    expected = max(shard.size for shard in work.dataset.shards) * min(ROUNDS, plan.rounds)
    if min(plan.sampling_rate, 1.0 - plan.sampling_rate) * expected < _LEAST:
        return (
            f"in {min(ROUNDS, plan.rounds)} rounds fewer than {_LEAST:g} records of the largest client would "
            "be drawn, or left out"
        )
    if min(plan.noise.dimension // 4, _MEMORY // plan.noise.dimension) < 2 * _LEAST:
        return f"there are too few or too many trained parameters ({plan.noise.dimension:,})"
    return None


def server_view(
    work: Workplace,
    plan: Plan,
    *,
    entropy: Entropy,
    build: Callable[..., WatchedRounds] = WatchedRounds,
) -> ServerView:
    """Run some rounds and attack what the server would hold of the largest client in each.

    ``build`` is what makes a round; another than the usual one is for broken builds.  Ask
    :func:`why_no_server_view` first.

    Raises:
        TooFewParties: a round ended without a sum.
    """
    started = time.perf_counter()
    gradients = cast("ClippedRecords", learner(work, plan))
    runner = cast("WatchedRounds", start_rounds(build, work, plan, entropy, gradients))
    shards, rounds = work.dataset.shards, min(ROUNDS, plan.rounds)
    client = 1 + max(range(len(shards)), key=lambda k: shards[k].size)
    runner.watch(client)
    rng = np.random.default_rng(int.from_bytes(entropy.stream("candidates").read(16), "big"))
    scores: dict[View, list[NDArray[np.float64]]] = {}
    inside: list[NDArray[np.bool_]] = []
    residues: list[NDArray[np.uint64]] = []
    server = ServerStep(work, RoundCoordinates.of(work, plan), work.optimizer())
    rotation = RoundRotation.of(plan)
    start = parameters = work.manifest.flatten(work.model)
    try:
        for round_ in range(1, rounds + 1):
            outcome = runner.run(round_, parameters, {})
            if isinstance(outcome, RoundLost):
                raise TooFewParties(f"round {round_} of the audit ended without a sum: {outcome.reason}")
            shard, drawn = shards[client - 1], runner.watched.drawn
            picked = _candidates(rng, shard, drawn, plan.noise.dimension, work.train)
            within, own = server.coordinates.of_client(round_, client, parameters)
            work.manifest.restore(work.model, own)
            rows = np.concatenate(list(gradients.clipped(work.train, picked, within)))
            inside.append(np.isin(picked, drawn))
            share = float(np.clip(inside[-1].mean(), 0.5 / picked.size, 1.0 - 0.5 / picked.size))
            received = received_residues(plan.aggregator, runner.tap.messages)
            residues += [] if received is None else [received]

            def seen(values: Noisy, round_: int = round_) -> NDArray[np.float64]:
                return plan.in_model_units(rotation.back(round_, values))

            for name, view in _views(plan, runner, outcome, received, seen).items():
                scores.setdefault(name, []).append(candidate_scores(view, rows, share))
            parameters = server.step(round_, parameters, outcome.gradient)
    finally:
        work.manifest.restore(work.model, start)
    truth = np.concatenate(inside)
    pooled = {name: np.concatenate(found) for name, found in scores.items()}
    hidden = plan.aggregator.hides_updates and residues
    return ServerView(
        client=client,
        rounds=rounds,
        separations={name: separation(found[truth], found[~truth]) for name, found in pooled.items()},
        masks=uniformity(np.concatenate(residues), plan.grid.bits) if hidden else None,
        seconds=round(time.perf_counter() - started, 1),
    )


def _views(
    plan: Plan,
    runner: WatchedRounds,
    outcome: RoundOutcome,
    received: NDArray[np.uint64] | None,
    seen: Callable[[NDArray[np.int64]], NDArray[np.float64]],
) -> dict[View, NDArray[np.float64]]:
    """What the server would hold in each case, in model units, float64, shape (d,).

    ``seen`` turns integers of the round into these.
    """
    grid, watched = plan.grid, runner.watched
    views: dict[View, NDArray[np.float64]] = {"update": seen(watched.own)}
    if plan.noise.share_variance:
        views["noisy"] = seen(grid.centre(runner.noisy))
    if received is not None:
        views["received"] = seen(grid.centre(received))
    views["released"] = outcome.gradient * plan.expected_batch - seen(watched.others)
    return views


def _candidates(
    rng: np.random.Generator,
    shard: NDArray[np.int64],
    drawn: NDArray[np.int64],
    dimension: int,
    encoded: Records,
) -> NDArray[np.int64]:
    """Records of ``shard``, as many drawn ones as there is room for, in the order of their gradients."""
    room = min(_CANDIDATES, dimension // 4, _MEMORY // dimension)
    left = np.setdiff1d(shard, drawn)
    first = rng.permutation(drawn)[: max(room // 2, room - left.size)]
    second = rng.permutation(left)[: room - first.size]
    return next(by_length(encoded, np.concatenate([first, second]), room))

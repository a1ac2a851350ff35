"""Single rounds whose unit is the client: what one client can change, and how much noise covers it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from parties.client_run import client_config

from fedpriv.crypto import SigningKey
from fedpriv.entropy import Entropy
from fedpriv.errors import UsageError
from fedpriv.federation.config import Config
from fedpriv.federation.outcome import RoundOutcome
from fedpriv.federation.planning.make import make_plan
from fedpriv.federation.planning.plan import Noisy, Plan
from fedpriv.federation.round import RoundRunner
from fedpriv.federation.work.client_work import ClientWork
from fedpriv.federation.work.local_work import learner, local_work
from fedpriv.federation.workplace import Workplace, prepare
from fedpriv.training import RecordGradients

MOVING = {"share": 0.1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clients")


@pytest.fixture(scope="module")
def base(folder: Path) -> Workplace:
    return prepare(client_config(folder))


@pytest.fixture(scope="module")
def made(folder: Path, base: Workplace) -> Callable[..., tuple[Workplace, Plan]]:
    """A maker of plans on the one loaded model; the noise is given, as calibrating it takes seconds."""
    kept: dict[str, tuple[Workplace, Plan]] = {}

    def make(**changes: Any) -> tuple[Workplace, Plan]:
        if repr(changes) not in kept:
            config: Config = client_config(folder, privacy__noise_multiplier=2.5, run__rounds=1, **changes)
            work = replace(base, config=config)
            kept[repr(changes)] = (work, make_plan(config, work))
        return kept[repr(changes)]

    return make


def run_with(work: Workplace, plan: Plan) -> RoundRunner:
    return RoundRunner(
        work=work,
        plan=plan,
        entropy=Entropy(),
        gradients=learner(work, plan),
        run_id=bytes(16),
        keys={client: SigningKey.from_seed(bytes([client]) * 32) for client in range(1, 7)},
    )


class Hostile:
    """A client that answers with whatever vector it likes in place of a trained update."""

    def __init__(self, vector: NDArray[np.float64]) -> None:
        self.vector = vector

    def update(self, *_: object) -> NDArray[np.float64]:
        return self.vector.copy()


def hostile_vectors(dimension: int, clip: float) -> Iterator[NDArray[np.float64]]:
    rng = np.random.default_rng(8)
    yield np.zeros(dimension)
    for length in (1e-30, clip * (1 - 1e-9), clip, clip * (1 + 1e-9), 3 * clip, 1e6, 1e200):
        for direction in (rng.standard_normal(dimension), np.eye(dimension)[3], np.ones(dimension)):
            yield direction * (length / np.linalg.norm(direction))


@pytest.mark.parametrize("clip_now", [1.0, 0.31, 7.0])
@pytest.mark.parametrize(("unit", "adaptive"), [("client", None), ("client", MOVING), ("record", MOVING)])
def test_no_client_moves_the_integer_sum_by_more_than_the_sensitivity(
    made: Callable[..., tuple[Workplace, Plan]], unit: str, adaptive: Any, clip_now: float
) -> None:
    # Noise off: the contributions themselves, in integers.  Leaving a client out (its vector becomes zero)
    # moves the sum by the norm of its vector; putting other records in its place moves it by the distance.
    work, plan = made(unit=unit, privacy__adaptive_clip=adaptive, privacy__delta=1e-4)
    clip = plan.grid.clip * clip_now
    sent = []
    for vector in hostile_vectors(work.manifest.size, clip):
        client = ClientWork(work, plan, Entropy(), Hostile(vector))  # type: ignore[arg-type]
        client.clip = clip
        total = client.contribution(1, 2, np.zeros(0, dtype=np.float32))
        assert total.dtype == np.int64
        assert total.shape == (plan.noise.dimension,)
        sent.append([int(value) for value in total])
    squares = [sum(value * value for value in vector) for vector in sent]
    if unit == "client":
        assert max(squares) <= plan.noise.sensitivity**2
        assert max(squares) >= 0.999 * plan.noise.sensitivity**2
    else:
        apart = max(
            sum((x - y) ** 2 for x, y in zip(left, right, strict=True)) for left in sent for right in sent
        )
        opposite = [[-value for value in vector] for vector in sent]  # the same client with other records
        farthest = max(
            sum((x - y) ** 2 for x, y in zip(left, right, strict=True))
            for left, right in zip(sent, opposite, strict=True)
        )
        assert max(apart, farthest) <= plan.noise.sensitivity**2
        assert farthest >= 0.999 * plan.noise.sensitivity**2


def test_a_weight_beyond_the_cap_does_not_help_a_client(
    made: Callable[..., tuple[Workplace, Plan]],
) -> None:
    work, plan = made(local__record_cap=10_000)
    vector = np.full(work.manifest.size, 10.0)
    small = ClientWork(work, plan, Entropy(), Hostile(vector))  # type: ignore[arg-type]
    # The weight comes before the clip: an update that is long enough is as long as any.
    total = small.contribution(1, 1, np.zeros(0, dtype=np.float32))
    assert sum(int(v) ** 2 for v in total) <= plan.noise.sensitivity**2
    within = ClientWork(work, plan, Entropy(), Hostile(vector / 1e5))  # type: ignore[arg-type]
    shard = work.dataset.shards[0]
    expected = vector / 1e5 * (shard.size / 10_000) * 2.0**plan.grid.scale_log2
    assert np.abs(within.contribution(1, 1, np.zeros(0, dtype=np.float32)) - expected).max() <= 0.51


class Watching(ClientWork):
    """Notes the integers of every noisy sum."""

    def read(self, noisy: Noisy, survivors: int) -> NDArray[np.float64]:
        seen.append(noisy)
        return super().read(noisy, survivors)


seen: list[Noisy] = []


@pytest.mark.parametrize("trust", ["local", "distributed", "central"])
def test_the_noise_in_the_sum_is_what_was_planned(
    made: Callable[..., tuple[Workplace, Plan]], trust: str
) -> None:
    # Every client sends a known vector, so the sum less those vectors is its noise.  The sample variance of N
    # nearly normal values has relative standard deviation sqrt(2 / N): five of them, below 1e-6 a case.  For
    # the 30 values of the clip's coordinate, which has the noise of the others, a factor of 6 either way.
    work, plan = made(trust=trust, privacy__adaptive_clip=MOVING, aggregator="plain")
    runner, start = run_with(work, plan), work.manifest.flatten(work.model)
    sent = np.full(work.manifest.size, 0.25 * plan.grid.clip / math.sqrt(work.manifest.size))
    runner.local = Watching(work, plan, Entropy(), Hostile(sent))  # type: ignore[arg-type]
    seen.clear()
    noises = []
    for round_ in range(1, 31):
        clip = runner.local.clip
        known = 6 * runner.local.contribution(round_, 1, start)
        outcome = runner.run(round_, start, {})
        assert isinstance(outcome, RoundOutcome)
        assert outcome.clip == clip
        noises.append(seen[-1] - known)
        in_model_units = plan.grid.decode(seen[-1][:-1]) * clip / plan.grid.clip
        assert np.allclose(-outcome.gradient * plan.expected_batch, in_model_units, rtol=1e-12)
        if clip > 0.25 * plan.grid.clip:  # nothing was clipped: what was sent arrives, whatever the clip is
            arrived = plan.grid.decode(known[:-1]) * clip / plan.grid.clip
            assert np.allclose(arrived, 6 * sent, rtol=1e-4)
    noise, planned = np.array(noises, dtype=np.float64), plan.noise.sum_variance(6)
    assert abs(noise.var() / planned - 1) < 5 * math.sqrt(2 / noise.size)
    assert abs(noise.mean()) < 5 * math.sqrt(planned / noise.size)
    assert 1 / 6 < np.mean(np.square(noise[:, -1])) / planned < 6
    honest = planned - (plan.noise.kept_variance(6) if trust == "distributed" else 0)
    assert honest >= (Fraction(plan.noise.noise_multiplier) * plan.noise.sensitivity) ** 2


def test_the_whole_vector_is_one_event_without_amplification(
    made: Callable[..., tuple[Workplace, Plan]],
) -> None:
    work, plan = made(privacy__adaptive_clip=MOVING)
    event = plan.noise.event()
    assert event.sampling_rate == 1.0
    assert event.dimension == work.manifest.size + 1
    assert event.sensitivity == plan.noise.sensitivity > plan.grid.sensitivity
    assert plan.relation == "zero-out-one-client"
    assert "any one client's data" in plan.guarantee
    said = dict(plan.lines())
    assert "10.0% of each round's cost" in said["clip"]
    assert "no amplification" in said["rounds"]


def test_a_moving_clip_takes_its_cost_from_the_same_budget(
    made: Callable[..., tuple[Workplace, Plan]],
) -> None:
    _, fixed = made()
    _, moving = made(privacy__adaptive_clip=MOVING)
    assert moving.epsilon_pld == pytest.approx(fixed.epsilon_pld, rel=1e-3)
    assert moving.noise.noise_multiplier == fixed.noise.noise_multiplier
    for_update = math.sqrt(moving.noise.variance) / moving.grid.sensitivity
    assert for_update == pytest.approx(fixed.noise.noise_multiplier / math.sqrt(0.9), rel=1e-3)


def test_the_wrong_kind_of_work_is_refused(made: Callable[..., tuple[Workplace, Plan]]) -> None:
    work, plan = made()
    gradients = RecordGradients(work.model, work.task, work.manifest, clip=1.0)
    with pytest.raises(UsageError, match="local training"):
        local_work(work, plan, Entropy(), gradients)

"""Rounds in which some coordinates travel: what is sent, what it can be moved by, and what the server makes
of it, each against the obvious slow way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from parties.stopping import straight_and_stopped
from parties.tiny_run import runner, tiny_config

from fedpriv import dp
from fedpriv.entropy import Entropy
from fedpriv.federation.checkpoint import CHECKPOINT, Checkpoint
from fedpriv.federation.config import Config
from fedpriv.federation.outcome import RoundOutcome
from fedpriv.federation.planning.make import make_plan
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.run import run
from fedpriv.federation.server_step import ServerStep
from fedpriv.federation.work.coordinates import RoundCoordinates
from fedpriv.federation.work.local_work import learner
from fedpriv.federation.work.record_work import RECORD_SHARE, RecordWork
from fedpriv.federation.workplace import Workplace, prepare
from fedpriv.training import RecordGradients

Made = Callable[..., tuple[Workplace, Plan]]

SEED = 5
CLIP = 0.05
"""Below the norm of every gradient."""
KINDS: dict[str, dict[str, Any]] = {
    "rolora": {"peft": {"method": "rolora", "rank": 3}},
    "fedsvd": {"peft": {"method": "fedsvd", "rank": 3}},
    "hetlora": {"peft": {"method": "hetlora", "rank": 3, "ranks": [1, 3]}},
    "flasc": {"peft": {"method": "flasc", "rank": 3, "density": 0.3}},
    "rand-k": {"peft": {"method": "lora", "rank": 3}, "compression": {"share": 0.2}},
    "rolora, rand-k": {"peft": {"method": "rolora", "rank": 3}, "compression": {"share": 0.5}},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Workplaces and plans, each made once."""
    folder, kept = tmp_path_factory.mktemp("coordinates"), {}

    def make(**changes: Any) -> tuple[Workplace, Plan]:
        if repr(changes) not in kept:
            config = tiny_config(folder, "lora", privacy__insecure_seed=SEED, privacy__clip=CLIP, **changes)
            work = prepare(config)
            kept[repr(changes)] = (work, make_plan(config, work))
        return kept[repr(changes)]

    return make


def some_model(work: Workplace) -> NDArray[np.float32]:
    """A model that has moved, in both halves."""
    drawn = np.random.default_rng(1).standard_normal(work.manifest.size)
    return work.start + 0.3 * drawn.astype(np.float32)


def slow_vector(work: Workplace, plan: Plan, round_: int, client: int) -> NDArray[np.int64]:
    """One client's sum, a record at a time: the whole gradient, then its coordinates, then the clip."""
    model, own = some_model(work), np.arange(work.manifest.size)
    held = work.spec.kind.held(work.manifest, work.spec, client)
    if held is not None:
        model = np.where(held, model, np.float32(0))
        own = np.flatnonzero(held)
    chosen = RoundCoordinates.of(work, plan).at(round_, some_model(work)).chosen
    everything = list(range(work.manifest.size)) if chosen is None else chosen.tolist()
    shard = work.dataset.shards[client - 1]
    words = Entropy(SEED).stream("sampling", round_, client).words
    sampled = shard[dp.poisson_sample(shard.size, plan.noise.sampling_rate, words)]
    work.manifest.restore(work.model, model)
    whole = RecordGradients(work.model, work.task, work.manifest, clip=1e9)
    total = np.zeros(plan.noise.dimension, dtype=np.int64)
    for record in sampled:
        (gradient,) = next(whole.clipped(work.train, [record]))
        restricted = np.zeros(plan.noise.dimension)
        for place, coordinate in enumerate(everything):
            if coordinate in own:
                restricted[place] = gradient[coordinate]
        norm = np.linalg.norm(restricted)
        restricted *= min(1.0, plan.grid.clip * RECORD_SHARE / norm)
        total += plan.grid.quantise(restricted[np.newaxis])
    return total


@pytest.mark.slow
@pytest.mark.parametrize("round_", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_client_sends_the_sum_of_gradients_restricted_and_then_clipped(
    made: Made, kind: str, round_: int
) -> None:
    work, plan = made(**KINDS[kind])
    local = RecordWork(work, plan, Entropy(SEED), learner(work, plan))  # type: ignore[arg-type]
    for client in (1, 2):
        work.manifest.restore(work.model, some_model(work))
        sent = local.contribution(round_, client, some_model(work))
        slow = slow_vector(work, plan, round_, client)
        assert sent.shape == (plan.noise.dimension,)
        # A micro-batch pads, which moves gradients by a millionth; one unit more for rounding.
        room = 2 + 1e-5 * plan.grid.sensitivity
        assert np.abs(sent - slow).max() <= room * max(1, len(work.dataset.shards[client - 1]))
        assert np.abs(sent - slow).sum() <= 1e-3 * np.abs(slow).sum()
        assert np.array_equal(sent == 0, slow == 0) or kind != "hetlora"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_record_moves_what_is_sent_by_more_than_the_clip(made: Made, kind: str) -> None:
    """Each record alone, at a clip that all gradients exceed: S exactly, and not the norm of the rest."""
    work, plan = made(**KINDS[kind])
    gradients = learner(work, plan)
    assert isinstance(gradients, RecordGradients)
    whole = RecordGradients(work.model, work.task, work.manifest, clip=1e9)
    coordinates = RoundCoordinates.of(work, plan)
    for round_, client in ((1, 1), (2, 2)):
        within, own = coordinates.of_client(round_, client, some_model(work))
        work.manifest.restore(work.model, own)
        some = np.arange(0, 40, 4)
        (rows,) = gradients.clipped(work.train, some, within)
        (unclipped,) = whole.clipped(work.train, some, within)
        assert (np.linalg.norm(unclipped, axis=1) > 2 * plan.grid.clip).all()  # or this shows nothing
        assert (np.linalg.norm(rows, axis=1) <= plan.grid.clip * RECORD_SHARE).all()
        squares = [sum(int(v) ** 2 for v in plan.grid.quantise(row[np.newaxis])) for row in rows]
        assert max(squares) <= plan.grid.sensitivity**2
        # Clipped before they were restricted they would be shorter than they may be.
        assert min(squares) >= 0.99 * (plan.grid.sensitivity * RECORD_SHARE) ** 2


def test_a_round_has_noise_in_as_many_coordinates_as_travel(made: Made) -> None:
    for kind, changes in KINDS.items():
        work, plan = made(**changes)
        size, width = work.manifest.size, work.spec.kind.width(work.manifest, work.spec)
        expected = {"rand-k": -(-size // 5), "rolora, rand-k": -(-width // 2)}.get(kind, width)
        assert plan.noise.dimension == plan.coordinates == expected
        assert plan.event.dimension == expected  # type: ignore[union-attr]
        assert (expected < size) == (kind != "hetlora")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rolora", "hetlora", "flasc"])
def test_two_rounds_by_hand_end_where_the_run_ends(made: Made, kind: str, tmp_path: Path) -> None:
    """Adam one coordinate at a time, on those that travelled, with the counts that each has."""
    config = tiny_config(tmp_path, "lora", **KINDS[kind], privacy__insecure_seed=SEED, privacy__clip=CLIP)
    result = run(config, tmp_path / "run")
    work, plan = made(**KINDS[kind])
    server, spec = config.server, work.spec
    hands = runner(work, plan, SEED)
    model = work.start.astype(np.float64)
    first, second = np.zeros(model.size), np.zeros(model.size)
    counts = np.zeros(model.size, dtype=int)
    for round_ in (1, 2):
        here = model.astype(np.float32)
        outcome = hands.run(round_, here, {})
        assert isinstance(outcome, RoundOutcome)
        chosen = RoundCoordinates.of(work, plan).at(round_, here).chosen
        for place, i in enumerate(range(model.size) if chosen is None else chosen):
            g = outcome.gradient[place]
            if spec.method == "hetlora":
                g *= 5 / sum(spec.kind.held(work.manifest, spec, client)[i] for client in range(1, 6))
            counts[i] += 1
            first[i] = server.beta1 * first[i] + (1 - server.beta1) * g
            second[i] = server.beta2 * second[i] + (1 - server.beta2) * g * g
            mean = first[i] / (1 - server.beta1 ** counts[i])
            spread = second[i] / (1 - server.beta2 ** counts[i])
            model[i] -= server.learning_rate * mean / (spread**0.5 + 1e-8)
        model = model.astype(np.float32).astype(np.float64)
    found = Checkpoint.load(result.run_dir / CHECKPOINT)
    np.testing.assert_allclose(found.parameters, model, rtol=0, atol=1e-6)
    if kind == "rolora":
        names = work.manifest.places(lambda name: "lora" in name)
        assert (counts[names] == 1).all()


def products(work: Workplace, model: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """B A of each layer, and the head."""
    manifest = work.manifest
    values = {
        entry.name: model[start : start + entry.size].reshape(entry.shape).astype(np.float64)
        for entry, start in zip(manifest.entries, manifest.offsets, strict=True)
    }
    return {
        name: values[name.replace("lora_A", "lora_B")] @ value if "lora_A" in name else value
        for name, value in values.items()
        if "lora_B" not in name
    }


def without_noise(work: Workplace, plan: Plan, optimizer: str, *, turns: bool) -> NDArray[np.float32]:
    """Four steps on exact sums of the gradients, with what the method makes of them or without."""
    server = work.config.server.model_copy(update={"optimizer": optimizer, "momentum": 0.5})
    work = replace(work, config=work.config.model_copy(update={"server": server}))
    step, local = (
        ServerStep(work, RoundCoordinates.of(work, plan), work.optimizer()),
        runner(work, plan, SEED).local,
    )
    model = work.start
    for round_ in range(1, 5):
        work.manifest.restore(work.model, model)
        total = sum(local.contribution(round_, client, model) for client in range(1, 6))
        gradient = local.read(np.asarray(total), 5)
        if turns:
            model = step.step(round_, model, gradient)
        else:
            at = RoundCoordinates.of(work, plan).at(round_, model).chosen
            model = step.optimizer.step(model, gradient, at=at)
    return model


@pytest.mark.slow
def test_fedsvd_under_sgd_is_ffa_lora_from_an_orthonormal_start_and_under_adam_is_not(made: Made) -> None:
    """Turned gradients are as long as they were, so clipped alike; what sgd makes of them is turned alike."""
    work, plan = made(peft={"method": "fedsvd", "rank": 3}, server__learning_rate=0.5)
    for optimizer in ("sgd", "adam"):
        turned, still = (
            products(work, without_noise(work, plan, optimizer, turns=turns)) for turns in (True, False)
        )
        apart = max(float(np.abs(turned[name] - still[name]).max()) for name in turned)
        largest = max(float(np.abs(value).max()) for value in still.values())
        assert (apart < 1e-4 * largest) == (optimizer == "sgd"), (optimizer, apart, largest)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fedsvd", "rolora, rand-k"])
def test_a_run_that_was_stopped_goes_on_to_the_same_end_to_the_bit(tmp_path: Path, kind: str) -> None:
    def config(name: str) -> Config:
        return tiny_config(
            tmp_path,
            "lora",
            **KINDS[kind],
            run__rounds=3,
            privacy__insecure_seed=SEED,
            budget__client_ledgers=False,
            budget__ledger=f"{name}.sqlite",
        )

    run_dirs = straight_and_stopped(tmp_path, config, after=1)
    straight, stopped = (Checkpoint.load(run_dir / CHECKPOINT) for run_dir in run_dirs)
    assert straight.parameters.tobytes() == stopped.parameters.tobytes()
    for moment in ("first", "second", "counts"):
        assert straight.optimizer[moment].tobytes() == stopped.optimizer[moment].tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rolora", "hetlora", "rand-k"])
def test_a_whole_update_moves_the_rounds_coordinates_alone(tmp_path: Path, kind: str) -> None:
    """Several local steps of a client: all else of its model rests, and the server's does, too."""
    privacy = {"epsilon": 8.0, "delta": 1e-4, "noise_multiplier": 3.0, "insecure_seed": SEED}
    config = tiny_config(
        tmp_path, "lora", **KINDS[kind], unit="client", privacy=privacy, local={"steps": 3, "batch": 8}
    )
    work = prepare(config)
    plan = make_plan(config, work)
    hands = runner(work, plan, SEED)
    server, model = ServerStep(work, RoundCoordinates.of(work, plan), work.optimizer()), some_model(work)
    coordinates = RoundCoordinates.of(work, plan)
    for round_ in (1, 2):
        for client in (1, 2):
            within, own = coordinates.of_client(round_, client, model)
            hands.local.contribution(round_, client, model)
            moved = np.flatnonzero(work.manifest.flatten(work.model) != own)
            may = within.moves()
            assert moved.size
            assert may is None or may[moved].all()
        outcome = hands.run(round_, model, {})
        assert isinstance(outcome, RoundOutcome)
        after = server.step(round_, model, outcome.gradient)
        chosen = coordinates.at(round_, model).chosen
        if chosen is not None:
            rests = np.ones(model.size, dtype=bool)
            rests[chosen] = False
            assert np.array_equal(after[rests], model[rests])
        model = after

"""Rounds whose sums are turned by a public random rotation: what is sent, against the obvious slow way; the
same model as without it but for rounding; to the bit whatever the way of summing, and after a stop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from parties.broken_builds import WithoutNoise
from parties.stopping import straight_and_stopped
from parties.tiny_run import runner, tiny_config
from reference import encoding as reference

from fedpriv import dp
from fedpriv.entropy import Entropy
from fedpriv.federation.checkpoint import CHECKPOINT, Checkpoint
from fedpriv.federation.config import Config
from fedpriv.federation.outcome import RoundOutcome
from fedpriv.federation.planning.make import make_plan
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.run import run
from fedpriv.federation.work.client_work import ClientWork
from fedpriv.federation.work.coordinates import RoundCoordinates
from fedpriv.federation.work.local_work import learner, local_work
from fedpriv.federation.work.measured_work import MeasuredWork
from fedpriv.federation.work.record_work import RECORD_SHARE
from fedpriv.federation.workplace import Workplace, prepare
from fedpriv.report import verify, write
from fedpriv.training import RecordGradients

pytestmark = pytest.mark.slow

SEED = 5
CLIENT: dict[str, Any] = {
    "unit": "client",
    "privacy": {"epsilon": 8.0, "delta": 1e-3, "noise_multiplier": 3.0, "clip": 0.5, "insecure_seed": SEED},
    "local": {"steps": 2, "batch": 8},
}
MOVING = {**CLIENT, "privacy": {**CLIENT["privacy"], "adaptive_clip": {"quantile": 0.5}}}
RECORD: dict[str, Any] = {"privacy__insecure_seed": SEED, "privacy__clip": 0.05}
KINDS: dict[str, dict[str, Any]] = {
    "record": RECORD,
    "some coordinates": {**RECORD, "compression": {"share": 0.3}},
    "ranks": {**RECORD, "peft": {"method": "hetlora", "rank": 3, "ranks": [1, 3]}},
    "client": CLIENT,
    "moving clip": MOVING,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rotated")


def made(folder: Path, kind: str, *, rotate: bool = True, **changes: Any) -> tuple[Workplace, Plan]:
    values = {"peft": {"method": "lora", "rank": 2}, "run__seed": 11, **KINDS[kind], **changes}
    table = values.pop("compression", {})
    if rotate or table:
        table = {**table, "rotate": rotate}
        values["compression"] = table
    config = tiny_config(folder, "lora", **values)
    work = prepare(config)
    return work, make_plan(config, work)


def some_model(work: Workplace) -> NDArray[np.float32]:
    """A model that has moved, in both halves."""
    drawn = np.random.default_rng(1).standard_normal(work.manifest.size)
    return work.start + 0.3 * drawn.astype(np.float32)


@pytest.mark.parametrize("kind", ["record", "some coordinates"])
def test_a_client_sends_the_sum_of_gradients_each_turned_and_then_rounded(folder: Path, kind: str) -> None:
    """A record at a time, by the whole matrix of the specification."""
    work, plan = made(folder, kind)
    assert plan.rotated
    local = local_work(work, plan, Entropy(SEED), learner(work, plan))
    single = RecordGradients(work.model, work.task, work.manifest, clip=plan.grid.clip * RECORD_SHARE)
    for round_, client in ((1, 1), (2, 2)):
        matrix = reference.round_rotation(11, round_, plan.coordinates)
        work.manifest.restore(work.model, some_model(work))
        sent = local.contribution(round_, client, some_model(work))
        shard = work.dataset.shards[client - 1]
        words = Entropy(SEED).stream("sampling", round_, client).words
        sampled = shard[dp.poisson_sample(shard.size, plan.noise.sampling_rate, words)]
        assert len(sampled) > 1
        within = RoundCoordinates.of(work, plan).at(round_, some_model(work))
        slow = np.zeros(plan.coordinates)
        for record in sampled:
            (row,) = next(single.clipped(work.train, [record], within))
            slow += np.rint(matrix @ row.astype(np.float64) * 2.0**plan.grid.scale_log2)
        # A micro-batch pads, which moves gradients by a millionth.
        room = 2.0 * len(sampled) + 1e-5 * plan.grid.sensitivity * len(sampled)
        assert np.abs(sent - slow).max() <= room
        assert np.linalg.norm(sent - slow) <= 1e-3 * np.linalg.norm(slow)


@pytest.mark.parametrize("kind", KINDS)
def test_a_round_gives_the_gradient_that_it_gives_without_rotation(folder: Path, kind: str) -> None:
    """Without noise, so that nothing but rounding is between them."""
    found = {}
    for rotate in (False, True):
        work, plan = made(folder, kind, rotate=rotate, secagg__remove_excess=False, secagg__bits=34)
        rounds = runner(work, plan, SEED, WithoutNoise)
        outcomes = [rounds.run(round_, some_model(work), {}) for round_ in (1, 2)]
        found[rotate] = [cast("RoundOutcome", outcome) for outcome in outcomes], plan
    plain, turned = found[False][0], found[True][0]
    grid = found[True][1].grid
    assert (found[True][1].rotated, found[False][1].rotated) == (True, False)
    for before, after in zip(plain, turned, strict=True):
        assert after.clip == before.clip
        scale = after.clip / grid.clip / found[True][1].expected_batch
        rounding = 60 * np.sqrt(found[True][1].coordinates) * 2.0**-grid.scale_log2 * scale
        assert np.linalg.norm(after.gradient - before.gradient) <= rounding
        assert np.linalg.norm(before.gradient) > 20 * rounding  # or this shows nothing
        assert not np.array_equal(after.gradient, before.gradient)


@pytest.mark.parametrize("kind", ["record", "moving clip"])
def test_the_same_seed_gives_the_same_run_masked_plain_or_encrypted(folder: Path, kind: str) -> None:
    ends, sums = [], []
    for name, changes in (
        ("masked", {"secagg__remove_excess": False}),
        ("plain", {"secagg__remove_excess": False, "aggregator": "plain"}),
        ("authority", {"aggregator": "ckks"}),
        ("threshold", {"aggregator": "ckks", "ckks__mode": "threshold"}),
    ):
        place = folder / f"{kind}-{name}"
        # One modulus for all: the plan would choose the encrypted sum's by its bytes as well.
        more = {"secagg__bits": 26, "budget__ledger": f"{place.name}.sqlite", **changes}
        work, plan = made(folder, kind, **more)
        assert plan.rotated
        run(work.config, place)
        ends.append(Checkpoint.load(place / CHECKPOINT).parameters)
        lines = [json.loads(line) for line in (place / "rounds.jsonl").read_text().splitlines()]
        sums.append([(line["aggregate_digest"], line["clip"]) for line in lines])
    assert all(np.array_equal(end, ends[0]) for end in ends)
    assert all(found == sums[0] for found in sums)


def test_what_the_server_adds_is_turned_back_with_the_sum(folder: Path) -> None:
    """Under ``central`` and with nobody sampled, the gradient is the noise, as long as it was drawn."""
    work, plan = made(folder, "record", trust="central", privacy__expected_batch=1e-6)
    outcome = runner(work, plan, SEED).run(1, some_model(work), {})
    assert isinstance(outcome, RoundOutcome)
    words = Entropy(SEED).stream("server-noise", 1).words
    noise = dp.skellam(plan.noise.server_variance, plan.coordinates, words)
    matrix = reference.round_rotation(11, 1, plan.coordinates)
    expected = matrix.T @ noise * 2.0**-plan.grid.scale_log2 / plan.expected_batch
    assert np.allclose(outcome.gradient, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("kind", ["some coordinates", "moving clip"])
def test_a_run_that_was_stopped_goes_on_to_the_same_end_to_the_bit(folder: Path, kind: str) -> None:
    def config(name: str) -> Config:
        work, _ = made(folder, kind, run__rounds=3, budget__ledger=f"{kind}-{name}.sqlite")
        return work.config

    run_dirs = straight_and_stopped(folder / f"{kind}-ends", config, after=1)
    ends = [Checkpoint.load(run_dir / CHECKPOINT) for run_dir in run_dirs]
    assert ends[0].parameters.tobytes() == ends[1].parameters.tobytes()


def test_the_gap_is_measured_on_models_that_were_turned_back(folder: Path) -> None:
    models = {}
    for rotate in (False, True):
        work, plan = made(folder, "client", rotate=rotate, simulation__measure_gap=True, secagg__bits=34)
        local = local_work(work, plan, Entropy(SEED), learner(work, plan))
        assert isinstance(local, MeasuredWork)
        for client in (1, 2, 3):
            local.contribution(1, client, some_model(work))
        models[rotate] = np.stack([local._models[client] for client in (1, 2, 3)]) - some_model(work)
    rounding = 2 * np.sqrt(plan.coordinates) * 2.0**-plan.grid.scale_log2
    assert np.linalg.norm(models[True] - models[False], axis=1).max() <= rounding
    assert np.linalg.norm(models[False], axis=1).min() > 20 * rounding


def test_an_update_that_knows_the_signs_is_within_the_sensitivity_and_is_cut(folder: Path) -> None:
    class Aimed:
        """A client that answers with what the rotation turns onto one coordinate."""

        def update(self, *_: object) -> NDArray[np.float64]:
            spike = np.eye(plan.coordinates)[3] * 1e3
            vector: NDArray[np.float64] = reference.round_rotation(11, 1, plan.coordinates).T @ spike
            return vector

    work, plan = made(folder, "client")
    local = ClientWork(work, plan, Entropy(SEED), cast("Any", Aimed()))
    total = local.contribution(1, 1, some_model(work))
    assert sum(int(value) ** 2 for value in total) <= plan.grid.sensitivity**2
    assert total[3] == np.abs(total).max() == plan.grid.client_bound < plan.grid.sensitivity


def test_the_report_says_what_part_of_the_model_a_sum_has_and_that_it_is_turned(folder: Path) -> None:
    for name, kind, rotate in (
        ("turned", "some coordinates", True),
        ("as it is", "record", False),
        ("all", "record", True),
    ):
        work, plan = made(folder, kind, rotate=rotate, run__rounds=1, budget__ledger=f"said-{name}.sqlite")
        run_dir = run(work.config, folder / f"said-{name}").run_dir
        write(run_dir)
        assert verify(run_dir).ok
        said = json.loads((run_dir / "report.json").read_text())["mechanism"]
        page = (run_dir / "report.html").read_text()
        assert said.get("rotated", False) is rotate
        assert ("turned by a public random rotation" in page) is rotate
        if name == "turned":
            assert plan.compressed is not None
            of = plan.compressed.of
            assert said["compression"] == {"coordinates": plan.coordinates, "of": of, "bytes": None}
            assert f"{plan.coordinates} of the method&#39;s {of} coordinates a round" in page
        else:
            assert ("compression" in said) is rotate
            assert (f"all {plan.coordinates} coordinates of the method" in page) is rotate
            assert "coordinates a round, drawn anew" not in page

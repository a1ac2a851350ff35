"""Single rounds: who vanishes, what is lost, and how much noise is in the sum."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from parties.small_run import small_config

from fedpriv.crypto import SigningKey
from fedpriv.entropy import Entropy
from fedpriv.federation.config import Config
from fedpriv.federation.outcome import RoundLost, RoundOutcome
from fedpriv.federation.planning.make import make_plan
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.round import RoundRunner
from fedpriv.federation.round_server import round_context
from fedpriv.federation.workplace import Workplace, prepare
from fedpriv.training import RecordGradients

STAGES = ("advertise", "share", "upload", "consistency", "unmask")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Nobody is ever sampled, so that a round's sum is its noise and nothing else."""
    return small_config(
        tmp_path_factory.mktemp("round"),
        privacy__expected_batch=1e-6,
        privacy__noise_multiplier=0.8,
        secagg__max_colluders=1,
        secagg__min_survivors=4,
    )


@pytest.fixture(scope="module")
def work(config: Config) -> Workplace:
    return prepare(config)


@pytest.fixture(scope="module")
def plan(config: Config, work: Workplace) -> Plan:
    return make_plan(config, work)


@pytest.fixture
def runner(work: Workplace, plan: Plan) -> RoundRunner:
    return RoundRunner(
        work=work,
        plan=plan,
        entropy=Entropy(),
        gradients=RecordGradients(work.model, work.task, work.manifest, clip=1.0),
        run_id=bytes(16),
        keys={client: SigningKey.from_seed(bytes([client]) * 32) for client in range(1, 6)},
    )


@pytest.mark.parametrize("stage", STAGES)
def test_a_client_may_vanish_at_any_stage(runner: RoundRunner, stage: str) -> None:
    start = runner.work.manifest.flatten(runner.work.model)
    outcome = runner.run(1, start, {2: stage})
    assert isinstance(outcome, RoundOutcome)
    vanished_late = STAGES.index(stage) > STAGES.index("upload")
    assert outcome.survivors == ((1, 2, 3, 4, 5) if vanished_late else (1, 3, 4, 5))
    assert outcome.dropped == ((2, stage),)


@pytest.mark.parametrize("stage", STAGES)
def test_one_client_too_many_ends_the_round_without_a_sum(runner: RoundRunner, stage: str) -> None:
    start = runner.work.manifest.flatten(runner.work.model)
    outcome = runner.run(1, start, {2: stage, 3: stage})
    assert isinstance(outcome, RoundLost)
    assert outcome.uploaded == (STAGES.index(stage) >= STAGES.index("upload"))


def test_the_noise_in_the_sum_has_the_variance_that_is_accounted(runner: RoundRunner) -> None:
    # The sample variance of N values of (nearly) normal noise has relative standard deviation sqrt(2 / N);
    # the test fails on right code with probability below 1e-6 (five standard deviations, two cases).
    # The rounds follow each other: most are prepared ahead, and those after a dropout are not.
    plan, start = runner.plan, runner.work.manifest.flatten(runner.work.model)
    for first, vanishing, survivors in ((1, {}, 5), (21, {2: "upload"}, 4)):
        values = []
        for round_ in range(first, first + 20):
            outcome = runner.run(round_, start, vanishing)
            assert isinstance(outcome, RoundOutcome)
            values.append(outcome.gradient * plan.expected_batch * 2.0**plan.grid.scale_log2)
        noise = np.concatenate(values)
        planned = plan.noise.sum_variance(survivors)
        assert abs(noise.var() / planned - 1) < 5 * np.sqrt(2 / noise.size)
        # One colluding client's noise is not counted; what is left is what is charged, and next to no more.
        charged = (Fraction(plan.noise.noise_multiplier) * plan.grid.sensitivity) ** 2
        left = planned - plan.noise.kept_variance(survivors)
        assert charged <= left <= charged * Fraction(21, 20) + survivors


def test_the_plan_says_how_much_noise_is_left_at_each_number_of_survivors(plan: Plan) -> None:
    left = dict(plan.lines())["noise left in a sum"]
    assert left.startswith("1.000 with 4 survivors, 1.000 with 5 survivors,")
    assert left.endswith("without removal up to 1.333")
    assert plan.to_dict()["levels"] == [5]


@pytest.mark.parametrize("stage", STAGES)
def test_a_client_that_vanished_is_back_in_the_next_round(runner: RoundRunner, stage: str) -> None:
    start = runner.work.manifest.flatten(runner.work.model)
    for round_, vanishing in enumerate(({}, {2: stage}, {}, {2: stage, 3: stage}, {}), start=1):
        outcome = runner.run(round_, start, vanishing)
        if len(vanishing) < 2:
            assert isinstance(outcome, RoundOutcome)
            assert vanishing or outcome.survivors == (1, 2, 3, 4, 5)


def test_a_client_that_no_request_of_a_round_reached_helps_to_open_the_next(runner: RoundRunner) -> None:
    # Round 2 begins with the upload, so that client 2 never hears of it; of round 3 four shares are needed.
    start = runner.work.manifest.flatten(runner.work.model)
    for round_, vanishing in enumerate(({}, {2: "upload"}, {1: "unmask"}), start=1):
        outcome = runner.run(round_, start, vanishing)
        assert isinstance(outcome, RoundOutcome)
    assert outcome.survivors == (1, 2, 3, 4, 5)


def test_a_client_with_another_model_is_refused_by_the_others(runner: RoundRunner) -> None:
    start = runner.work.manifest.flatten(runner.work.model)
    told: dict[str, object] = {
        "head": bytes(32),
        "config": "00" * 32,
        "manifest": "00" * 32,
        "parameters": start,
        "state": {},
    }
    here = round_context(**told)  # type: ignore[arg-type]
    for other in (
        {"parameters": start + np.float32(1e-3)},
        {"head": b"\1" * 32},  # nor does one with another ledger have a sum with them
        {"config": "11" * 32},
        {"manifest": "11" * 32},
        {"state": {"clip": 2.0}},
    ):
        assert here != round_context(**{**told, **other})  # type: ignore[arg-type]

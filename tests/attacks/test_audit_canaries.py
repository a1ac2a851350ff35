"""An auditor's canaries in a real run: masked sums, distributed noise, and the same with the noise gone."""

from __future__ import annotations

import math

import pytest
from parties.broken_builds import WithoutNoise
from parties.small_run import RECORDS, small_config

from fedpriv.entropy import Entropy
from fedpriv.federation.auditing.audit import judge
from fedpriv.federation.auditing.listening import Heard, listen
from fedpriv.federation.planning.make import make_plan
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.round import RoundRunner
from fedpriv.federation.workplace import Workplace, prepare

CANARIES = 180  # fewer than a quarter of the dimensions: they are told apart all at once
ROUNDS = 2
CLIENTS = 5
SEED = 11

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[None, {"rotate": True}], ids=["straight", "rotated"])
def workplace(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Workplace, Plan]:
    """Every record in every round: nothing but the noise stands between a canary and the sum."""
    records = RECORDS * 4 // 5
    config = small_config(
        tmp_path_factory.mktemp("audit"),
        run__rounds=ROUNDS,
        privacy__epsilon=1.0,
        privacy__expected_batch=float(records),
        privacy__records=records,
        secagg__min_survivors=CLIENTS,
        compression=request.param,
    )
    work = prepare(config)
    plan = make_plan(config, work)
    assert plan.rotated == (request.param is not None)
    return work, plan


def heard(workplace: tuple[Workplace, Plan], build: type[RoundRunner]) -> Heard:
    """What the command hears, under a seed."""
    work, plan = workplace
    return listen(work, plan, canaries=CANARIES, rounds=ROUNDS, entropy=Entropy(SEED), build=build)


def test_the_claim_stands_with_the_noise_and_falls_without_it(workplace: tuple[Workplace, Plan]) -> None:
    # The claim is refuted wrongly with probability below 0.05 by the bound's own promise, and far below 1e-6
    # here: at epsilon 1 nine of ten guesses would have to be right instead of six.
    plan = workplace[1]
    found = judge(plan, heard(workplace, RoundRunner))
    assert 0.9 < found.claimed <= 1.0
    assert found.refutable
    assert not found.refuted

    broken = judge(plan, heard(workplace, WithoutNoise))
    assert broken.refuted
    assert broken.any_mechanism.epsilon > 2 * broken.claimed


def test_the_scores_hear_the_canaries_and_exactly_the_planned_noise(
    workplace: tuple[Workplace, Plan],
) -> None:
    found, noise = heard(workplace, RoundRunner), workplace[1].noise
    residual = found.by_name["total"] - ROUNDS * found.canaries.included  # each in every round, at rate 1
    spread = math.sqrt(ROUNDS * noise.sum_variance(CLIENTS)) / noise.sensitivity
    spread /= math.sqrt(1.0 - CANARIES / found.canaries.dimension)  # the price of telling them apart
    # Five standard deviations of a variance of 180 values, and of their mean: below 2e-6 together.
    assert abs(residual.var() / spread**2 - 1) < 5.2 * math.sqrt(2 / CANARIES)
    assert abs(residual.mean()) < 5.2 * spread / math.sqrt(CANARIES)

"""What a plan makes of encrypted sums: the largest value, the committee, what is promised against whom."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from parties.small_run import small_config

from fedpriv import dp
from fedpriv.aggregation import Ckks
from fedpriv.crypto import Keystream
from fedpriv.encoding import FixedPoint
from fedpriv.errors import UnsafeParameters
from fedpriv.federation.config import Config
from fedpriv.federation.planning.adversaries import adversaries
from fedpriv.federation.planning.encrypted import ckks_aggregator, flooding_slack, largest_value
from fedpriv.federation.planning.make import make_plan
from fedpriv.federation.work.contribution import Contribution
from fedpriv.federation.workplace import prepare

GRID = FixedPoint(bits=28, clients=8, clip=1.0, scale_log2=16, sensitivity=2**16, client_bound=2**18)
ONE = Contribution(sampling_rate=0.1, divisor=16.0, expected=16.0, turns=1, bit_share=0.0)


def noise(trust: str = "distributed", **changes: Any) -> dp.NoisePlan:
    values: dict[str, Any] = {
        "max_colluders": 1,
        "noise_multiplier": 1.0,
        "sensitivity": 2**16,
        "dimension": 1000,
    } | changes
    return dp.NoisePlan(
        trust=trust,  # type: ignore[arg-type]
        clients=8,
        min_survivors=6,
        sampling_rate=0.1,
        **values,
    )


def config(**changes: Any) -> Config:
    tables: dict[str, Any] = {
        "aggregator": "ckks",
        "run": {"rounds": 16},
        "model": {"id": "some/model"},
        "data": {"source": "reviews.csv"},
        "partition": {"clients": 8},
        "privacy": {"epsilon": 3.0, "delta": 1e-5, "expected_batch": 16.0},
    }
    return Config.from_dict({**tables, **changes})


def aggregator(colluders: int = 1, **ckks: Any) -> Ckks:
    made = config(ckks=ckks, secagg={"max_colluders": colluders})
    return ckks_aggregator(made, GRID, noise(max_colluders=colluders), 8, 2**20)


def test_the_largest_value_holds_the_clamped_integers_and_one_share_of_noise() -> None:
    plan = noise()
    beyond = largest_value(ONE, GRID, plan, rounds=10) - GRID.client_bound
    deviations = beyond / math.sqrt(plan.share_variance)
    # The chance of 2^-40 for 80,000 normal values is at 9.6 deviations; no bound can be below, none need be
    # much above.
    assert 9.5 < deviations < 11.5
    drawn = dp.skellam(plan.share_variance, 200_000, Keystream(bytes(32)).words)
    assert np.abs(drawn).max() < beyond


def test_a_share_that_is_enough_alone_and_several_steps_take_more_room() -> None:
    distributed, local = (largest_value(ONE, GRID, noise(t), 10) - 2**18 for t in ("distributed", "local"))
    assert local / distributed == pytest.approx(math.sqrt(5), rel=1e-3)
    four = Contribution(sampling_rate=0.1, divisor=16.0, expected=64.0, turns=1, bit_share=0.0, steps=4)
    assert largest_value(four, GRID, noise("local"), 10) - 2**18 == pytest.approx(2 * local, rel=1e-3)
    assert largest_value(ONE, GRID, noise("distributed"), 10**6) > distributed + 2**18


def test_without_noise_and_with_the_clips_coordinate_the_integers_decide() -> None:
    assert largest_value(ONE, GRID, noise("central"), 10) == GRID.client_bound
    moving = Contribution(sampling_rate=1.0, divisor=8.0, expected=4.0, turns=1, bit_share=0.99)
    assert moving.bit_units(GRID) > GRID.client_bound
    assert largest_value(moving, GRID, noise("central"), 10) == moving.bit_units(GRID)


def test_no_value_is_larger_than_what_a_residue_can_stand_for() -> None:
    narrow = FixedPoint(bits=20, clients=1, clip=1.0, scale_log2=16, sensitivity=2**16, client_bound=2**18)
    assert largest_value(ONE, narrow, noise("local"), 10) == 2**19


def test_a_share_of_little_noise_has_the_heavier_tail_of_a_skellam_variable() -> None:
    small = noise(sensitivity=1)
    assert small.share_variance == 1
    beyond = largest_value(ONE, GRID, small, 10) - GRID.client_bound
    assert beyond > 20  # a normal variable of variance 1 would be within 10
    # The exact law: a difference of two Poisson variables of mean 1/2, by its Chernoff bound.
    chance = 2 * math.exp(-(beyond * math.asinh(beyond) - math.sqrt(1 + beyond**2) + 1))
    assert 8 * 1000 * 10 * chance < 2**-40


@pytest.mark.parametrize(
    ("ckks", "holders", "threshold"),
    [
        ({}, (0,), 1),
        ({"mode": "threshold"}, (1, 2, 3, 4, 5), 4),
        ({"mode": "threshold", "holders": 8, "server": "semi-honest"}, tuple(range(1, 9)), 2),
        ({"mode": "shared-key"}, tuple(range(1, 9)), 1),
    ],
)
def test_the_configuration_says_who_holds_the_key(
    ckks: dict[str, Any], holders: tuple[int, ...], threshold: int
) -> None:
    made = aggregator(**ckks)
    assert (made.params.holders, made.params.threshold) == (holders, threshold)
    assert (made.params.min_survivors, made.params.bound, made.bits) == (6, 2**20, 28)


def test_what_answers_tell_is_a_small_part_of_delta_or_the_plan_is_refused() -> None:
    params = aggregator(mode="threshold").params
    one_key = flooding_slack(params, 16, epsilon=3.0, delta=1e-5)
    assert one_key == pytest.approx((1 + math.e**3) * 2**-30)
    assert flooding_slack(params, 64, epsilon=3.0, delta=1e-5) == pytest.approx(2 * one_key)
    assert flooding_slack(aggregator().params, 64, epsilon=3.0, delta=1e-5) == 0.0
    with pytest.raises(UnsafeParameters, match="would add") as refused:
        flooding_slack(params, 16, epsilon=8.0, delta=1e-5)
    finer = aggregator(mode="threshold", statistical_bits=int(refused.value.hint.split()[3])).params
    assert 0 < flooding_slack(finer, 16, epsilon=8.0, delta=1e-5) <= 1e-6


@pytest.mark.parametrize("trust", ["distributed", "local", "central"])
def test_the_authority_sees_what_the_server_sees(trust: str) -> None:
    events = dp.RoundEvents(noise(trust, noise_multiplier=6.0))
    seen = {entry.adversary: entry for entry in adversaries(events, aggregator(), 3, 1e-5)}
    assert seen["authority"].event == seen["server"].event == events.against("server")
    assert "not together with the key authority" in seen["server"].description or trust == "central"
    assert "without it" in seen["server"].description or trust != "central"
    assert "the server and the key authority together" in seen["unmasked"].description
    assert seen["unmasked"].event == events.against("unmasked")


@pytest.mark.parametrize("colluders", [0, 1])
def test_a_shared_key_protects_only_while_no_client_works_with_the_server(colluders: int) -> None:
    events = dp.RoundEvents(noise(noise_multiplier=6.0, max_colluders=colluders))
    made = aggregator(colluders, mode="shared-key")
    seen = {entry.adversary: entry for entry in adversaries(events, made, 3, 1e-5)}
    assert "authority" not in seen
    exposed = seen["server"].event == events.against("unmasked")
    assert exposed is bool(colluders) is not made.hides_updates


@pytest.mark.slow
def test_the_guarantee_names_who_must_not_work_together(tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.mktemp("plans")
    work = prepare(small_config(base))

    def plan(**changes: Any) -> dict[str, str]:
        values = {"aggregator": "ckks", "privacy__epsilon": 2.0, "run__rounds": 2, **changes}
        return dict(make_plan(small_config(base, **values), work).lines())

    authority = plan()
    assert "but not with the key authority as well" in authority["guarantee"]
    assert "none is removed" in authority["noise left in a sum"]
    assert "times the vector as 32-bit numbers" in authority["traffic"]
    assert "answers add" not in authority["encryption"]
    committee = plan(ckks__mode="threshold", ckks__server="semi-honest")
    assert "with fewer than 2 of the 5 holders of the key" in committee["guarantee"]
    assert "the server (if it follows the protocol)" in committee["guarantee"]
    assert "answers add about" in committee["encryption"]
    shared = plan(ckks__mode="shared-key")
    assert "but not the server, which opens every update with any client's key" in shared["guarantee"]
    assert shared["SHARED KEY"]
    assert "with any one client; opens every update" in shared["ε against server"]
    assert "nor the key authority" in plan(trust="central")["guarantee"]

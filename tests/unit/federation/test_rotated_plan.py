"""Whether a plan rotates its sums, and in how many bits: the choice against all that there are, what it says,
and what is refused."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from parties.client_run import client_config
from parties.small_run import small_config
from reference import encoding as reference

from fedpriv.errors import ConfigError, IntegrityError, UnsafeParameters
from fedpriv.federation.config import Config
from fedpriv.federation.planning.make import plan_of, read_plan
from fedpriv.federation.planning.modulus import Modulus
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.planning.subject import Subject
from fedpriv.federation.work.contribution import Contribution

WIDTH = 20_000
MANY = {"privacy__expected_batch": 180.0, "privacy__noise_multiplier": 2.0}
"""Records enough for their sum, and not the noise, to fill the modulus."""


def subject(**changes: Any) -> Subject:
    values = {"dataset": "aa" * 32, "clients": 5, "records": 192, "unit_key": "record", "parameters": WIDTH}
    return Subject(**{**values, **changes})


def planned(folder: Path, **changes: Any) -> Plan:
    given = {"run__rounds": 2, "secagg__remove_excess": False, **MANY, **changes}
    return plan_of(small_config(folder, **given), subject())


Choice = tuple[int, bool, int]
"""Coordinates, whether they are not turned, and minus the bits: more is better, one after the other."""


def best_of_all(folder: Path, bits: range, **changes: Any) -> Choice:
    """The best of every modulus, turned and not, whose cost is within a thousandth of the least there is."""
    config = small_config(folder, **{"run__rounds": 2, "secagg__remove_excess": False, **MANY, **changes})
    one = Contribution.of(config, records=192, clients=5)
    multiplier = config.privacy.noise_multiplier or 0.0
    costs: dict[Choice, float] = {}
    for width in bits:
        for rotated in (False, True):
            modulus = Modulus(config, one, width, rotated)
            try:
                room = modulus.fitted(subject(), multiplier)
                cost = modulus.priced(room.subject, multiplier)[2]
            except UnsafeParameters:
                continue
            if not room.over:
                costs[room.subject.parameters, not rotated, -width] = cost
    free = [choice for choice, cost in costs.items() if cost <= min(costs.values()) * 1.001]
    return max(free)


def choice(plan: Plan) -> Choice:
    return plan.coordinates, not plan.rotated, -plan.grid.bits


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "rotated"),
    [
        ({"compression__bytes": 30_000}, True),
        ({"compression__bytes": 20_000, "trust": "local"}, True),
        ({"compression__bytes": 20_000, "trust": "central", "aggregator": "plain"}, True),
        ({"compression__bytes": 30_000, "privacy__expected_batch": 2.0}, False),  # the noise fills it anyway
        ({"compression__bytes": 90_000}, False),  # all travel without it
        ({"compression__bytes": 50_000, "peft__method": "fedsvd"}, True),  # nothing may be left out
    ],
)
def test_the_plan_is_the_best_of_all_there_are(
    tmp_path: Path, changes: dict[str, Any], rotated: bool
) -> None:
    plan = planned(tmp_path, **changes)
    assert plan.rotated == rotated
    assert choice(plan) == best_of_all(tmp_path, range(14, 28), **changes)
    assert plan.bytes_per_client_round <= changes["compression__bytes"]


@pytest.mark.slow
@pytest.mark.parametrize("allowed", [60_000, 200_000])
def test_the_best_encrypted_plan_is_found_as_well(tmp_path: Path, allowed: int) -> None:
    """The bytes follow the largest value in steps, and the modulus only through it."""
    changes = {"aggregator": "ckks", "compression__bytes": allowed}
    assert choice(planned(tmp_path, **changes)) == best_of_all(tmp_path, range(18, 30), **changes)


@pytest.mark.parametrize("aggregator", ["masked", "ckks"])
def test_rotation_alone_sends_all_in_fewer_bits_at_the_same_price(tmp_path: Path, aggregator: str) -> None:
    usual = planned(tmp_path, aggregator=aggregator)
    plan = planned(tmp_path, aggregator=aggregator, compression__rotate=True)
    assert (usual.rotated, plan.rotated) == (False, True)
    assert plan.coordinates == usual.coordinates == WIDTH
    assert plan.grid.bits < usual.grid.bits
    assert plan.bytes_per_client_round < usual.bytes_per_client_round
    assert plan.epsilon_pld <= usual.epsilon_pld * 1.002
    assert plan.noise.noise_multiplier == usual.noise.noise_multiplier
    with pytest.raises(UnsafeParameters):  # nor would it do with one bit less
        planned(tmp_path, aggregator=aggregator, secagg__bits=plan.grid.bits - 1)


def test_the_bits_of_the_configuration_are_kept_and_the_grid_gets_finer(tmp_path: Path) -> None:
    fixed = {"secagg__bits": 24, "compression__share": 0.5}
    turned = planned(tmp_path, **fixed, compression__rotate=True)
    plain = planned(tmp_path, **fixed, compression__rotate=False)
    assert turned.grid.bits == plain.grid.bits == 24
    assert turned.coordinates == plain.coordinates == WIDTH // 2
    assert turned.grid.sensitivity >= 4 * plain.grid.sensitivity


def test_the_bound_is_that_of_the_specification(tmp_path: Path) -> None:
    plan = planned(tmp_path, compression__rotate=True)
    assert plan.grid.client_bound == reference.rotated_client_bound(
        plan.grid.sensitivity, clients=5, expected=Fraction(180), dimension=WIDTH
    )


@pytest.mark.parametrize("share", [None, 0.02, 0.2])
def test_a_moving_clip_has_a_coordinate_of_its_own_that_is_not_cut(
    tmp_path: Path, share: float | None
) -> None:
    clip = {} if share is None else {"privacy__adaptive_clip": {"quantile": 0.5, "share": share}}
    config = client_config(tmp_path, privacy__noise_multiplier=3.0, **clip, compression={"rotate": True})
    plan = plan_of(config, subject(clients=6, unit_key="client:ab"))
    ratio = 0.0 if share is None else (share / (1 - share)) ** 0.5
    assert plan.coordinates == plan.noise.dimension - (share is not None) == WIDTH
    assert plan.grid.client_bound == reference.rotated_client_bound(
        plan.grid.sensitivity, clients=6, expected=Fraction(3), dimension=WIDTH, beside=ratio
    )
    if plan.adaptive_clip is not None:
        assert plan.adaptive_clip.bit_units <= plan.grid.client_bound


def test_it_is_said_in_the_plan_for_people_and_machines(tmp_path: Path) -> None:
    turned, plain = planned(tmp_path, compression__rotate=True), planned(tmp_path)
    said = dict(turned.lines())["encoding"]
    assert said.startswith(f"20,000 parameters in {turned.grid.bits} bits, ")
    assert said.endswith("; turned by a public random rotation, new in each round")
    assert "rotation" not in dict(plain.lines())["encoding"]
    assert (turned.to_dict()["rotated"], plain.to_dict()["rotated"]) == (True, False)


@pytest.mark.parametrize("rotate", [None, True, False])
def test_a_written_plan_is_read_back_and_one_that_turns_otherwise_is_refused(
    tmp_path: Path, rotate: bool | None
) -> None:
    table = {"bytes": 30_000} | ({} if rotate is None else {"rotate": rotate})
    config = small_config(tmp_path, **MANY, run__rounds=2, compression=table)
    plan = plan_of(config, subject())
    written = json.loads(json.dumps(plan.to_dict()))
    assert plan.rotated == written["rotated"] == (rotate is not False)
    assert read_plan(config, subject(), written) == plan
    for other in (not plan.rotated, "yes", 2, None):
        if rotate is None and isinstance(other, bool):
            continue  # another plan that could have been made, at another price
        with pytest.raises(IntegrityError):
            read_plan(config, subject(), written | {"rotated": other})
    with pytest.raises(IntegrityError):
        read_plan(config, subject(), {name: value for name, value in written.items() if name != "rotated"})


def refused(folder: Path, **changes: Any) -> ConfigError:
    with pytest.raises(ConfigError) as found:
        small_config(folder, **changes)
    return found.value


def test_what_cannot_be_turned_is_refused_by_name_and_left_unturned_where_it_may_be(tmp_path: Path) -> None:
    steps = {"trust": "local", "local": {"steps": 3, "learning_rate": 0.1}}
    slopes = {"peft": {"method": "fedkseed"}}
    banded = {
        "unit": "client",
        "trust": "central",
        "privacy": {"epsilon": 8.0, "delta": 1e-4, "mechanism": "banded-matrix", "bands": 2},
        "partition__clients": 7,
    }
    for changes, why in ((steps, "follow from one another"), (slopes, "too few")):
        error = refused(tmp_path, **changes, compression={"rotate": True})
        assert error.key == "compression.rotate"
        assert why in str(error)
        config = small_config(tmp_path, **changes, compression={"bytes": 30_000})
        assert config.rotations == (False,)
    assert refused(tmp_path, **banded, compression={"rotate": True}).key == "privacy.mechanism"
    for table in ({"rotate": False}, {"rotate": True, "share": 0.5, "bytes": 1000}):
        assert refused(tmp_path, compression=table).key == "compression"


def test_a_configuration_without_the_key_has_the_digest_that_it_had(tmp_path: Path) -> None:
    config = small_config(tmp_path, compression={"share": 0.5})
    assert "rotate" not in config.to_dict()["compression"]
    turned = small_config(tmp_path, compression={"share": 0.5, "rotate": True})
    assert Config.from_dict(turned.to_dict(), base=tmp_path).digest() == turned.digest() != config.digest()

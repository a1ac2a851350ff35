"""Fewer coordinates and bits for a budget of bytes: what a plan chooses, says, and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from parties.small_run import small_config

from fedpriv.errors import ConfigError, IntegrityError, UnsafeParameters, UsageError
from fedpriv.federation.planning.make import plan_of, read_plan
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.planning.subject import Subject

WIDTH = 20_000


def subject(**changes: Any) -> Subject:
    values = {"dataset": "aa" * 32, "clients": 5, "records": 192, "unit_key": "record", "parameters": WIDTH}
    return Subject(**{**values, **changes})


def planned(folder: Path, **changes: Any) -> Plan:
    config = small_config(folder, **{"privacy__noise_multiplier": 3.0, "run__rounds": 3, **changes})
    return plan_of(config, subject())


def test_a_share_is_of_the_methods_coordinates_and_everything_follows_from_it(tmp_path: Path) -> None:
    whole, part = planned(tmp_path), planned(tmp_path, compression__share=0.125)
    assert (whole.coordinates, part.coordinates) == (WIDTH, WIDTH // 8)
    assert part.noise.dimension == part.event.dimension == WIDTH // 8  # type: ignore[union-attr]
    assert part.tv_slack < whole.tv_slack / 2  # the distance from Gaussian noise grows with the dimension
    assert part.bytes_per_client_round < whole.bytes_per_client_round / 6
    assert whole.to_dict()["compression"] is None
    assert part.to_dict()["compression"] == {
        "coordinates": 2500,
        "of": WIDTH,
        "bytes": None,
        "share": 0.125,
    }
    assert (
        "compression",
        "2,500 of the method's 20,000 coordinates (12.5%), drawn anew each round from run.seed",
    ) in (part.lines())
    assert planned(tmp_path, compression__share=1e-9).coordinates == 1


@pytest.mark.parametrize("aggregator", ["masked", "plain", "ckks"])
def test_a_budget_of_bytes_is_filled_and_not_exceeded(tmp_path: Path, aggregator: str) -> None:
    allowed = 400_000 if aggregator == "ckks" else 20_000
    plan = planned(tmp_path, aggregator=aggregator, compression__bytes=allowed)
    assert plan.bytes_per_client_round <= allowed
    one_more = planned(
        tmp_path,
        aggregator=aggregator,
        compression__share=min(1.0, (plan.coordinates + 1) / WIDTH),
        secagg__bits=plan.grid.bits,
    )
    if plan.coordinates < WIDTH:
        assert one_more.coordinates == plan.coordinates + 1
        assert one_more.bytes_per_client_round > allowed
    if aggregator != "ckks":
        assert plan.grid.bits < 32


def test_bits_are_saved_before_coordinates(tmp_path: Path) -> None:
    """A budget that the narrower modulus meets with everything leaves nothing out."""
    usual = planned(tmp_path)
    plan = planned(tmp_path, compression__bytes=usual.bytes_per_client_round * 4 // 5)
    assert usual.grid.bits == 32
    assert plan.grid.bits < 25
    assert not plan.rotated
    assert plan.coordinates == WIDTH
    assert plan.epsilon_pld <= usual.epsilon_pld * 1.002
    assert planned(tmp_path, compression__bytes=10**9).coordinates == WIDTH


def test_a_budget_that_cannot_be_met_is_refused_with_the_least(tmp_path: Path) -> None:
    with pytest.raises(UnsafeParameters, match="at least") as refused:
        planned(tmp_path, compression__bytes=10)
    least = int(str(refused.value).split("at least ")[1].split(" bytes")[0].replace(",", ""))
    assert planned(tmp_path, compression__bytes=least).coordinates >= 1
    with pytest.raises(UnsafeParameters):
        planned(tmp_path, compression__bytes=least - 1)


def test_what_may_not_be_drawn_is_sent_whole_or_not_at_all(tmp_path: Path) -> None:
    changes = {"peft__method": "fedsvd", "compression__bytes": 60_000}
    assert planned(tmp_path, **changes).coordinates == WIDTH
    with pytest.raises(UnsafeParameters, match="at least"):
        planned(tmp_path, **{**changes, "compression__bytes": 20_000})


def test_a_written_plan_is_read_back_and_one_that_sends_more_is_refused(tmp_path: Path) -> None:
    for changes in ({"compression__bytes": 20_000}, {"compression__share": 0.125}):
        config = small_config(tmp_path, privacy__noise_multiplier=3.0, run__rounds=3, **changes)
        plan = plan_of(config, subject())
        written = json.loads(json.dumps(plan.to_dict()))
        assert read_plan(config, subject(), written) == plan
        more = written["compression"] | {"coordinates": written["compression"]["coordinates"] + 1}
        with pytest.raises((IntegrityError, UnsafeParameters)):
            read_plan(config, subject(), written | {"compression": more})


def test_ranks_that_nobody_would_have_are_refused(tmp_path: Path) -> None:
    config = small_config(tmp_path, peft={"method": "hetlora", "ranks": [1, 1, 1, 1, 1, 8]})
    with pytest.raises(UsageError, match="nobody has rank 8"):
        plan_of(config, subject())


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"compression": {}}, "compression"),
        ({"compression": {"share": 0.5, "bytes": 1000}}, "compression"),
        ({"compression": {"share": 0.0}}, "compression.share"),
        ({"peft__method": "fedsvd", "compression__share": 0.5}, "compression.share"),
        ({"peft": {"method": "hetlora", "ranks": [2, 4]}}, "peft.ranks"),
        ({"server": {"optimizer": "sgd", "epsilon": 0.1}}, "server.epsilon"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(tmp_path: Path, changes: Any, key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        small_config(tmp_path, **changes)
    assert refused.value.key == key


@pytest.mark.parametrize("changes", [{"compression": {"share": 0.5}}, {"peft": {"method": "rolora"}}])
def test_noise_over_rounds_needs_coordinates_that_stay_what_they_are(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    banded = {
        "unit": "client",
        "trust": "central",
        "privacy": {"epsilon": 8.0, "delta": 1e-4, "mechanism": "banded-matrix", "bands": 2},
        "partition__clients": 7,
    }
    small_config(tmp_path, **banded)
    with pytest.raises(ConfigError, match="does not stand for the same"):
        small_config(tmp_path, **banded, **changes)

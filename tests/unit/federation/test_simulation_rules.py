"""What is said of simulated clients and contradicts itself is refused by its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from parties.client_run import client_config
from parties.small_run import small_config

from fedpriv.errors import ConfigError
from fedpriv.federation.config.simulation_rules import check_deployable

LORA = {"peft": {"method": "lora"}}


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        (
            {"simulation__straggler_misses": 0.3},
            "simulation.straggler_misses",
            "`simulation.stragglers` is 0",
        ),
        ({"simulation__away_rounds": 2}, "simulation.away_rounds", "`simulation.away` is 0"),
        ({"simulation__measure_gap": True}, "simulation.measure_gap", "head has no halves"),
        (
            {"simulation__measure_gap": True, "peft": {"method": "fed-sb"}},
            "simulation.measure_gap",
            "fed-sb has no halves",
        ),
        (
            {"simulation__measure_gap": True, "peft": {"method": "hetlora"}},
            "simulation.measure_gap",
            "a model of its own rank",
        ),
        ({"simulation__measure_gap": True, **LORA}, "simulation.measure_gap", "is a step of that model"),
        (
            {"simulation__measure_gap": True, "trust": "local", "local": {"steps": 3}, **LORA},
            "simulation.measure_gap",
            "own noise is in each of its steps",
        ),
        ({"partition__shards_per_client": 2}, "partition.shards_per_client", "'iid' cuts no shards"),
        ({"partition__method": "shards", "partition__column": "film"}, "partition.column", "uses no column"),
        ({"partition": {"method": "quantity"}}, "partition.clients", "needs the number of clients"),
    ],
)
def test_what_says_nothing_is_refused(tmp_path: Path, changes: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        small_config(tmp_path, **changes)
    assert caught.value.key == key
    assert words in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"simulation__measure_gap": True, "peft": {"method": "lora"}}, "simulation.measure_gap"),
        ({"training__groups": "film"}, "training.groups"),
    ],
)
def test_what_only_a_simulation_can_measure_is_not_deployed(
    tmp_path: Path, changes: dict[str, Any], key: str
) -> None:
    check_deployable(client_config(tmp_path))
    with pytest.raises(ConfigError, match="on a network") as caught:
        check_deployable(client_config(tmp_path, **changes))
    assert caught.value.key == key

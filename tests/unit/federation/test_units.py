"""Trust by unit by mechanism: every combination is offered or refused by name, with a reason and a hint."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from fedpriv.errors import ConfigError
from fedpriv.federation.config import Config

OFFERED = {
    # (unit, trust, several local steps, mechanism): what a client puts into the sum
    ("record", "local", False, "skellam"): "gradients",
    ("record", "distributed", False, "skellam"): "gradients",
    ("record", "central", False, "skellam"): "gradients",
    ("record", "local", True, "skellam"): "steps",
    ("record", "distributed", True, "skellam"): "update",
    ("record", "central", True, "skellam"): "update",
    ("client", "local", False, "skellam"): "update",
    ("client", "distributed", False, "skellam"): "update",
    ("client", "central", False, "skellam"): "update",
    ("client", "local", True, "skellam"): "update",
    ("client", "distributed", True, "skellam"): "update",
    ("client", "central", True, "skellam"): "update",
    ("client", "central", False, "banded-matrix"): "update",
    ("client", "central", True, "banded-matrix"): "update",
}


def config(
    unit: str, trust: str, *, several: bool = False, aggregator: str = "masked", **changes: Any
) -> Config:
    values: dict[str, Any] = {
        "unit": unit,
        "trust": trust,
        "aggregator": aggregator,
        "run": {"rounds": 3},
        "model": {"id": "some/model"},
        "data": {"source": "reviews.csv"},
        "partition": {"clients": 8},
        "privacy": {"epsilon": 3.0, "delta": 1e-5},
    }
    if several:
        values["local"] = {"steps": 4}
    if unit == "record" and (trust == "local" or not several):
        values["privacy"]["expected_batch"] = 64.0
    for key, value in changes.items():
        table, _, leaf = key.rpartition("__")
        (values.setdefault(table, {}) if table else values)[leaf] = value
    return Config.from_dict(values)


@pytest.mark.parametrize("aggregator", ["masked", "plain"])
@pytest.mark.parametrize(
    ("unit", "trust", "several", "mechanism"),
    list(
        itertools.product(
            ("record", "client"),
            ("local", "distributed", "central"),
            (False, True),
            ("skellam", "banded-matrix"),
        )
    ),
)
def test_every_combination_is_offered_or_refused_by_name(
    unit: str, trust: str, several: bool, mechanism: str, aggregator: str
) -> None:
    extra: dict[str, Any] = {"privacy__mechanism": mechanism}
    if mechanism == "banded-matrix":
        extra["privacy__bands"] = 2
    work = OFFERED.get((unit, trust, several, mechanism))
    if work is not None:
        assert config(unit, trust, several=several, aggregator=aggregator, **extra).work == work
        return
    with pytest.raises(ConfigError) as caught:
        config(unit, trust, several=several, aggregator=aggregator, **extra)
    assert caught.value.key == "privacy.mechanism"
    assert mechanism in str(caught.value)
    assert caught.value.hint


def refused(**changes: Any) -> ConfigError:
    unit, trust = changes.pop("unit", "client"), changes.pop("trust", "distributed")
    with pytest.raises(ConfigError) as caught:
        config(unit, trust, **changes)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"privacy__delta": 0.125}, "privacy.delta", "too large for 8 clients"),
        ({"privacy__expected_batch": 64.0}, "privacy.expected_batch", "no record is sampled"),
        ({"privacy__records": 100}, "privacy.records", "no record is sampled"),
        ({"local__steps": 2, "local__epochs": 1}, "local.epochs", "both set"),
        ({"unit": "record", "local__record_cap": 5}, "local.record_cap", "each with the same weight"),
        ({"unit": "record", "privacy__adaptive_clip": {}}, "privacy.adaptive_clip", "fixed clip"),
        ({"unit": "record", "trust": "local", "local__epochs": 2}, "local.epochs", "sample their records"),
        ({"privacy__bands": 4}, "privacy.bands", "not 'banded-matrix'"),
        (
            {"privacy__mechanism": "banded-matrix", "privacy__bands": 4},
            "privacy.mechanism",
            "cannot be added by the others",
        ),
        (
            {"privacy__mechanism": "banded-matrix", "trust": "central", "unit": "record"},
            "privacy.mechanism",
            "sampled records do not keep to",
        ),
        ({"privacy__mechanism": "banded-matrix", "trust": "central"}, "privacy.bands", "is missing"),
        (
            {
                "privacy__mechanism": "banded-matrix",
                "trust": "central",
                "privacy__bands": 2,
                "privacy__adaptive_clip": {},
            },
            "privacy.adaptive_clip",
            "one scale for all rounds",
        ),
        (
            {"privacy__mechanism": "banded-matrix", "trust": "central", "privacy__bands": 4},
            "partition.clients",
            "fewer than the 3",
        ),
    ],
)
def test_what_does_not_go_together_is_named(changes: dict[str, Any], key: str, words: str) -> None:
    error = refused(**changes)
    assert error.key == key
    assert words in str(error)


def test_sampled_records_need_their_expected_batch() -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(
            {
                "run": {"rounds": 3},
                "model": {"id": "some/model"},
                "data": {"source": "reviews.csv"},
                "partition": {"clients": 8},
                "privacy": {"epsilon": 3.0, "delta": 1e-5},
            }
        )
    assert str(caught.value) == "`privacy.expected_batch` is missing"
    assert caught.value.hint.startswith("set it: ")


@pytest.mark.parametrize(
    ("unit", "local", "steps", "epochs"),
    [
        ("record", {}, 1, None),
        ("client", {}, None, 1),
        ("client", {"steps": 3}, 3, None),
        ("client", {"epochs": 2}, None, 2),
    ],
)
def test_steps_or_passes(unit: str, local: dict[str, int], steps: int | None, epochs: int | None) -> None:
    made = config(unit, "distributed", **{f"local__{key}": value for key, value in local.items()})
    assert (made.local_steps, made.local_epochs) == (steps, epochs)


def test_a_client_configuration_reads_back_as_the_same() -> None:
    made = config("client", "distributed", privacy__adaptive_clip={"quantile": 0.4}, local__record_cap=9)
    assert Config.from_dict(made.to_dict()) == made

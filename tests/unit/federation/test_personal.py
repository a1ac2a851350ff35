"""Clients' own models: which held-out records stand for a client, and what is refused beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parties.client_run import client_config
from parties.small_run import small_config

from fedpriv.data import LeftOut, Table
from fedpriv.errors import ConfigError
from fedpriv.federation.config.simulation_rules import check_deployable
from fedpriv.federation.personal import weights
from fedpriv.federation.workplace import DataSet

OWN = {"peft": {"method": "fedsa-lora"}}
ASKED = {**OWN, "simulation__measure_personal": True}
BY_FILM = {"partition": {"method": "column", "column": "film"}}


def table(labels: list[int], films: str) -> Table:
    content = [f"t{k}" for k in range(len(labels))]
    return Table(content, np.array(labels), ("a", "b", "c"), {"film": list(films)})


def dataset(train: Table, test: Table, *shards: list[int]) -> DataSet:
    return DataSet(
        train, test, LeftOut(), tuple(np.array(shard) for shard in shards), name="x", fingerprint="0" * 64
    )


def test_weighted_records_give_the_clients_shares_times_the_accuracy_of_each_label() -> None:
    """Client 1: three quarters a, one quarter b.  Held out: two a, four b, one c."""
    records = dataset(
        table([0, 0, 0, 1, 2, 2], "xxxxyy"),
        table([0, 1, 1, 0, 1, 1, 2], "zzzzzzz"),
        [0, 1, 2, 3],
        [4, 5],
    )
    right = np.array([1, 1, 0, 0, 1, 1, 0])
    found = weights(records, None)
    assert found[1] @ right == pytest.approx(3 / 4 * 1 / 2 + 1 / 4 * 3 / 4)
    assert found[2] @ right == 0.0
    assert all(of.sum() == pytest.approx(1.0) for of in found.values())


def test_labels_that_nobody_held_out_leave_the_others_their_shares_among_themselves() -> None:
    records = dataset(table([0, 1, 1, 1, 2], "xxxxx"), table([0, 1], "zz"), [0, 1, 4], [2, 3], [4])
    found = weights(records, None)
    assert list(found) == [1, 2]  # client 3 has label c alone, which no held-out record has
    assert found[1].tolist() == [0.5, 0.5]
    assert found[2].tolist() == [0.0, 1.0]


def test_by_column_a_record_stands_for_the_client_that_has_its_value() -> None:
    records = dataset(table([0, 1, 0, 1], "xyzw"), table([0, 1, 0, 1, 0], "xxzq" + "y"), [0, 1], [2], [3])
    found = weights(records, "film")
    assert list(found) == [1, 2]
    assert found[1].tolist() == pytest.approx([1 / 3, 1 / 3, 0, 0, 1 / 3])
    assert found[2].tolist() == [0, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "removing one record moves more than that record's clipped gradient"),
        ({"trust": "local", "local": {"steps": 3}}, "every later gradient of the client depends on it"),
        (
            {"local": {"steps": 3}, "privacy": {"epsilon": 8.0, "delta": 1e-4}},
            "it is claimed for whole clients only",
        ),
    ],
)
def test_records_as_the_unit_are_refused_with_the_reason(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        small_config(tmp_path, **OWN, **changes)
    assert refused.value.key == "peft.method"
    assert words in str(refused.value)
    assert 'unit = "client"' in refused.value.hint


@pytest.mark.parametrize(
    "changes",
    [
        {"trust": "local"},
        {"trust": "central"},
        {"aggregator": "ckks"},
        {"compression": {"share": 0.5}},
        {"trust": "central", "privacy__mechanism": "banded-matrix", "privacy__bands": 2},
        {"run__participation": 0.5},
        ASKED,
        {**ASKED, **BY_FILM},
        {**ASKED, **BY_FILM, "task": "causal-lm", "model__pooling": None},
    ],
)
def test_whole_clients_are_offered_under_all_that_their_updates_are(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert client_config(tmp_path, **{**OWN, **changes}).work == "update"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peft": {"method": "lora"}}, "with lora all clients have one model"),
        ({"task": "causal-lm", "model__pooling": None}, "neither a column nor a label says"),
        ({**BY_FILM, "data__test": {"fraction": 0.2, "by": "film"}}, "holds out whole values of 'film'"),
        ({**BY_FILM, "data__test": {"source": "more.csv"}}, "are read without the column 'film'"),
    ],
)
def test_own_models_that_nothing_can_be_said_of_are_not_measured(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        client_config(tmp_path, **{**ASKED, **changes})
    assert refused.value.key == "simulation.measure_personal"
    assert words in str(refused.value)
    assert refused.value.hint


def test_no_gap_is_measured_where_no_product_of_means_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="each client's own B multiplies the mean") as refused:
        client_config(tmp_path, **OWN, simulation__measure_gap=True)
    assert refused.value.key == "simulation.measure_gap"


def test_on_a_network_nobody_can_judge_them(tmp_path: Path) -> None:
    check_deployable(client_config(tmp_path, **OWN))
    with pytest.raises(ConfigError, match="no party has clients' own parts"):
        check_deployable(client_config(tmp_path, **ASKED))

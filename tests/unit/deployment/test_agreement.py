"""An agreement says one thing to everybody, or nothing is taken from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from parties.deployed import agreed, identity
from parties.small_run import small_config

from fedpriv.deployment.agreement import Agreement, dataset_of
from fedpriv.errors import IntegrityError, UsageError

ROSTER = {client: identity(client).public for client in (1, 2, 3)}


def test_an_agreement_comes_back_from_its_file_with_the_same_digest(tmp_path: Path) -> None:
    made = agreed(small_config(tmp_path), labels=("gut", "schlécht"))
    (tmp_path / "agreement.json").write_bytes(made.to_bytes())
    assert Agreement.read(tmp_path / "agreement.json") == made
    (tmp_path / "compact.json").write_text(json.dumps(made.to_dict(), sort_keys=True))
    assert Agreement.read(tmp_path / "compact.json").digest() == made.digest()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"records": 193},
        {"labels": ("good", "bad")},
        {"dimension": 771},
        {"server": identity(99).public},
        {"authority": identity(98).public},
        {"model": "ab" * 32},
    ],
)
def test_whatever_is_agreed_on_is_in_the_digest(tmp_path: Path, change: dict[str, Any]) -> None:
    made = agreed(small_config(tmp_path))
    assert replace(made, **change).digest() != made.digest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, "unknown field 'extra'"),
        ({"format": "fedpriv-agreement/2"}, "format"),
        ({"model": "AB" * 32}, "model must be 64 hexadecimal digits in lower case"),
        ({"model": "ab" * 31}, "model must be 64"),
        ({"server": 7}, "server must be 64"),
        ({"authority": ""}, "authority must be 64"),
        ({"records": 0}, "records is 0"),
        ({"records": True}, "records is a whole number"),
        ({"records": 1.5}, "records is a whole number"),
        ({"labels": ["one"]}, "two or more"),
        ({"labels": ["one", "one"]}, "each once"),
        ({"labels": "good"}, "labels must be a list"),
        ({"labels": [["one"], ["two"]]}, "labels must be texts"),
        ({"roster": {"1": ROSTER[1].hex(), "2": ROSTER[2].hex()}}, "3 or more"),
        ({"roster": {str(c + 1): key.hex() for c, key in ROSTER.items()}}, "clients 1 to n"),
        ({"roster": {**{str(c): key.hex() for c, key in ROSTER.items()}, "04": "00" * 32}}, "clients 1 to n"),
        ({"roster": {str(c): ROSTER[1].hex() for c in ROSTER}}, "two parties have one key"),
        ({"roster": {**{str(c): key.hex() for c, key in ROSTER.items()}, "4": "00" * 32}}, "small order"),
        ({"server": ROSTER[1].hex(), "roster": {str(c): k.hex() for c, k in ROSTER.items()}}, "one key"),
    ],
)
def test_an_agreement_of_another_form_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    values = agreed(small_config(tmp_path)).to_dict() | change
    (tmp_path / "agreement.json").write_text(json.dumps(values))
    with pytest.raises(IntegrityError, match=message):
        Agreement.read(tmp_path / "agreement.json")


def test_an_agreement_without_a_field_is_refused(tmp_path: Path) -> None:
    values = agreed(small_config(tmp_path)).to_dict()
    for field in values:
        with pytest.raises(IntegrityError, match=field):
            Agreement.from_dict({name: value for name, value in values.items() if name != field})


@pytest.mark.parametrize("text", ["", "[]", "null", '{"format": "a", "format": "b"}', "{" * 2000])
def test_what_is_no_agreement_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "agreement.json").write_text(text)
    with pytest.raises(IntegrityError, match=r"agreement\.json"):
        Agreement.read(tmp_path / "agreement.json")
    with pytest.raises(UsageError, match="There is no agreement"):
        Agreement.read(tmp_path / "elsewhere.json")


def test_the_data_set_follows_its_clients_and_the_declared_version() -> None:
    shuffled = {1: ROSTER[3], 2: ROSTER[1], 3: ROSTER[2]}
    assert dataset_of(ROSTER, None) == dataset_of(shuffled, None)
    others = ROSTER | {3: identity(9).public}
    assert len({dataset_of(ROSTER, None), dataset_of(ROSTER, "2"), dataset_of(others, None)}) == 3


def test_the_subject_is_the_one_of_the_roster(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    subject = agreed(config).subject(config)
    assert (subject.clients, subject.records, subject.unit_key) == (5, 192, "record")
    by_client = small_config(tmp_path, unit="client", privacy__expected_batch=None)
    made = agreed(by_client)
    assert made.subject(by_client).unit_key == f"client:{made.dataset}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run__rounds": 5}, "its digest"),
        ({"run__rounds": 5, "agreed": True, "dataset": "ab" * 32}, "the data set"),
        ({"agreed": True, "name": "other"}, "run.name"),
        ({"agreed": True, "authority": identity(98).public}, "the key authority"),
        ({"agreed": True, "roster": ROSTER, "dataset": dataset_of(ROSTER, None)}, "partition.clients"),
        ({"agreed": True, "privacy__records": 200, "records": 201}, "privacy.records"),
        ({"agreed": True, "data__labels": ["good", "bad"], "labels": ("bad", "good")}, "data.labels"),
    ],
)
def test_an_agreement_that_contradicts_the_configuration_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    changes = dict(change)
    fits = changes.pop("agreed", False)
    other = {key: changes.pop(key) for key in list(changes) if key in Agreement.__slots__}
    config = small_config(tmp_path, **changes)
    made = replace(agreed(config if fits else small_config(tmp_path)), **other)
    with pytest.raises(IntegrityError, match=message):
        made.subject(config)

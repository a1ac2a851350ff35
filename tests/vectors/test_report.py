"""Package and reference against the published bundles: the sound one passes, every fault is found by both."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from reference import report_bundle as reference
from vectors.report_vectors import DIRECTORY, cases

from fedpriv.errors import DecodeError
from fedpriv.report import verify

SCHEMA = json.loads((DIRECTORY.parents[1] / "report" / "bundle.schema.json").read_text(encoding="utf-8"))
PATHS = sorted(DIRECTORY.glob("report_bundle*.json"))
BREAK_THE_SCHEMA = {"report_bundle_bad_extra_file", "report_bundle_bad_path"}


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_package_finds_what_is_wrong_and_nothing_else(path: Path, tmp_path: Path) -> None:
    case = read(path)
    bundle = tmp_path / "evidence.dsse.json"
    bundle.write_text(case["bundle"])
    if case["refused"]:
        with pytest.raises(DecodeError):
            verify(bundle, signer=case["signer"], head=case["head"])
        return
    found = verify(bundle, signer=case["signer"], head=case["head"]).failures
    assert [check.name for check in found] == case["finds"], found


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_reference_finds_the_same(path: Path) -> None:
    case = read(path)
    if case["refused"]:
        with pytest.raises(reference.Refused):
            reference.verify(case["bundle"], signer=case["signer"], head=case["head"])
        return
    assert reference.verify(case["bundle"], signer=case["signer"], head=case["head"]) == case["finds"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_schema_takes_every_well_formed_statement(path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    if path.stem == "report_bundle_bad_base64":
        return
    statement = json.loads(base64.b64decode(json.loads(read(path)["bundle"])["payload"]))
    valid = jsonschema.Draft202012Validator(SCHEMA).is_valid(statement)
    assert valid == (path.stem not in BREAK_THE_SCHEMA)


def test_the_files_are_what_the_generator_writes_but_for_rounding() -> None:
    made = cases()
    assert sorted(f"report_bundle{name}" for name in made) == [path.stem for path in PATHS]
    for name, case in made.items():
        stored = read(DIRECTORY / f"report_bundle{name}.json")
        kept = ("description", "signer", "refused", "finds")
        assert {key: stored[key] for key in kept} == {key: case[key] for key in kept}

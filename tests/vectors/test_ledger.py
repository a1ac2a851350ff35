"""Package and reference against the published bundles: the sound ones pass, every fault is named by both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from reference import ledger as reference
from vectors.ledger_vectors import DIRECTORY, bad, good

from fedpriv.ledger import verify_bundle

SCHEMA = json.loads((DIRECTORY.parents[1] / "ledger" / "bundle.schema.json").read_text(encoding="utf-8"))
CASES = sorted(DIRECTORY.glob("ledger_*.json"))
BREAK_THE_SCHEMA = {"ledger_bad_unknown_kind", "ledger_bad_unknown_field"}


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def places(found: list[str]) -> list[str]:
    """Each place once, in order."""
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_package_names_what_is_wrong_and_nothing_else(path: Path) -> None:
    case = read(path)
    found = verify_bundle(
        case["bundle"],
        signer=bytes.fromhex(case["signer"]),
        expected_head=bytes.fromhex(case["expected_head"]),
    )
    assert places([mismatch.where for mismatch in found]) == case["finds"], found


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_reference_names_the_same(path: Path) -> None:
    case = read(path)
    found = reference.verify(case["bundle"], signer=case["signer"], expected_head=case["expected_head"])
    assert places([fault.split(":")[0] for fault in found]) == case["finds"], found


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_schema_takes_every_well_formed_bundle(path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    valid = jsonschema.Draft202012Validator(SCHEMA).is_valid(read(path)["bundle"])
    assert valid == (path.stem not in BREAK_THE_SCHEMA)


def test_the_files_are_what_the_generator_writes_but_for_rounding() -> None:
    cases = {f"ledger_{name}": case for name, case in good().items()}
    cases |= {f"ledger_bad_{name}": case for name, case in bad().items()}
    assert sorted(cases) == [path.stem for path in CASES]
    for path in CASES:
        stored, made = read(path), cases[path.stem]
        assert stored["finds"] == made["finds"]
        kinds = [[row["kind"] for row in case["bundle"]["rows"]] for case in (stored, made)]
        assert kinds[0] == kinds[1]

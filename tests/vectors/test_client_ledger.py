"""Package and reference against the published checkpoints, withdrawals and marks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from reference import client_ledger as reference
from reference.ledger import sha
from vectors.client_ledger_vectors import DIRECTORY, cases

from fedpriv.errors import IntegrityError
from fedpriv.ledger import Checkpoint
from fedpriv.ledger.countersigned import withdrawal_holds

FILES = {
    path.stem: path
    for kind in ("checkpoint", "withdrawal", "marks")
    for path in DIRECTORY.glob(f"{kind}*.json")
}
CHECKPOINTS = sorted(name for name in FILES if name.startswith("checkpoint"))
WITHDRAWALS = sorted(name for name in FILES if name.startswith("withdrawal"))


def read(name: str) -> dict[str, Any]:
    return json.loads(FILES[name].read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def test_the_files_are_what_the_generator_writes() -> None:
    assert {name: read(name) for name in FILES} == cases()


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_package_and_reference_find_who_signed_wrongly(name: str) -> None:
    case = read(name)
    assert reference.faults(case["checkpoint"]) == case["finds"]
    if case["finds"] == ["form"]:
        with pytest.raises(IntegrityError):
            Checkpoint.from_dict(case["checkpoint"])
        return
    named = [
        "server" if "server" in fault else fault.split()[4]
        for fault in Checkpoint.from_dict(case["checkpoint"]).faults()
    ]
    assert named == case["finds"]


def test_the_reference_signs_what_the_package_signs() -> None:
    case = read("checkpoint")
    for client, seed in case["seeds"].items():
        signature = reference.countersign(bytes.fromhex(seed), case["checkpoint"])
        assert signature.hex() == case["checkpoint"]["countersignatures"][client]["signature"]
    keys = [
        int(client).to_bytes(8, "big") + bytes.fromhex(given["key"])
        for client, given in case["checkpoint"]["countersignatures"].items()
    ]
    assert sha("fedpriv/ledger/roster/v1", *keys).hex() == case["roster_digest"]


@pytest.mark.parametrize("name", WITHDRAWALS)
def test_a_withdrawal_holds_for_one_round(name: str) -> None:
    case = read(name)
    said = case["said"]
    assert reference.withdrew(case["key"], said, case["signature"]) is case["holds"]
    found = withdrawal_holds(
        bytes.fromhex(case["key"]),
        bytes.fromhex(case["signature"]),
        **{**said, "reserve": bytes.fromhex(said["reserve"])},
    )
    assert found is case["holds"]
    if case["holds"]:
        assert reference.withdraw(bytes.fromhex(case["seed"]), said).hex() == case["signature"]


def test_the_reference_marks_what_the_package_marks() -> None:
    case = read("marks")
    salt = reference.salt(bytes.fromhex(case["seed"]))
    assert salt.hex() == case["salt"]
    marks = [reference.mark(salt, text) for text in case["texts"]]
    assert [f"{mark:016x}" for mark in marks] == case["marks"]
    assert marks[0] == marks[2] != marks[1]
    assert marks[3] == marks[4]
    assert reference.marks_digest(marks).hex() == case["digest"]
    assert reference.name(salt, marks, None) == case["name"]
    assert reference.name(salt, marks, "2026") == case["name_of_version_2026"]


def test_the_reference_marks_images_as_the_package_does() -> None:
    case = read("marks_of_images")
    salt = bytes.fromhex(case["salt"])
    marks = []
    for image in case["images"]:
        form = reference.canonical_image(image["shape"], bytes.fromhex(image["pixels"]))
        marks.append(f"{reference.mark_of(salt, form):016x}")
    assert marks == [image["mark"] for image in case["images"]]
    assert marks[0] == marks[1]
    assert len(set(marks)) == len(marks) - 1

"""What a report says of encrypted sums, and the verification of what a plan says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sample_run import edit, make_run, report_of

from fedpriv.errors import IntegrityError
from fedpriv.report import verify, write

pytestmark = pytest.mark.slow

COMMITTEE = {"mode": "threshold", "holders": 5, "threshold": 4, "statistical_bits": 30}
SHARED = {"mode": "shared-key", "holders": 8}


def made(root: Path, **changes: Any) -> Path:
    return make_run(root, rounds=3, aggregator="ckks", **changes)


@pytest.mark.parametrize(
    ("encryption", "assumption", "status"),
    [
        ({}, "The key authority and the server do not work together.", "asserted"),
        ({"server": "semi-honest"}, "The server follows the protocol.", "asserted"),
        (COMMITTEE, "Of the 5 holders of the key fewer than 4 work with the server.", "asserted"),
        (SHARED, "No client works with the server.", "violated"),
    ],
)
def test_a_run_with_encrypted_sums_is_reported_and_verified(
    tmp_path: Path, encryption: dict[str, Any], assumption: str, status: str
) -> None:
    run_dir = made(tmp_path, encryption=encryption)
    write(run_dir)
    checked = verify(run_dir)
    assert checked.ok, checked.failures
    report = report_of(run_dir)
    stated = {row["assumption"]: row["status"] for row in report["assumptions"]}
    assert stated[assumption] == status
    deviates = "Clients that work with the server follow the protocol otherwise."
    assert (deviates in stated) == (encryption in ({}, COMMITTEE))
    assert report["summary"]["holds"] is (status == "asserted")
    warned = {warning["title"]: warning["level"] for warning in report["warnings"]}
    assert warned.get("The key was shared by all clients") == ("danger" if encryption is SHARED else None)
    followed = warned.get("The server is taken to follow the protocol")
    assert followed == ("caution" if "server" in encryption else None)
    mode = encryption.get("mode", "authority")
    assert report["secure_aggregation"]["encryption"]["mode"] == mode
    page = (run_dir / "report.html").read_text()
    assert f"ckks.mode = {mode}" in page
    assert "Masks expanded" not in page
    assert ("The key authority" in page) == (mode == "authority")


def test_what_answers_add_to_delta_is_computed_again(tmp_path: Path) -> None:
    run_dir = made(tmp_path, encryption=COMMITTEE)
    plan = json.loads((run_dir / "plan.json").read_text())
    edit(run_dir / "plan.json", ckks={**plan["ckks"], "flooding_slack": plan["ckks"]["flooding_slack"] / 2})
    assert any("flooding_slack" in check.where for check in verify(run_dir).failures)


def test_a_key_that_all_clients_have_cannot_be_called_another(tmp_path: Path) -> None:
    """With the server's event of a hidden sum the plan does not follow from its own parameters."""
    run_dir = made(tmp_path, encryption=SHARED)
    plan = json.loads((run_dir / "plan.json").read_text())
    seen = [dict(entry) for entry in plan["adversaries"]]
    seen[0]["event"] = plan["event"]
    edit(run_dir / "plan.json", adversaries=seen)
    assert any("adversaries[0]" in check.where for check in verify(run_dir).failures)


@pytest.mark.parametrize(
    "encryption",
    [
        {"mode": "none"},
        {"mode": None},
        {"mode": ["authority"]},
        {"server": "honest"},
        {"holders": 0},
        {"threshold": True},
        {"sums_per_key": 1.5},
        {"degree": 2**70},
        {"statistical_bits": 30},
        {**COMMITTEE, "statistical_bits": -1},
        {"mode": "threshold"},
        {"flooding_slack": "0"},
    ],
)
def test_a_plan_that_does_not_say_how_sums_are_encrypted_is_refused(
    tmp_path: Path, encryption: dict[str, Any]
) -> None:
    run_dir = made(tmp_path)
    plan = json.loads((run_dir / "plan.json").read_text())
    for said in (None, "authority", {**plan["ckks"], **encryption}):
        edit(run_dir / "plan.json", ckks=said)
        with pytest.raises(IntegrityError, match="ckks"):
            verify(run_dir)

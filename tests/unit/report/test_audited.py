"""Section 11 with an audit: shown where it is of the run, and each way in which it is not is named."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from sample_run import make_run

from fedpriv.audit import CAUTION
from fedpriv.report import verify, write


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two rounds with the result of an audit of it."""
    run_dir = make_run(tmp_path_factory.mktemp("audited"), rounds=2)
    run, plan = (json.loads((run_dir / name).read_text()) for name in ("run.json", "plan.json"))
    facts = {
        "format": "fedpriv-audit/1",
        "verdict": "PASS",
        "method": "one run with canaries",
        "config_digest": run["config_digest"],
        "plan_digest": hashlib.sha256((run_dir / "plan.json").read_bytes()).hexdigest(),
        "canaries": 1000,
        "canaries_in": 507,
        "dimension": 75_000,
        "rounds": 2,
        "rounds_planned": 2,
        "guesses": 250,
        "right": 140,
        "confidence": 0.95,
        "claimed_epsilon": plan["epsilon_pld"],
        "delta": plan["delta"],
        "chance_under_claim": 1.0,
        "epsilon_lower_bound": 0.1,
        "epsilon_if_gaussian": 0.2,
        "epsilon_one_shot_estimate": None,
        "could_have_failed": True,
        "membership": {
            "auc": 0.51,
            "auc_interval": [0.48, 0.54],
            "tpr": 0.012,
            "tpr_interval": [0.006, 0.02],
            "tpr_allowed": 0.2,
            "fpr": 0.01,
            "members": 900,
            "others": 300,
            "confidence": 0.95,
        },
        "versions": {"fedpriv": "0"},
        "seconds": 3.5,
    }
    (run_dir / "audit.json").write_text(json.dumps(facts))
    return run_dir


@pytest.fixture
def copy(audited: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(audited, tmp_path / "run"))


def change(run_dir: Path, **changes: Any) -> None:
    path = run_dir / "audit.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_membership_test_is_an_access_that_is_not_accounted_for(audited: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(audited, run_dir)
    told = {}
    for membership in (True, False):
        facts = json.loads((run_dir / "audit.json").read_text())
        if not membership:
            (run_dir / "audit.json").write_text(json.dumps(facts | {"membership": None}))
        report = json.loads(write(run_dir, formats=["json"])["json"].read_text())
        told[membership] = report["accesses_not_accounted"]
    (extra,) = set(told[True]) - set(told[False])
    assert "membership test" in extra
    assert "without noise" in extra


def test_its_figures_verdict_and_caution_are_shown_and_it_verifies(copy: Path) -> None:
    pages = write(copy)
    section = json.loads(pages["json"].read_text())["empirical_audit"]
    assert section["run"]
    assert section["text"].startswith("PASS: the audit found no contradiction. A low lower bound is not")
    assert section["audit"]["right"] == 140
    page = pages["html"].read_text()
    assert CAUTION in page
    assert "140 of 250 right" in page
    assert "AUC 0.510 (0.480 to 0.540)" in page
    assert verify(copy).ok


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"config_digest": "0" * 64}, "config_digest"),
        ({"plan_digest": "0" * 64}, "plan_digest"),
        ({"delta": 1e-3}, "delta"),
        ({"rounds": 3}, "rounds"),
        ({"rounds_planned": 9}, "rounds"),
        ({"claimed_epsilon": 9.0}, "claimed_epsilon"),
        ({"chance_under_claim": 0.01}, "verdict"),
        ({"epsilon_lower_bound": 50.0}, "verdict"),
        ({"verdict": "FAIL"}, "verdict"),
        ({"verdict": "perhaps"}, "verdict"),
        ({"canaries": "many"}, "canaries"),
        ({"could_have_failed": 1}, "could_have_failed"),
        ({"format": "fedpriv-audit/9"}, "format"),
    ],
)
def test_an_audit_of_something_else_or_that_contradicts_itself_is_named(
    copy: Path, changes: dict[str, Any], where: str
) -> None:
    change(copy, **changes)
    failures = [str(check) for check in verify(copy).failures]
    assert failures
    assert all("audit.json" in line for line in failures)
    assert any(where in line for line in failures)


def test_a_refuted_claim_is_a_failed_check_and_a_warning(copy: Path) -> None:
    change(copy, verdict="FAIL", chance_under_claim=0.001)
    failures = [str(check) for check in verify(copy).failures]
    assert len(failures) == 1
    assert "refuted what the run claims" in failures[0]
    report = json.loads(write(copy)["json"].read_text())
    assert report["empirical_audit"]["text"].startswith("FAIL: the claim is refuted at 95% confidence.")
    assert any(warning["level"] == "danger" for warning in report["warnings"])


def test_a_torn_file_is_a_failed_check_and_the_section_says_so(copy: Path) -> None:
    path = copy / "audit.json"
    path.write_text(path.read_text()[:100])
    assert any("not valid JSON" in str(check) for check in verify(copy).failures)
    section = json.loads(write(copy)["json"].read_text())["empirical_audit"]
    assert not section["run"]
    assert "not valid JSON" in section["text"]

"""Section 11 with an audit: shown where it is of the run, and each way in which it is not is named."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from sample_run import make_run, signer

from fedpriv.audit import CAUTION
from fedpriv.report import bundle, verify, write


def seen(view: str, auc: float) -> dict[str, Any]:
    """How far the server gets from one view."""
    low, high = max(0.0, auc - 0.04), min(1.0, auc + 0.04)
    interval = {"auc": auc, "auc_interval": [low, high], "tpr": 0.5, "tpr_interval": [0.4, 0.6]}
    return {"view": view, **interval, "fpr": 0.01, "members": 128, "others": 512, "confidence": 0.95}


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
            "members_in_all": 8700,
            "others_in_all": 300,
            "sample_seed": 7,
        },
        "server_view": {
            "method": "Scores of candidates",
            "client": 2,
            "rounds": 2,
            "views": [seen("update", 1.0), seen("received", 0.52)],
            "masks": {
                "residues": 38_000,
                "bins": 256,
                "statistic": 250.6,
                "p_value": 0.57,
                "error_rate": 1e-6,
                "uniform": True,
            },
            "seconds": 1.5,
        },
        "server_view_not_made": None,
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


@pytest.mark.parametrize(
    ("look", "words"),
    [("membership", "membership test of the audit"), ("server_view", "gradients of records of client 2")],
)
def test_what_an_audit_looked_at_is_an_access_that_is_not_accounted_for(
    copy: Path, look: str, words: str
) -> None:
    told = []
    for changes in ({}, {look: None}):
        change(copy, **changes)
        report = json.loads(write(copy, formats=["json"])["json"].read_text())
        told.append(set(report["accesses_not_accounted"]))
    (extra,) = told[0] - told[1]
    assert words in extra
    assert "without noise" in extra


def test_the_appendix_says_what_the_server_sees_and_what_that_does_not_prove(copy: Path) -> None:
    page = write(copy)["html"].read_text()
    assert "Appendix: what the server sees of one client" in page
    assert "which records of client 2 were in" in page
    assert "128 that were, among 640 candidates" in page
    assert "0.520 (0.480 to 0.560)" in page
    assert "once in 1,000,000 times" in page
    assert "It proves nothing where it fails" in page
    view = json.loads((copy / "audit.json").read_text())["server_view"]
    change(copy, server_view=view | {"views": [seen("update", 1.0)], "masks": None})
    assert "nothing was tried on the ciphertexts" in write(copy)["html"].read_text()
    change(copy, server_view=None, server_view_not_made="it was not asked for")
    assert "Appendix" not in write(copy)["html"].read_text()


def test_masks_that_are_not_uniform_are_a_failed_check(copy: Path) -> None:
    view = json.loads((copy / "audit.json").read_text())["server_view"]
    masks = view["masks"] | {"p_value": 1e-9, "statistic": 500.0, "uniform": False}
    change(copy, server_view=view | {"masks": masks})
    (failure,) = verify(copy).failures
    assert "its masks do not hide it" in str(failure)


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
        ({"server_view": {"views": []}}, "server_view"),
        ({"membership": {"auc": 2.0}}, "membership"),
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


def test_an_audit_is_read_out_of_a_bundle(copy: Path) -> None:
    write(copy)
    alone = Path(shutil.move(bundle.write(copy, signer()), copy.parent / bundle.NAME))
    shutil.rmtree(copy)
    found = verify(alone)
    assert found.ok
    assert "audit" in {check.name for check in found.checks}

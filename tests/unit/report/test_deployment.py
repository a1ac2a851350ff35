"""The draft for the OpenDP deployments registry: its form, what it claims, and what people wrote into it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from sample_run import DELTA, make_run, report_of

from fedpriv.errors import UsageError
from fedpriv.report import write
from fedpriv.report.forms.deployment import FILL_IN, deployment, deployment_yaml

SCHEMA = json.loads(
    (Path(__file__).parents[3] / "protocols" / "report" / "deployment.schema.json").read_text()
)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("deployment"))
    write(folder, formats=("yaml",))
    return folder


@pytest.fixture(scope="module")
def report(run_dir: Path) -> dict[str, Any]:
    return report_of(run_dir)


def problems(text: str) -> list[str]:
    validator = Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [error.message for error in validator.iter_errors(yaml.safe_load(text))]


def test_the_draft_has_the_form_of_the_registry(run_dir: Path) -> None:
    text = (run_dir / "deployment.yaml").read_text(encoding="utf-8")
    assert problems(text) == []
    assert text.startswith("url_slug: rotten-tomatoes-")  # its tools look there and nowhere else
    assert not any(line.rstrip().endswith((": >", ": >-")) for line in text.splitlines())


def test_the_form_refuses_what_the_registry_refuses(run_dir: Path) -> None:
    text = (run_dir / "deployment.yaml").read_text(encoding="utf-8")
    assert problems(text.replace("status: Draft", "status: Done"))
    assert problems(text.replace("'1900-01-01'", "'1.1.1900'"))
    assert problems(text + "extra: 1\n")


def test_epsilon_is_the_planned_one_rounded_up(report: dict[str, Any]) -> None:
    stated = deployment(report)["deployment"]["privacy_loss"]["privacy_parameters"]
    planned = report["accounting"]["epsilon_pld_planned"]
    assert planned <= stated["epsilon"] < planned + 1e-3
    assert stated["delta"] == DELTA


@pytest.mark.parametrize("fault", [{"insecure_seed": 7}, {"aggregator": "plain", "trust": "distributed"}])
def test_what_touches_the_promise_stands_in_the_notes(tmp_path: Path, fault: dict[str, Any]) -> None:
    folder = make_run(tmp_path, **fault)
    write(folder, formats=("json",))
    report = report_of(folder)
    record = deployment(report)["deployment"]
    danger = [warning["title"] for warning in report["warnings"] if warning["level"] == "danger"]
    assert danger
    assert all(title in record["administrative"]["notes"] for title in danger)
    parameters = record["privacy_loss"]["privacy_parameters"]
    assert bool(parameters) is report["summary"]["holds"]
    if "insecure_seed" in fault:
        assert parameters == {}
        assert "ε = " not in record["privacy_loss"]["privacy_parameters_details"]


def test_what_is_open_is_listed_until_a_person_fills_it_in(report: dict[str, Any]) -> None:
    first = deployment_yaml(report)
    open_places = [line[4:] for line in first.splitlines() if line.startswith("#   ")]
    assert "deployment.basic.data_curators" in open_places
    assert "deployment.basic.publication_date" in open_places
    mended = first.replace(f"- {FILL_IN}", "- The Example Hospital", 1).replace("'1900-01-01'", "2026-04-01")
    mended = mended.replace("status: Draft", "status: Pending")
    again = deployment_yaml(report, mended)
    record = yaml.safe_load(again)
    assert record["deployment"]["basic"]["data_curators"] == ["The Example Hospital"]
    assert record["deployment"]["basic"]["publication_date"] == "2026-04-01"
    assert record["status"] == "Pending"
    assert record["url_slug"] == "rotten-tomatoes-the-example-hospital-2026"
    left = [line[4:] for line in again.splitlines() if line.startswith("#   ")]
    assert set(open_places) - set(left) == {
        "deployment.basic.data_curators",
        "deployment.basic.publication_date",
    }
    assert deployment_yaml(report, again) == again


def test_a_person_cannot_change_what_the_run_says(report: dict[str, Any]) -> None:
    first = deployment_yaml(report)
    stated = deployment(report)["deployment"]["privacy_loss"]["privacy_parameters"]["epsilon"]
    assert f"epsilon: {stated}" in first
    assert deployment_yaml(report, first.replace(f"epsilon: {stated}", "epsilon: 0.1")) == first


@pytest.mark.parametrize("damage", [b"a: [", b"\xff\xfe\x00", b"- 1\n- b: {"])
def test_a_draft_that_cannot_be_read_is_not_overwritten(run_dir: Path, damage: bytes) -> None:
    path = run_dir / "deployment.yaml"
    kept = path.read_bytes()
    try:
        path.write_bytes(damage)
        with pytest.raises(UsageError, match="would be lost"):
            write(run_dir, formats=("yaml",))
        assert path.read_bytes() == damage
    finally:
        path.write_bytes(kept)


@pytest.mark.parametrize("earlier", ["", "7", "[]", "deployment: 3", "deployment: {basic: []}"])
def test_a_draft_of_another_shape_keeps_nothing(report: dict[str, Any], earlier: str) -> None:
    assert deployment_yaml(report, earlier) == deployment_yaml(report)

"""Figures by group, of clients' own models, and the LoRA gap: on the page where a run has them, and never in
another form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sample_run import edit, make_run, report_of

from fedpriv.errors import IntegrityError
from fedpriv.report import write

GROUPS: dict[str, Any] = {
    "column": "film",
    "values": 40,
    "worst": "<b>Gigli</b>",
    "best": "Up",
    "rows": [
        {"value": "Up", "n": 12, "accuracy": 0.9},
        {"value": "<b>Gigli</b>", "n": 10, "accuracy": 0.4},
        {"value": None, "n": 200, "accuracy": 0.7},
    ],
    "clients": [{"client": 2, "n": 30, "accuracy": 0.65}],
}
GAP = {"rounds": 6, "mean": 0.0031, "largest": 0.0052}

PERSONAL: dict[str, Any] = {
    "by": None,
    "clients": [
        {"client": 1, "accuracy": 0.875, "shared_accuracy": 0.25},
        {"client": 4, "accuracy": 0.625, "shared_accuracy": 0.5},
    ],
    "mean": 0.75,
    "shared_mean": 0.375,
    "worst": 0.625,
}
PERPLEXED: dict[str, Any] = {
    **PERSONAL,
    "by": "<i>role</i>",
    "clients": [
        {**row, "perplexity": 40.0 + k, "shared_perplexity": 50.0 + k}
        for k, row in enumerate(PERSONAL["clients"])
    ],
    "perplexity": 40.5,
    "shared_perplexity": 50.5,
}


def test_what_was_asked_for_stands_in_section_12(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    edit(folder / "result.json", groups=GROUPS, gap=GAP)
    write(folder)
    utility = report_of(folder)["utility"]
    assert (utility["groups"], utility["gap"]) == (GROUPS, GAP)
    assert "worst 40.0% of 10 at '<b>Gigli</b>', best 90.0% of 12 at 'Up'" in utility["subgroups"]
    page = (folder / "report.html").read_text()
    assert '<td data-label="By film">all others</td>' in page
    assert '<td data-label="By client">2</td>' in page
    assert "0.31% of the mean product at the mean, 0.52% at most, over 6 rounds" in page
    assert "<b>Gigli" not in page
    assert "groups of records are told apart" in page


@pytest.mark.parametrize("found", [PERSONAL, PERPLEXED])
def test_own_models_stand_beside_the_shared_parts(tmp_path: Path, found: dict[str, Any]) -> None:
    folder = make_run(tmp_path)
    edit(folder / "result.json", personal=found)
    facts = json.loads((folder / "run.json").read_text())
    edit(folder / "run.json", peft={**facts["peft"], "kept_by_clients": 5})
    write(folder)
    utility = report_of(folder)["utility"]
    assert utility["personal"] == found
    assert utility["metric"].endswith("by the shared parts alone, without what each client keeps to itself")
    page = (folder / "report.html").read_text()
    assert "accuracy 75.0% at the mean over 2 clients, 62.5% at the worst" in page
    assert "the shared parts alone 37.5% on the same records" in page
    assert '<td data-label="Accuracy of its own model" class="n">87.5%</td>' in page
    assert ("by its shares of the labels" in page) == (found["by"] is None)
    assert ("perplexity 40.50, the shared parts alone 50.50" in page) == (found is PERPLEXED)
    assert "<i>role" not in page


def test_without_it_the_report_says_that_nothing_was_asked_for(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    write(folder)
    assert set(report_of(folder)["utility"]) == {"metric", "final", "base", "majority", "subgroups"}
    assert "subgroups are not reported" in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    "change",
    [
        {"groups": []},
        {"groups": {**GROUPS, "worst": "Jaws"}},
        {"groups": {**GROUPS, "rows": [{"value": "Up", "n": 0, "accuracy": 0.9}]}},
        {"groups": {**GROUPS, "rows": [{"value": 3, "n": 1, "accuracy": 0.9}]}},
        {"groups": {**GROUPS, "clients": [{"client": True, "n": 1, "accuracy": 0.9}]}},
        {"gap": {"rounds": 6, "mean": "small", "largest": 0.1}},
        {"gap": {"rounds": 6, "mean": -0.1, "largest": 0.1}},
        {"personal": []},
        {"personal": {**PERSONAL, "clients": []}},
        {"personal": {**PERSONAL, "mean": 0.8}},
        {"personal": {**PERSONAL, "worst": 0.875}},
        {"personal": {**PERSONAL, "by": 3}},
        {"personal": {key: PERPLEXED[key] for key in PERSONAL}},
        {"personal": json.loads(json.dumps(PERSONAL).replace("0.875", "1.875").replace("0.75", "1.25"))},
        {"groups": json.loads(json.dumps(GROUPS).replace("0.65", "1.65"))},
    ],
)
def test_figures_that_cannot_be_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = make_run(tmp_path)
    edit(folder / "result.json", **change)
    with pytest.raises(IntegrityError):
        write(folder)

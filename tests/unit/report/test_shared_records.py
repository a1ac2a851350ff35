"""Records with two budgets: a reader is told how many, what the other one spent, and what both come to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sample_run import make_run, report_of

from fedpriv.report import verify, write

NAMED = {"digest": "a1" * 32, "own": "b2" * 32}
OTHER = {
    "dataset": "c3" * 32,
    "name": "reviews of 2025",
    "version": None,
    "shared": 1234,
    "budget": 4.0,
    "spent": 2.5,
}
SENTENCE = (
    "1,234 of the records are also accounted as the data set “reviews of 2025”, which had spent ε = 2.500 of "
    "4.000 when this run was planned."
)
SUM = (
    "Whoever is in both of these data sets is behind each: ε and δ add up, to ε = 10.000 at most when their "
    "budgets are used."
)
WHAT = "The records are known again, and every run on them spends from this budget."


def told(folder: Path, records: dict[str, Any] | None) -> tuple[dict[str, Any], dict[str, str]]:
    """The report, and its assumption about the budget."""
    run_dir = make_run(folder, rounds=2, records=records)
    write(run_dir)
    assert verify(run_dir).ok
    report = report_of(run_dir)
    (row,) = [row for row in report["assumptions"] if row["assumption"] == WHAT]
    return report, row


def test_shared_records_are_on_the_first_page_in_section_seven_and_in_section_nine(tmp_path: Path) -> None:
    report, row = told(tmp_path, {**NAMED, "version": "2026", "others": [OTHER]})
    assert {"what": "What other runs spent", "text": f"{SENTENCE} {SUM}"} in report["summary"]["not_covered"]
    assert report["accesses_not_accounted"][-2:] == [SENTENCE, SUM]
    assert row["status"] == "holds"
    assert "1,234 records also had another budget" in row["evidence"]


def test_the_budgets_of_several_versions_add_up(tmp_path: Path) -> None:
    report, _ = told(tmp_path, {**NAMED, "others": [OTHER, {**OTHER, "name": "2024", "budget": 1.5}]})
    assert "Whoever is in all of these" in report["accesses_not_accounted"][-1]
    assert "ε = 11.500 at most" in report["accesses_not_accounted"][-1]


def test_where_nothing_is_shared_that_is_said(tmp_path: Path) -> None:
    report, row = told(tmp_path, NAMED)
    assert row["status"] == "holds"
    assert "None had another" in row["evidence"]
    assert not [box for box in report["summary"]["not_covered"] if box["what"] == "What other runs spent"]
    assert any("as long as they are known again" in line for line in report["accesses_not_accounted"])


def test_a_data_set_that_was_only_given_a_name_is_not_said_to_be_compared(tmp_path: Path) -> None:
    report, row = told(tmp_path, None)
    assert row["status"] == "asserted"
    assert not any("known again" in line for line in report["accesses_not_accounted"])


@pytest.mark.parametrize(
    "records",
    [
        {"own": 1},
        {**NAMED, "others": "many"},
        {**NAMED, "others": [1, {"shared": "all"}, {**OTHER, "budget": "1e999", "spent": "nan", "name": 3}]},
    ],
)
def test_what_a_row_says_in_a_strange_form_breaks_no_report(tmp_path: Path, records: dict[str, Any]) -> None:
    told(tmp_path, records)

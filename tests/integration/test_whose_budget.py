"""Runs on data that had runs before: the budget, the resumed run and the report know them again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from parties.small_run import small_config

from fedpriv.errors import BudgetExceeded, UsageError
from fedpriv.federation.config import Config
from fedpriv.federation.observer import RoundRecord, Silent
from fedpriv.federation.run import run
from fedpriv.report import verify, write

pytestmark = pytest.mark.slow


class Dies(Silent):
    """Stops the process's work after the first round, as a failure of the machine would."""

    def round_finished(self, record: RoundRecord) -> None:
        raise KeyboardInterrupt


def config(folder: Path, **changes: object) -> Config:
    return small_config(folder, run__rounds=2, privacy__epsilon=1.0, **changes)


def grow(folder: Path) -> None:
    with (folder / "reviews.csv").open("a") as file:
        file.write("one more film,good\n")


def test_one_record_more_and_another_seed_get_no_fresh_budget_and_a_declared_version_says_so(
    tmp_path: Path,
) -> None:
    run(config(tmp_path), tmp_path / "first")
    grow(tmp_path)
    with pytest.raises(BudgetExceeded, match="takes the whole budget"):
        run(config(tmp_path, run__seed=5), tmp_path / "second")
    assert not (tmp_path / "second").exists()

    run(config(tmp_path, data__version="2026", budget__client_ledgers=False), tmp_path / "third")
    write(tmp_path / "third")
    checked = verify(tmp_path / "third")
    assert checked.ok, checked.failures
    report = json.loads((tmp_path / "third" / "report.json").read_text())
    (said,) = [
        box["text"] for box in report["summary"]["not_covered"] if box["what"] == "What other runs spent"
    ]
    assert "“reviews.csv”, which had spent ε = 1.000 of 1.000" in said
    assert "to ε = 2.000 at most" in said
    assert report["accesses_not_accounted"][-1] in said


def test_a_run_is_not_resumed_on_other_records(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(config(tmp_path), tmp_path / "run", observer=Dies())
    before = (tmp_path / "reviews.csv").read_text()
    grow(tmp_path)
    with pytest.raises(UsageError, match="not those that the run was begun with"):
        run(config(tmp_path), tmp_path / "run", resume=True)
    (tmp_path / "reviews.csv").write_text(before)
    assert run(config(tmp_path), tmp_path / "run", resume=True).rounds_done >= 1

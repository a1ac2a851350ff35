"""Two runs side by side: what differs is shown, what is wrong is said first, and what they cost together."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import sample_run
from click.testing import CliRunner, Result
from sample_run import DATASET, DELTA, edit, make_run, signer

from fedpriv.cli import main
from fedpriv.errors import IntegrityError, UsageError
from fedpriv.ledger import Ledger
from fedpriv.report import Comparison, compare_runs
from fedpriv.report.forms.two_runs_page import render_comparison


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``one`` and ``apart`` on the same data in two ledgers; ``after`` goes on with the ledger of ``one``."""
    folder = tmp_path_factory.mktemp("two")
    make_run(folder, name="one")
    shutil.copyfile(folder / "one.sqlite", folder / "after.sqlite")
    make_run(folder, name="after", multiplier=1.5, done=4, shape=(8, 5, 1))
    make_run(folder, name="apart", multiplier=1.5, done=4, shape=(8, 5, 1))
    return folder


def differing(comparison: Comparison) -> dict[str, tuple[str, str]]:
    return {line.what: line.shown for part in comparison.sections for line in part.lines if not line.same}


def compare(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["report", "--compare", *map(str, arguments)])


def test_what_differs_is_shown_and_what_does_not_is_not(root: Path) -> None:
    comparison = compare_runs(root / "one", root / "apart")
    assert [side.verified for side in comparison.sides] == [True, True]
    lines = differing(comparison)
    assert lines["noise multiplier"] == ("0.745", "1.5")
    assert lines["rounds spent"] == ("6", "4")
    assert lines["accuracy"] == ("73.1%", "none")
    assert lines["At least 6 of 8 clients contribute to every released sum."] == ("holds", "not stated")
    assert lines["ε planned"][0] == "2.988"
    assert not {"δ", "unit", "data set fingerprint", "base model", "sampling rate"} & set(lines)
    titles = [section.title for section in comparison.sections]
    assert titles == [
        "Run",
        "Promise",
        "Adversaries",
        "Mechanism",
        "Accounting",
        "Utility",
        "Assumptions",
        "Drops",
    ]
    assert all(section.lines for section in comparison.sections)


def test_on_one_ledger_both_cost_what_the_ledger_says(root: Path) -> None:
    for pair in (("one", "after"), ("after", "one")):
        found = compare_runs(*(root / name for name in pair)).together
        with Ledger(root / "after.sqlite", signer(), lambda: "") as ledger:
            spent = ledger.spent(DATASET)
        assert found.same_data_set
        assert found.epsilon == pytest.approx(spent.epsilon, rel=1e-9)
        assert found.delta == DELTA
        assert "RDP filter" in found.text


def test_two_ledgers_on_the_same_data_are_called_that(root: Path) -> None:
    found = compare_runs(root / "one", root / "apart").together
    plans = [json.loads((root / name / "plan.json").read_text())["epsilon_pld"] for name in ("one", "apart")]
    assert found.epsilon == pytest.approx(sum(plans), rel=1e-6)
    assert found.delta == 2 * DELTA
    assert "do not know of each other" in found.text


def test_another_data_set_is_another(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_run, "DATASET", hashlib.sha256(b"another").hexdigest())
    make_run(tmp_path, name="other")
    comparison = compare_runs(root / "one", tmp_path / "other")
    assert not comparison.together.same_data_set
    assert "different" in comparison.together.text
    assert "data set fingerprint" in differing(comparison)


def test_a_run_that_does_not_verify_is_said_so_first_and_has_no_joint_cost(
    root: Path, tmp_path: Path
) -> None:
    bad = Path(shutil.copytree(root / "one", tmp_path / "bad"))
    (bad / "adapter" / "adapter_model.safetensors").write_bytes(b"another model")
    comparison = compare_runs(bad, root / "apart")
    assert [side.verified for side in comparison.sides] == [False, True]
    assert comparison.together.epsilon is None
    printed = compare(bad, root / "apart")
    assert printed.exit_code == 0
    lines = printed.output.splitlines()
    assert "NOT VERIFIED" in lines[0]
    assert "adapter" in lines[1]
    page = render_comparison(comparison)
    assert page.index("does not verify") < page.index("<h1>")


def test_what_cannot_be_compared_is_refused_in_a_sentence(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the same run"):
        compare_runs(root / "one", shutil.copytree(root / "one", tmp_path / "again"))
    with pytest.raises(UsageError, match="not a run directory"):
        compare_runs(root / "one", tmp_path)
    broken = Path(shutil.copytree(root / "apart", tmp_path / "broken"))
    (broken / "plan.json").write_text("{")
    with pytest.raises(IntegrityError, match=r"broken cannot be compared: plan\.json"):
        compare_runs(root / "one", broken)
    for arguments in (
        (root / "one", tmp_path / "nowhere"),
        (root / "one", root / "apart", "--format", "csv"),
        (root / "one", root / "apart", "--output", tmp_path / "x"),
        (root / "one", root / "apart", root / "one"),
    ):
        refused = compare(*arguments)
        assert refused.exit_code == 2
        assert refused.output.startswith("error: ")
        assert len(refused.output.splitlines()) == 2


def test_a_comparison_writes_nothing_into_the_runs(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    compare_runs(root / "one", root / "apart")
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == before


def test_as_json_it_is_the_same_comparison(root: Path) -> None:
    value = json.loads(compare(root / "one", root / "apart", "--format", "json").output)
    assert value == json.loads(json.dumps(compare_runs(root / "one", root / "apart").to_dict()))
    same = {line["what"]: line["same"] for part in value["sections"] for line in part["lines"]}
    assert same["δ"]
    assert not same["ε planned"]


def test_the_page_fetches_nothing_and_escapes_what_a_run_is_called(root: Path, tmp_path: Path) -> None:
    bad = Path(shutil.copytree(root / "apart", tmp_path / "bad"))
    edit(bad / "run.json", name="<script>alert(1)</script>")
    there = tmp_path / "page.html"
    done = compare(root / "one", bad, "--format", "html", "--output", there)
    assert (done.exit_code, done.output) == (0, f"{there}\n")
    page = there.read_text(encoding="utf-8")
    assert "&lt;script&gt;" in page
    assert not {"<script", "src=", "http:", "https:", "@import", "url("} & {
        mark
        for mark in ("<script", "src=", "http:", "https:", "@import", "url(")
        if mark in page.replace('href="data:,"', "")
    }

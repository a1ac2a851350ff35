"""`fedpriv report --format bundle` and `fedpriv verify` of what it wrote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sample_run import make_run, signer

from fedpriv.cli import main


def fedpriv(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its ledger, and the ledger's key beside it."""
    root = tmp_path_factory.mktemp("root")
    make_run(root, rounds=1)
    (root / "quickstart.key").write_bytes(signer().seed)
    return root


@pytest.fixture
def evidence(root: Path, tmp_path: Path) -> Path:
    """A bundle far from its run."""
    path = tmp_path / "evidence.dsse.json"
    command = ("report", root / "quickstart", "--format", "bundle", "--ledger", root / "quickstart.sqlite")
    assert fedpriv(*command, "--output", path).output == f"{path}\n"
    return path


def test_a_bundle_is_read_as_a_folder_is(root: Path, evidence: Path) -> None:
    folder = fedpriv("verify", root / "quickstart")
    known = ("--signer", signer().public.hex(), "--adapter", root / "quickstart" / "adapter")
    bundle = fedpriv("verify", evidence, *known)
    assert (folder.exit_code, bundle.exit_code) == (0, 0)
    assert bundle.output.endswith(folder.output)


def test_a_head_that_the_chain_lacks_ends_with_status_1(evidence: Path) -> None:
    result = fedpriv("verify", evidence, "--head", "ab" * 32, "--json")
    assert result.exit_code == 1
    failed = [check["name"] for check in json.loads(result.output)["checks"] if check["status"] == "failed"]
    assert failed == ["head"]


def test_a_file_that_is_no_bundle_ends_with_status_2(root: Path) -> None:
    result = fedpriv("verify", root / "quickstart" / "plan.json")
    assert result.exit_code == 2
    assert "plan.json is not a bundle" in result.stderr
    assert "hint:" in result.stderr


def test_without_the_runs_ledger_no_key_is_made(root: Path, tmp_path: Path) -> None:
    run_dir = shutil.copytree(root / "quickstart", tmp_path / "run")
    place = tmp_path / "home" / "ledger.sqlite"
    result = fedpriv("report", run_dir, "--format", "bundle", "--ledger", place)
    assert result.exit_code == 2
    assert "--ledger" in result.stderr
    assert not place.parent.exists()


def test_a_bundle_that_a_later_report_left_behind_is_named(root: Path, tmp_path: Path) -> None:
    run_dir = shutil.copytree(root / "quickstart", tmp_path / "run")
    (run_dir / "report.json").unlink(missing_ok=True)
    ledger = ("--ledger", root / "quickstart.sqlite")
    assert fedpriv("report", run_dir, "--format", "bundle", *ledger).stderr == ""
    assert "holds these files as they were before" in fedpriv("report", run_dir).stderr
    fedpriv("report", run_dir, "--format", "bundle", *ledger)
    assert fedpriv("report", run_dir).stderr == ""
    (run_dir / "evidence.dsse.json").write_bytes(b"{}")
    assert "holds these files as they were before" in fedpriv("report", run_dir).stderr

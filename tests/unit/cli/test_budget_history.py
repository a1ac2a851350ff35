"""``fedpriv budget history``: the same story from the ledger and from its export, and clear refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sample_run import DATASET, make_run, signer

from fedpriv.cli import main


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unfinished run with a void and a pending round, and the ledger with its key."""
    folder = tmp_path_factory.mktemp("history")
    make_run(folder, done=5, voided=(2,), lost=(4,))
    (folder / "quickstart.key").write_bytes(bytes(range(32)))
    return folder


def history(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["budget", "history", *map(str, arguments)], catch_exceptions=False)


def test_the_ledger_and_its_export_tell_the_same(root: Path) -> None:
    ledger = ("--ledger", root / "quickstart.sqlite")
    told = [
        history(*source, "--json").output
        for source in (
            ("reviews", *ledger),
            (DATASET[:16], *ledger),
            (root / "quickstart" / "ledger.json",),
            (root / "quickstart",),
        )
    ]
    assert len(set(told)) == 1
    assert json.loads(told[0])["rounds"] == {"reserved": 5, "released": 3, "voided": 1, "pending": 1}


def test_an_officer_reads_where_it_stands_then_what_happened_then_what_to_ask(root: Path) -> None:
    lines = history(root / "quickstart").output.splitlines()
    labels = [line.split()[0] for line in lines if line]
    assert labels[:4] == ["data", "allowed", "spent", "left"]
    assert labels[-2:] == ["void", "pending"]
    assert "too few clients" in lines[-2]
    assert "round 4" in lines[-1]
    assert any("budget of ε 6" in line for line in lines)
    assert any("OPEN" in line and "4 of 6" in line for line in lines)
    assert any(signer().public.hex() in line for line in lines)


def test_an_export_needs_no_ledger_and_makes_none(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDPRIV_HOME", str(tmp_path / "home"))
    alone = shutil.copyfile(root / "quickstart" / "ledger.json", tmp_path / "export.json")
    assert history(alone).exit_code == 0
    refused = history("reviews")
    assert refused.exit_code == 2
    assert "there is no ledger" in refused.output
    assert not (tmp_path / "home").exists()


def test_a_touched_export_is_refused_and_the_row_named(root: Path, tmp_path: Path) -> None:
    bundle = json.loads((root / "quickstart" / "ledger.json").read_text())
    bundle["rows"][0]["body"]["epsilon"] = "60.0"
    touched = tmp_path / "ledger.json"
    touched.write_text(json.dumps(bundle))
    refused = history(touched)
    assert refused.exit_code == 2
    assert "row 0" in refused.output


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "[]"])
def test_what_is_no_export_is_refused_in_a_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "ledger.json"
    path.write_text(content)
    refused = history(path)
    assert refused.exit_code == 2
    assert refused.output.startswith("error: ")


def test_a_data_set_that_nobody_knows_is_refused(root: Path, tmp_path: Path) -> None:
    ledger = ("--ledger", root / "quickstart.sqlite")
    assert "reviews" in history("review", *ledger).output
    assert history("ab" * 32, *ledger).exit_code == 2
    assert history(tmp_path / "none.json").exit_code == 2
    assert history(root / "quickstart" / "ledger.json", *ledger).exit_code == 2

"""``fedpriv audit`` from a run's folder to the report, and a broken build that ends in exit status 1."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from parties.broken_builds import WithoutNoise
from parties.small_run import RECORDS, small_config

from fedpriv.audit import CAUTION
from fedpriv.cli import main
from fedpriv.entropy import Entropy
from fedpriv.federation.auditing import audit as auditing
from fedpriv.federation.auditing.listening import listen
from fedpriv.federation.run import run
from fedpriv.report import verify, write

pytestmark = pytest.mark.slow

SMALL = ("--canaries", "150")


@pytest.fixture(autouse=True)
def seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An audit is wrong about a sound build once in twenty times at most; these draws are of the others."""
    monkeypatch.setattr(auditing, "Entropy", partial(Entropy, 7))


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run at epsilon 1 of all records in both rounds; its configuration lies beside it."""
    folder = tmp_path_factory.mktemp("audited")
    records = RECORDS * 4 // 5
    config = small_config(
        folder,
        run__rounds=2,
        privacy__epsilon=1.0,
        privacy__expected_batch=float(records),
        privacy__records=records,
        secagg__min_survivors=5,  # no excess noise that would be taken off without having been put on
    )
    (folder / "fedpriv.toml").write_text(config.to_toml())
    run(config, folder / "run")
    write(folder / "run")
    return folder / "run"


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["audit", *arguments])


def failed(run_dir: Path) -> list[str]:
    return [str(check) for check in verify(run_dir).failures]


def test_an_audited_run_says_so_in_its_report_and_spends_nothing(run_dir: Path) -> None:
    ledger = run_dir.parent / "ledger.sqlite"
    before = ledger.read_bytes()
    result = call(str(run_dir), "--base", str(run_dir.parent), *SMALL, "--json")
    assert result.exit_code == 0, result.output
    assert ledger.read_bytes() == before
    said = json.loads(result.stdout)
    assert said["verdict"] == "PASS"
    assert said["says"] == "the audit found no contradiction"
    assert said["could_have_failed"]
    assert said["membership"]["members"] == said["membership"]["members_in_all"] == RECORDS * 4 // 5
    assert said["membership"]["others"] == RECORDS // 5
    assert said["server_view"] is None  # all records are in every batch
    assert "left out" in said["server_view_not_made"]
    assert 0.3 < said["membership"]["auc"] < 0.7  # two kinds of text, on both sides alike
    assert 0.9 < said["claimed_epsilon"] <= 1.0
    assert said["caution"] == CAUTION
    written = json.loads((run_dir / "audit.json").read_text())
    assert written == {key: value for key, value in said.items() if key != "file"}

    assert failed(run_dir) == []  # the report was written again
    pages = write(run_dir)
    section = json.loads(pages["json"].read_text())["empirical_audit"]
    assert section["run"]
    assert section["audit"]["right"] == written["right"]
    assert CAUTION in section["text"]
    assert CAUTION in pages["html"].read_text()

    for key, value in (
        ("config_digest", "0" * 64),
        ("plan_digest", "0" * 64),
        ("claimed_epsilon", 3.0),
        ("rounds", 9),
        ("verdict", "FAIL"),
        ("canaries", "many"),
    ):
        (run_dir / "audit.json").write_text(json.dumps({**written, key: value}))
        assert any("audit.json" in line and key in line for line in failed(run_dir)), key
    (run_dir / "audit.json").write_text(json.dumps(written))


def test_a_build_without_noise_fails_the_audit_and_its_verification(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is put in is the fault under test; everything around it is the command's own.
    monkeypatch.setattr(auditing, "listen", partial(listen, build=WithoutNoise))
    result = call(str(run_dir), "--base", str(run_dir.parent), *SMALL)
    assert result.exit_code == 1, result.output
    assert "FAIL" in result.output
    assert CAUTION in result.output
    assert any("refuted" in line for line in failed(run_dir))
    (run_dir / "audit.json").unlink()


def test_a_configuration_is_audited_for_fewer_rounds_and_another_plan_is_not(run_dir: Path) -> None:
    config, out = run_dir.parent / "fedpriv.toml", run_dir.parent / "out"
    result = call(str(config), "--out", str(out), "--rounds", "1", *SMALL)
    assert result.exit_code == 0, result.output
    facts = json.loads((out / "audit.json").read_text())
    assert (facts["rounds"], facts["rounds_planned"]) == (1, 2)
    assert facts["claimed_epsilon"] < 0.8
    assert "nothing was spent" in result.output
    assert call(str(config), "--rounds", "3", *SMALL).exit_code == 2

    (run_dir.parent / "reviews.csv").write_text((run_dir.parent / "reviews.csv").read_text() + "new,good\n")
    result = call(str(run_dir), "--base", str(run_dir.parent), *SMALL)
    assert result.exit_code == 2
    assert "not those of the run" in result.output


def test_what_the_server_sees_is_told_unless_it_is_not_asked_for(run_dir: Path) -> None:
    config, out = run_dir.parent / "fedpriv.toml", run_dir.parent / "seen"
    arguments = (
        str(config),
        "--out",
        str(out),
        "--rounds",
        "1",
        "--set",
        "privacy.expected_batch=77",
        *SMALL,
    )
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    assert "from what the server receives of it: AUC" in result.output
    view = json.loads((out / "audit.json").read_text())["server_view"]
    auc = {entry["view"]: entry["auc"] for entry in view["views"]}
    assert auc["update"] > 0.95 > auc["received"]
    assert view["masks"]["uniform"]

    result = call(*arguments, "--no-server-view")
    assert "not tried: it was not asked for" in result.output
    assert json.loads((out / "audit.json").read_text())["server_view"] is None

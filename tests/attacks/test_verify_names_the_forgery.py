"""Whoever ran a run may have changed its files afterwards: each change is found, and named by its place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sample_run import edit, make_run

from fedpriv import dp
from fedpriv.crypto import SigningKey
from fedpriv.ledger import Ledger
from fedpriv.report import Check, verify, write


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two rounds in which nothing was changed."""
    return make_run(tmp_path_factory.mktemp("honest"), rounds=2)


@pytest.fixture
def run_dir(honest: Path, tmp_path: Path) -> Path:
    """A copy of it for the forger."""
    return Path(shutil.copytree(honest, tmp_path / "run"))


def failures(run_dir: Path) -> tuple[Check, ...]:
    """What verification holds against a run that it must not pass."""
    verification = verify(run_dir)
    assert not verification.ok
    return verification.failures


def ledger_of(run_dir: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((run_dir / "ledger.json").read_text())
    return value


def row_of(ledger: dict[str, Any], kind: str) -> dict[str, Any]:
    row: dict[str, Any] = next(row for row in ledger["rows"] if row["kind"] == kind)
    return row


def put(run_dir: Path, ledger: dict[str, Any]) -> None:
    (run_dir / "ledger.json").write_text(json.dumps(ledger))


def change_line(run_dir: Path, number: int, **changes: Any) -> None:
    lines = [json.loads(line) for line in (run_dir / "rounds.jsonl").read_text().splitlines()]
    lines[number - 1].update(changes)
    (run_dir / "rounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_nothing_changed_nothing_found(run_dir: Path) -> None:
    verification = verify(run_dir)
    assert verification.failures == ()
    assert verification.finished


def test_a_corrupted_ledger_row_is_named(run_dir: Path) -> None:
    ledger = ledger_of(run_dir)
    row = row_of(ledger, "RELEASE")
    row["time"] = row["time"].replace("2026", "2025")
    put(run_dir, ledger)
    (found,) = failures(run_dir)
    assert found.where == f"ledger.json, row {row['seq']}"
    assert "hash" in found.what


def test_a_corrupted_signature_is_named(run_dir: Path) -> None:
    ledger = ledger_of(run_dir)
    row = row_of(ledger, "RESERVE")
    row["signature"] = ("1" if row["signature"][0] == "0" else "0") + row["signature"][1:]
    put(run_dir, ledger)
    (found,) = failures(run_dir)
    assert found.where == f"ledger.json, row {row['seq']}"
    assert "signature" in found.what


def test_a_corrupted_adapter_is_named(run_dir: Path) -> None:
    weights = run_dir / "adapter" / "adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[100] ^= 1
    weights.write_bytes(data)
    (found,) = failures(run_dir)
    assert (found.name, found.where) == ("adapter", "adapter")


def test_a_file_slipped_into_the_adapter_is_named(run_dir: Path) -> None:
    (run_dir / "adapter" / "handler.py").write_text("print('hello')\n")
    (found,) = failures(run_dir)
    assert (found.name, found.where) == ("adapter", "adapter")


def test_a_removed_adapter_is_named(run_dir: Path) -> None:
    shutil.rmtree(run_dir / "adapter")
    (found,) = failures(run_dir)
    assert "missing" in found.what


def test_a_row_taken_out_of_the_middle_is_named(run_dir: Path) -> None:
    ledger = ledger_of(run_dir)
    row = row_of(ledger, "RESERVE")
    ledger["rows"].remove(row)
    put(run_dir, ledger)
    assert f"ledger.json, row {row['seq']}" in {found.where for found in failures(run_dir)}


def test_rows_cut_off_the_end_are_named(run_dir: Path) -> None:
    ledger = ledger_of(run_dir)
    ledger["rows"] = ledger["rows"][:-2]
    put(run_dir, ledger)
    found = failures(run_dir)
    assert "ledger.json, head" in {check.where for check in found}
    assert any("FINISH" in check.what for check in found)


def test_another_server_key_is_named(run_dir: Path) -> None:
    edit(run_dir / "run.json", server_key=SigningKey.from_seed(b"\x07" * 32).public.hex())
    assert "ledger.json, signer" in {found.where for found in failures(run_dir)}


def test_a_ledger_signed_again_by_a_forger_is_named(run_dir: Path, tmp_path: Path) -> None:
    real = ledger_of(run_dir)
    with Ledger(
        tmp_path / "forged", SigningKey.from_seed(b"\x07" * 32), lambda: "2026-03-01T09:00:00Z"
    ) as forged:
        plan = row_of(real, "PLAN")["body"]
        forged.set_budget(real["dataset"], "reviews", 6, 1e-5)
        event = dp.event_from_dict(plan["event"])
        forged.plan(plan["run"], real["dataset"], event=event, rounds=2, details=plan["details"])
        put(run_dir, forged.export(real["dataset"]))
    assert "ledger.json, signer" in {found.where for found in failures(run_dir)}


Forge = Callable[[Path], None]


def weaken_plan(run_dir: Path) -> None:
    plan = json.loads((run_dir / "plan.json").read_text())
    edit(run_dir / "plan.json", noise_multiplier=plan["noise_multiplier"] * 2)


def flatter_server(run_dir: Path) -> None:
    plan = json.loads((run_dir / "plan.json").read_text())
    adversaries = plan["adversaries"]
    recipient = next(a for a in adversaries if a["adversary"] == "recipient")
    adversaries[0].update(event=recipient["event"], epsilon_pld=recipient["epsilon_pld"])
    edit(run_dir / "plan.json", adversaries=adversaries)


FORGERIES: dict[str, tuple[Forge, str]] = {
    "the plan's noise": (weaken_plan, "plan.json, event"),
    "the plan's epsilon": (lambda d: edit(d / "plan.json", epsilon_pld=1.0), "plan.json, epsilon_pld"),
    "the plan's budget": (lambda d: edit(d / "plan.json", epsilon=1.0), "plan.json, epsilon"),
    "the plan's rounds": (lambda d: edit(d / "plan.json", rounds=3), "plan.json, rounds"),
    "a client's share": (lambda d: edit(d / "plan.json", share_variance="5"), "plan.json, share_variance"),
    "fewer colluders": (lambda d: edit(d / "plan.json", max_colluders=0), "plan.json, event"),
    "epsilon of the server": (flatter_server, "plan.json, adversaries[0] (server)"),
    "survivors of a round": (
        lambda d: change_line(d, 2, survivors=[1, 2, 3, 4, 5, 6]),
        "rounds.jsonl, line 2 (round 2)",
    ),
    "too few survivors": (lambda d: change_line(d, 1, survivors=[1, 2]), "rounds.jsonl, line 1 (round 1)"),
    "digest of a sum": (
        lambda d: change_line(d, 1, aggregate_digest="00" * 32),
        "rounds.jsonl, line 1 (round 1)",
    ),
    "noise of a round": (
        lambda d: change_line(d, 2, realised_multiplier=9.0),
        "rounds.jsonl, line 2 (round 2)",
    ),
    "epsilon of a round": (
        lambda d: change_line(d, 2, epsilon_rdp=0.1),
        "rounds.jsonl, line 2 (round 2), epsilon_rdp",
    ),
    "a round that never was": (lambda d: change_line(d, 2, round=7), "rounds.jsonl, line 2 (round 7)"),
    "a round told twice": (lambda d: change_line(d, 2, round=1), "rounds.jsonl, line 2 (round 1)"),
    "epsilon spent": (
        lambda d: edit(d / "result.json", epsilon_pld_spent=0.5),
        "result.json, epsilon_pld_spent",
    ),
    "accuracy": (lambda d: edit(d / "result.json", accuracy=0.99), "result.json, accuracy"),
    "digest in the result": (
        lambda d: edit(d / "result.json", adapter_digest="00" * 32),
        "result.json, adapter_digest",
    ),
    "configuration": (lambda d: edit(d / "run.json", config_digest="00" * 32), "run.json, config_digest"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_figure_is_named(run_dir: Path, forgery: str) -> None:
    forge, where = FORGERIES[forgery]
    forge(run_dir)
    assert where in {found.where for found in failures(run_dir)}


def test_a_line_left_out_of_the_rounds_is_noticed(run_dir: Path) -> None:
    lines = (run_dir / "rounds.jsonl").read_text().splitlines(keepends=True)
    (run_dir / "rounds.jsonl").write_text(lines[0])
    (found,) = failures(run_dir)
    assert found.where == "result.json, rounds_done"


def test_another_data_set_is_named(run_dir: Path) -> None:
    facts = json.loads((run_dir / "run.json").read_text())
    edit(run_dir / "run.json", dataset=facts["dataset"] | {"fingerprint": "00" * 32})
    (found,) = failures(run_dir)
    assert found.where == "run.json, dataset.fingerprint"


@pytest.mark.slow
def test_a_retouched_report_is_named(run_dir: Path) -> None:
    write(run_dir)
    report = json.loads((run_dir / "report.json").read_text())
    report["accounting"]["epsilon_pld_spent"] = 0.5
    report["warnings"] = []
    (run_dir / "report.json").write_text(json.dumps(report))
    found = failures(run_dir)
    assert {check.where for check in found} == {
        "report.json, accounting.epsilon_pld_spent",
        "report.json, warnings",
        "report.html",
    }


@pytest.mark.slow
def test_a_retouched_page_is_named(run_dir: Path) -> None:
    page = write(run_dir)["html"]
    page.write_text(page.read_text().replace("is not covered", "is covered"))
    (found,) = failures(run_dir)
    assert found.where == "report.html"


@pytest.mark.slow
def test_a_report_written_over_forged_files_says_that_it_is_not_verified(run_dir: Path) -> None:
    edit(run_dir / "result.json", epsilon_pld_spent=0.5)
    written = write(run_dir)
    report = json.loads(written["json"].read_text())
    assert report["summary"]["verified"] is False
    assert report["summary"]["holds"] is False
    assert report["warnings"][0]["title"].startswith("Not verified")
    assert report["accounting"]["epsilon_pld_spent"] > 1

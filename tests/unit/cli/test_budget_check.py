"""``fedpriv budget check``: whether a ledger still holds what an adapter's checkpoint names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fedpriv.cli import main
from fedpriv.crypto import SigningKey
from fedpriv.dp import PoissonGaussian
from fedpriv.ledger import Checkpoint, Head
from fedpriv.ledger.home import open_ledger

DATASET = "a1" * 32
EVENT = PoissonGaussian(noise_multiplier=2.0, sampling_rate=0.05)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger with one released round, an older copy of it, and an adapter with the round's checkpoint."""
    path = tmp_path / "ledger.sqlite"
    with open_ledger(path) as opened:
        opened.set_budget(DATASET, "films", 3.0, 1e-5)
        opened.plan("r1", DATASET, event=EVENT, rounds=2, details={})
    shutil.copy(path, tmp_path / "older.sqlite")
    shutil.copy(tmp_path / "ledger.key", tmp_path / "older.key")
    with open_ledger(path) as opened:
        opened.reserve("r1", 1)
        row = opened.release("r1", 1, {})
        opened.finish("r1", {})
    client = SigningKey.from_seed(bytes(32))
    head = Head.of(row)
    signed = {1: (client.public, head.countersign(client))}
    adapter = tmp_path / "run" / "adapter"
    adapter.mkdir(parents=True)
    kept = Checkpoint(head, row.signature, "r1", 1, signed)
    (adapter / "checkpoint.json").write_text(json.dumps(kept.to_dict()))
    return path


def check(place: Path, ledger: Path) -> Result:
    return CliRunner().invoke(main, ["budget", "check", str(place), "--ledger", str(ledger)])


@pytest.mark.parametrize("place", ["run", "run/adapter", "run/adapter/checkpoint.json"])
def test_the_ledger_that_an_adapter_came_from_holds_its_row(tmp_path: Path, ledger: Path, place: str) -> None:
    found = check(tmp_path / place, ledger)
    assert found.exit_code == 0
    assert found.output == "the ledger holds row 3, signed by 1 client, and 1 after it\n"


def test_an_older_copy_of_it_does_not(tmp_path: Path, ledger: Path) -> None:
    found = check(tmp_path / "run", tmp_path / "older.sqlite")
    assert found.exit_code == 1
    assert "an older copy was put back" in found.output


def test_a_checkpoint_that_was_changed_proves_nothing(tmp_path: Path, ledger: Path) -> None:
    path = tmp_path / "run" / "adapter" / "checkpoint.json"
    changed = json.loads(path.read_text()) | {"seq": 2}
    path.write_text(json.dumps(changed))
    found = check(tmp_path / "run", ledger)
    assert found.exit_code == 2
    assert "countersignature of client 1 does not hold" in found.output


def test_a_place_without_a_checkpoint_is_said(tmp_path: Path, ledger: Path) -> None:
    found = check(tmp_path, ledger)
    assert found.exit_code == 2
    assert "holds no checkpoint" in found.output


def test_caps_are_set_for_a_configuration_only(tmp_path: Path, ledger: Path) -> None:
    asked = ["budget", "set", DATASET, "--epsilon", "4", "--delta", "1e-5", "--clients"]
    found = CliRunner().invoke(main, asked)
    assert found.exit_code == 2
    assert "clients are simulated by a configuration" in found.output

"""Whole runs on a real model and real files, in this process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parties.small_run import small_config
from parties.stopping import StopAfter, StoppedError

from fedpriv.errors import BudgetExceeded, IntegrityError, UsageError
from fedpriv.federation.run import run
from fedpriv.ledger.home import open_ledger
from fedpriv.report import verify, write


def rounds_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]


def digests_of(folder: Path) -> list[str]:
    return [line["aggregate_digest"] for line in rounds_of(folder)]


@pytest.mark.slow
def test_masked_and_plain_give_the_same_integers_and_the_same_seed_the_same_run(tmp_path: Path) -> None:
    found = {}
    for name, aggregator, seed in (
        ("a", "masked", 5),
        ("b", "plain", 5),
        ("c", "masked", 5),
        ("d", "masked", 6),
    ):
        config = small_config(
            tmp_path,
            aggregator=aggregator,
            privacy__insecure_seed=seed,
            budget__ledger=f"{name}.sqlite",
            simulation__dropout=0.0,
        )
        run(config, tmp_path / name)
        found[name] = digests_of(tmp_path / name)
    assert len(set(found["a"])) == 4
    assert found["a"] == found["b"] == found["c"]
    assert not set(found["a"]) & set(found["d"])


@pytest.mark.slow
def test_hidden_states_in_a_folder_serve_the_next_run(tmp_path: Path) -> None:
    """All that were computed, though a Poisson sample has not visited every record."""
    options = {
        "training__prefix_memory": 64,
        "training__prefix_folder": "states",
        "privacy__insecure_seed": 5,
    }
    known = {}
    for name in ("a", "b"):
        run(small_config(tmp_path, budget__ledger=f"{name}.sqlite", **options), tmp_path / name)
        known[name] = {
            path.name: int(np.fromfile(path, dtype=np.bool_).sum())
            for path in (tmp_path / "states").glob("*.known")
        }
    visited = sorted(known["a"].values())
    assert visited[-1] > visited[0] > 0  # some training records, and all that are held out
    assert known["a"] == known["b"]
    assert digests_of(tmp_path / "a") == digests_of(tmp_path / "b")


@pytest.mark.slow
def test_without_a_seed_no_two_runs_share_their_noise(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run(small_config(tmp_path, run__rounds=1, budget__ledger=f"{name}.sqlite"), tmp_path / name)
    assert digests_of(tmp_path / "a") != digests_of(tmp_path / "b")


@pytest.mark.slow
@pytest.mark.parametrize("trust", ["local", "distributed", "central"])
def test_every_trust_model_runs_reports_and_verifies(tmp_path: Path, trust: str) -> None:
    result = run(small_config(tmp_path, trust=trust, simulation__dropout=1.0), tmp_path / "run")
    assert result.rounds_done == 4
    assert 0 < result.epsilon_spent <= 8.0
    assert result.dropouts == 4
    write(result.run_dir)
    checked = verify(result.run_dir)
    assert checked.ok, checked.failures


@pytest.mark.slow
def test_the_second_run_on_the_same_records_is_refused_whatever_their_order(tmp_path: Path) -> None:
    run(small_config(tmp_path), tmp_path / "first")
    path = tmp_path / "reviews.csv"
    header, *rows = path.read_text().splitlines()
    before = path.read_bytes()
    path.write_text("\n".join([header, *rows]) + "\n")
    with pytest.raises(BudgetExceeded, match="budget"):
        run(small_config(tmp_path), tmp_path / "second")
    assert not (tmp_path / "second" / "run.json").exists()
    assert path.read_bytes() == before


@pytest.mark.slow
def test_a_run_that_lost_its_ledger_to_an_older_copy_does_not_resume(tmp_path: Path) -> None:
    config = small_config(tmp_path, run__rounds=6)
    folder = tmp_path / "run"
    ledger = tmp_path / "ledger.sqlite"
    older = tmp_path / "older.sqlite"

    class CopiedFirst(StopAfter):
        def started(self, plan: Any, resumed_from: int) -> None:
            with open_ledger(ledger):
                pass
            shutil.copy(ledger, older)

    with pytest.raises(StoppedError):
        run(config, folder, observer=CopiedFirst(2))
    with pytest.raises(UsageError, match="holds a run already"):
        run(config, folder)
    with pytest.raises(UsageError, match="not the one"):
        run(small_config(tmp_path, run__rounds=7), folder, resume=True)
    newest = ledger.read_bytes()
    for beside in tmp_path.glob("ledger.sqlite-*"):
        beside.unlink()
    shutil.copy(older, ledger)
    with pytest.raises(IntegrityError, match="older copy"):
        run(config, folder, resume=True)
    ledger.write_bytes(newest)
    result = run(config, folder, resume=True)
    assert result.rounds_done == 6
    assert [line["round"] for line in rounds_of(folder)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_the_adapter_is_the_model_of_the_last_round(tmp_path: Path) -> None:
    run(small_config(tmp_path), tmp_path / "run")
    with np.load(tmp_path / "run" / "checkpoint" / "state.npz") as stored:
        last = stored["parameters"]
    from safetensors.numpy import load_file

    tensors = load_file(tmp_path / "run" / "adapter" / "fedpriv_state.safetensors")
    saved = np.concatenate([tensors[name].ravel() for name in sorted(tensors)])
    assert np.array_equal(saved, last)


@pytest.mark.slow
def test_a_budget_that_is_lowered_meanwhile_stops_the_run_and_keeps_what_it_paid_for(tmp_path: Path) -> None:
    ledger_file = tmp_path / "ledger.sqlite"
    told: list[str] = []

    class Lowering:
        def started(self, plan: Any, resumed_from: int) -> None:
            pass

        def round_finished(self, record: Any) -> None:
            if record.round == 2:
                with open_ledger(ledger_file) as ledger:
                    (budget,) = ledger.datasets()
                    ledger.set_budget(budget.dataset, budget.name, 0.5, budget.delta)

        def round_lost(self, round_: int, reason: str) -> None:
            told.append(f"{round_}: {reason}")

        def finished(self, result: Any) -> None:
            pass

    result = run(small_config(tmp_path), tmp_path / "run", observer=Lowering())
    assert result.rounds_done == 2
    assert len(told) == 1
    assert told[0].startswith("3: ")
    assert "0.5" in told[0]
    assert (result.adapter / "fedpriv_state.safetensors").is_file()
    write(result.run_dir)
    checked = verify(result.run_dir)
    assert checked.ok, checked.failures

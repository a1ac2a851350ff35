"""kill -9 at any moment of a run: nothing spent is forgotten, and the run goes on."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from parties.run_kills import kills
from parties.small_run import small_config

from fedpriv.ledger.home import open_ledger
from fedpriv.report import verify

CHILD = """
import sys
from pathlib import Path
from parties.run_kills import kills
from parties.small_run import small_config
from fedpriv.federation.run import run
from fedpriv.federation.observer import Silent

class Loud(Silent):
    def round_finished(self, record):
        print("round", record.round, flush=True)

folder = Path(sys.argv[1])
run(small_config(folder, run__rounds=30), folder / "run", resume=sys.argv[2] == "resume", observer=Loud())
"""


def start(folder: Path, how: str) -> subprocess.Popen[str]:
    tests = str(Path(__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": tests, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, str(folder), how]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_kill_nine_loses_at_most_the_round_in_progress(tmp_path: Path) -> None:
    rng = random.Random(3)
    small_config(tmp_path)
    spent = 0.0
    finished = 0
    for attempt in range(4):
        process = start(tmp_path, "resume" if attempt else "start")
        assert process.stdout is not None
        for line in process.stdout:
            finished = int(line.split()[1])
            if finished >= 5 * (attempt + 1):
                break
        time.sleep(rng.random() * 0.3)
        process.send_signal(signal.SIGKILL)
        rest, errors = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, errors
        seen = [int(line.split()[1]) for line in rest.splitlines() if line.startswith("round ") and line[6:]]
        finished = max([finished, *seen])

        with open_ledger(tmp_path / "ledger.sqlite") as ledger:
            (budget,) = ledger.datasets()
            now = ledger.spent(budget.dataset)
            (run,) = ledger.runs(budget.dataset)
            reserved = ledger.reserved_rounds(run.run_id)
        kept = [json.loads(line) for line in (tmp_path / "run" / "rounds.jsonl").read_text().splitlines()]
        assert len(reserved) >= finished
        assert kept[-1]["round"] >= finished
        assert now.epsilon_rdp >= spent
        spent = now.epsilon_rdp

    process = start(tmp_path, "resume")
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    # Each kill may cost the round that was reserved and not yet released; no round is run twice.
    assert 26 <= result["rounds_done"] <= 30
    assert result["epsilon_pld_spent"] <= 8.0
    checked = verify(tmp_path / "run")
    assert checked.ok, checked.failures


@pytest.mark.slow
def test_a_run_killed_before_its_first_round_does_not_lock_the_data_set(tmp_path: Path) -> None:
    small_config(tmp_path)
    process = start(tmp_path, "start")
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "run.json").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    process = start(tmp_path, "resume")
    said, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert said.splitlines()[-1] == "round 30"
    assert verify(tmp_path / "run").ok


@pytest.mark.slow
def test_runs_killed_at_random_moments_lose_no_row_in_any_ledger_and_go_on(tmp_path: Path) -> None:
    """`benchmarks/run_faults.py` does the same 500 times."""
    ends = kills(tmp_path, count=6, seed=11)
    assert ends.total() - ends["finished"] == 6
    assert ends["killed among the rounds"] > 0

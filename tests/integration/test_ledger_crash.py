"""Real processes: killed at any moment, or racing for the last of a budget.

A child prints a line only after the ledger has answered; what it printed must be there whatever happens next.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedpriv.crypto import SigningKey
from fedpriv.dp import PoissonGaussian
from fedpriv.errors import BudgetExceeded
from fedpriv.ledger import Ledger, verify_bundle

DATASET = "d5" * 32
KEY = SigningKey.from_seed(bytes(range(32)))
LIGHT = PoissonGaussian(noise_multiplier=50.0, sampling_rate=0.001)
HEAVY = PoissonGaussian(
    noise_multiplier=0.8, sampling_rate=0.1
)  # 14 rounds fit into epsilon = 6 by the filter

PROLOGUE = """
import sys
from fedpriv.crypto import SigningKey
from fedpriv.dp import PoissonGaussian
from fedpriv.errors import BudgetExceeded, FedprivError, UsageError
from fedpriv.ledger import Ledger

path, run = sys.argv[1], sys.argv[2]
dataset = "d5" * 32
heavy = PoissonGaussian(noise_multiplier=0.8, sampling_rate=0.1)
def open_ledger():
    return Ledger.open(path, SigningKey.from_seed(bytes(range(32))), lambda: "2026-01-31T12:00:00Z")
def say(*words):
    print(*words, flush=True)
def wait():
    say("ready")
    sys.stdin.readline()
"""

ROUNDS = """
ledger = open_ledger()
last = ledger.last_round(run)
number = -1 if last is None else last
wait()
while True:
    number += 1
    ledger.reserve(run, number)
    say("RESERVE", number)
    if number % 3 == 2:
        ledger.void(run, number, "killed before any client was asked")
        say("VOID", number)
    else:
        ledger.release(run, number, {"survivors": [1, 2]})
        say("RELEASE", number)
"""

RACE_RESERVE = """
ledger = open_ledger()
ledger.spent(dataset)  # loads the accountant, so that both start at once
wait()
for number in range(1000):
    try:
        ledger.reserve(run, number)
    except BudgetExceeded:
        break
    say("RESERVE", number)
"""

RACE_PLAN = """
ledger = open_ledger()
wait()
try:
    ledger.plan(run, dataset, event=heavy, rounds=12, details={})
    say("PLAN")
except BudgetExceeded:
    say("refused")
"""

RACE_ROUND = """
ledger = open_ledger()
wait()
for number in range(200):
    try:
        ledger.reserve(run, number)
        say("RESERVE", number)
    except UsageError:
        pass
"""

RACE_CREATE = """
wait()
ledger = open_ledger()
ledger.set_budget(dataset, run, 6.0, 1e-5)
say("BUDGET")
"""


def clock() -> str:
    return "2026-01-31T12:00:00Z"


def child(path: Path, code: str, run: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROLOGUE + code, str(path), run],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def start(children: list[subprocess.Popen[str]]) -> None:
    """Let all of them go at once, when all are ready."""
    for process in children:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in children:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()


def finished(children: list[subprocess.Popen[str]]) -> list[list[str]]:
    """What each of them printed, when all have ended well."""
    said = []
    for process in children:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        said.append(out.splitlines())
    return said


def planned(path: Path, *runs: str, event: PoissonGaussian, rounds: int, epsilon: float) -> None:
    with Ledger.open(path, KEY, clock) as ledger:
        ledger.set_budget(DATASET, "reviews", epsilon, 1e-5)
        for run in runs:
            ledger.plan(run, DATASET, event=event, rounds=rounds, details={})


@pytest.mark.slow
def test_what_was_answered_survives_a_kill_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    planned(path, "a", event=LIGHT, rounds=100_000, epsilon=8.0)
    chance = random.Random(20260131)
    answered: set[tuple[str, int | None]] = {("BUDGET", None), ("PLAN", None)}
    spent_before = 0
    kills = 0
    while kills < 40 or len(answered) <= 100:  # on a slow machine fewer rows are written between two kills
        kills += 1
        process = child(path, ROUNDS, "a")
        start([process])
        time.sleep(chance.uniform(0.0, 0.06))
        os.kill(process.pid, signal.SIGKILL)
        out, _ = process.communicate()
        said = [line.split() for line in out.splitlines(keepends=True) if line.endswith("\n")]
        answered |= {(kind, int(number)) for kind, number in said}
        with Ledger.open(path, KEY, clock) as ledger:
            record = ledger.run("a")
            there = {(row.kind, row.round) for row in ledger.rows(DATASET)}
        assert answered <= there
        # At most the one row that was on its way when the process died is there without an answer.
        assert len(there) <= len(answered) + 1
        assert record.counted >= spent_before  # a round is never lost by the crash
        spent_before = record.counted  # the round that was pending stays spent, and the next goes on after it
        answered = there
    with Ledger.open(path, KEY, clock) as ledger:
        assert verify_bundle(ledger.export(DATASET), signer=KEY.public) == []


@pytest.mark.slow
def test_a_kill_while_the_ledger_is_made_leaves_none_or_a_whole_one(tmp_path: Path) -> None:
    made, delay = 0, 0.01
    for trial in range(20):
        path = tmp_path / f"ledger{trial}.db"
        process = child(path, RACE_CREATE, "reviews")
        start([process])
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        out, _ = process.communicate()
        # Sooner where it was made, later where it was not: most kills fall close to the moment in question.
        delay *= 0.6 if path.exists() else 1.7
        made += path.exists()
        with Ledger.open(path, KEY, clock) as ledger:
            budget = ledger.budget(DATASET)
        assert budget is not None or "BUDGET" not in out
    assert made > 0


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(3))
def test_two_processes_racing_for_the_last_rounds_never_overspend(tmp_path: Path, trial: int) -> None:
    path = tmp_path / "ledger.db"
    planned(path, "a", "b", event=HEAVY, rounds=13, epsilon=6.0)
    children = [child(path, RACE_RESERVE, run) for run in ("a", "b")]
    start(children)
    said = finished(children)
    assert sum(map(len, said)) == 14
    with Ledger.open(path, KEY, clock) as ledger:
        assert ledger.spent(DATASET).epsilon <= 6.0
        for run, lines in zip(("a", "b"), said, strict=True):
            assert [f"RESERVE {number}" for number in ledger.reserved_rounds(run)] == lines
            with pytest.raises(BudgetExceeded):
                ledger.reserve(run, 500)
        assert verify_bundle(ledger.export(DATASET), signer=KEY.public) == []


@pytest.mark.slow
def test_of_two_plans_at_once_that_fit_only_singly_one_is_admitted(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    planned(path, event=HEAVY, rounds=1, epsilon=6.0)
    with Ledger.open(path, KEY, clock) as ledger:
        ledger.plan("first", DATASET, event=HEAVY, rounds=14, details={})
        for number in range(2):
            ledger.reserve("first", number)
    children = [child(path, RACE_PLAN, run) for run in ("a", "b")]
    start(children)
    assert finished(children) == [["PLAN"], ["PLAN"]]  # each fits beside what is reserved; rounds decide
    fresh = tmp_path / "fresh.db"
    planned(fresh, event=HEAVY, rounds=1, epsilon=5.0)
    children = [child(fresh, RACE_PLAN, run) for run in ("a", "b")]
    start(children)
    assert sorted(finished(children)) == [["PLAN"], ["refused"]]


@pytest.mark.slow
def test_one_round_of_one_run_is_reserved_by_one_process(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    planned(path, "a", event=LIGHT, rounds=1000, epsilon=8.0)
    children = [child(path, RACE_ROUND, "a") for _ in range(2)]
    start(children)
    said = [line for lines in finished(children) for line in lines]
    assert len(said) == len(set(said)) == 200


@pytest.mark.slow
def test_two_processes_making_the_ledger_at_once_share_one(tmp_path: Path) -> None:
    for trial in range(5):
        path = tmp_path / f"ledger{trial}.db"
        children = [child(path, RACE_CREATE, run) for run in ("one", "two")]
        start(children)
        assert finished(children) == [["BUDGET"], ["BUDGET"]]
        with Ledger.open(path, KEY, clock) as ledger:
            assert sorted(str(row.body["name"]) for row in ledger.rows(DATASET)) == ["one", "two"]

"""Whole runs, killed at random moments and resumed; what must hold on the disk after each kill.

A trial ends in a kill, or with the run at its end.  After each, this process, which only reads, asserts that

* every row of the server's and of the clients' ledgers that was there before is still there, and ε no lower;
* what any client reserved, and so may have sent, counts in the server's ledger, and nothing is released in a
  client's ledger that is not released in the server's;
* every line of rounds.jsonl, and the checkpoint, belong to a RELEASE row;
* the run goes on to its end, or says in one error why not; and then `verify` finds nothing wrong.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from parties.small_run import small_config

from fedpriv.errors import FedprivError
from fedpriv.federation.checkpoint import CHECKPOINT, Checkpoint
from fedpriv.federation.config import Config
from fedpriv.federation.observer import Silent
from fedpriv.federation.run import run
from fedpriv.ledger import Row
from fedpriv.ledger.home import open_ledger
from fedpriv.report import verify

ROUNDS = 40
WAIT = 300.0
EARLY = 0.15  # of the kills, at any time before the first round


def processes() -> Any:
    """Processes that start with all in memory, so that the time goes into rounds and not into imports."""
    tests = str(Path(__file__).parents[1])  # the process that others are forked from does not know of it
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (tests, os.environ.get("PYTHONPATH"))))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["parties.warm_run"])
    return context


class Telling(Silent):
    """Says through a pipe where a run stands."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def started(self, plan: Any, resumed_from: int) -> None:
        self.pipe.send("started")

    def round_finished(self, record: Any) -> None:
        self.pipe.send("round")


def config_of(folder: Path) -> Config:
    """The run that is killed."""
    return small_config(folder, run__rounds=ROUNDS, simulation__dropout=0.3, privacy__noise_multiplier=3.0)


def work(folder: Path, resume: bool, pipe: Connection) -> None:
    """One process of the run in ``folder``: begins it, or goes on."""
    try:
        run(config_of(folder), folder / "run", resume=resume, observer=Telling(pipe))
    except FedprivError as error:
        pipe.send(f"refused: {error} {error.hint}")
    except BaseException as error:
        pipe.send(f"broken: {error!r}")
        raise
    else:
        pipe.send("finished")


@dataclass
class Seen:
    """What earlier looks at one run's ledgers found: rows may only be added."""

    rows: dict[Path, list[bytes]] = field(default_factory=dict)
    epsilon: float = 0.0


def kills(folder: Path, *, count: int, seed: int) -> Counter[str]:
    """Kill processes of runs in ``folder`` ``count`` times, and count what each kill met.

    Most kills come among the rounds, at a moment that is uniform over half the time that all rounds take; the
    others at any moment before the first round.
    """
    rng, context = random.Random(seed), processes()
    ends: Counter[str] = Counter()
    start, rounds = 5.0, 5.0  # seconds that a process takes before its first round, and for all of them
    number = 0
    while ends.total() - ends["finished"] < count:
        number += 1
        place = folder / f"run-{number}"
        place.mkdir()
        seen, resume = Seen(), False
        while True:
            early = rng.uniform(0.0, start) if rng.random() < EARLY else WAIT
            late = rng.uniform(0.0, rounds / 2)
            if ends.total() - ends["finished"] == count:
                early = late = WAIT  # enough: let it end
            process = _Process(context, place, resume)
            how = process.killed_after(early, late)
            look(place, seen)
            resume = (place / "run" / "run.json").exists()
            ends[how] += 1
            start = process.start or start
            rounds = max(rounds, process.rounds)
            if how == "finished":
                checked = verify(place / "run")
                assert checked.ok, [str(check) for check in checked.failures]
                break
    return ends


class _Process:
    """One process of a run; ``start`` and ``rounds``: seconds that it took to round 1, and from there."""

    def __init__(self, context: Any, place: Path, resume: bool) -> None:
        self.pipe, there = context.Pipe()
        self.process = context.Process(target=work, args=(place, resume, there))
        self.begun = time.monotonic()
        self.process.start()
        there.close()
        self.start = self.rounds = 0.0

    def killed_after(self, early: float, late: float) -> str:
        """Kill it ``early`` seconds after its start, or ``late`` after "started"; how it ended."""
        told: list[str] = []
        if self.pipe.poll(early):
            told += _told(self.pipe)[:1]
            self.start = time.monotonic() - self.begun
            self.process.join(late)
            self.rounds = time.monotonic() - self.begun - self.start
        self.process.kill()
        self.process.join()
        told += _told(self.pipe, WAIT)
        assert not any(word.startswith("broken") for word in told), told
        if self.process.exitcode == 0:
            # Killed after its last line was written, a run says that it has finished.
            assert told[-1] == "finished" or "has finished" in told[-1], told
            return "finished"
        assert self.process.exitcode == -signal.SIGKILL, (self.process.exitcode, told)
        if "finished" in told:
            return "killed at the end"
        return "killed among the rounds" if "started" in told else "killed before the first round"


def _told(pipe: Connection, most: float = 0.0) -> list[str]:
    """What has come through the pipe; with ``most`` seconds of patience, to its end."""
    words: list[str] = []
    try:
        while pipe.poll(most):
            words.append(pipe.recv())
            if not most:
                break
    except EOFError:
        pass
    return words


def look(place: Path, seen: Seen) -> None:
    """Assert what must hold whatever the moment of the kill."""
    path = place / "ledger.sqlite"
    if not path.exists():
        assert not list((place / "ledger.clients").glob("*/*/ledger.sqlite"))
        return
    with closing(open_ledger(path)) as ledger:
        (dataset,) = [budget.dataset for budget in ledger.datasets()] or [""]
        rows = ledger.rows(dataset) if dataset else []
        spent = ledger.spent(dataset).epsilon_rdp if dataset else 0.0
    _only_added(seen, path, rows)
    assert spent >= seen.epsilon
    seen.epsilon = spent
    counted = _rounds(rows, "RESERVE") - _rounds(rows, "VOID")
    released = _rounds(rows, "RELEASE")
    for own in sorted((place / "ledger.clients").glob("*/*/ledger.sqlite")):
        with closing(open_ledger(own)) as ledger:
            theirs = [row for budget in ledger.datasets() for row in ledger.rows(budget.dataset)]
        _only_added(seen, own, theirs)
        assert _rounds(theirs, "RESERVE") - _rounds(theirs, "VOID") <= counted
        assert _rounds(theirs, "RELEASE") <= released
    lines = place / "run" / "rounds.jsonl"
    if lines.exists():
        whole = lines.read_bytes().split(b"\n")[:-1]
        assert {json.loads(line)["round"] for line in whole} <= released
    if (place / "run" / CHECKPOINT).exists():
        kept = Checkpoint.load(place / "run" / CHECKPOINT)
        assert kept.round == 0 or kept.round in released
        assert kept.head == "" or kept.head in {row.hash.hex() for row in rows}


def _only_added(seen: Seen, path: Path, rows: list[Row]) -> None:
    hashes, before = [row.hash for row in rows], seen.rows.get(path, [])
    assert hashes[: len(before)] == before
    seen.rows[path] = hashes


def _rounds(rows: list[Row], kind: str) -> set[int]:
    return {row.round for row in rows if row.kind == kind and row.round is not None}

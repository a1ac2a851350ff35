"""A process at work on a ledger, killed again and again; and two that race for what is left of a budget."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

from parties.ledger_work import (
    DATASET,
    KEY,
    Answers,
    answer,
    begin,
    clock,
    examine,
    goes_on,
    one_step,
    opened,
    verified,
)

from fedpriv.dp import PoissonGaussian
from fedpriv.errors import BudgetExceeded, FedprivError
from fedpriv.ledger import Ledger

# 14 rounds fit into epsilon = 6 by the filter, and 12 but not 24 into epsilon = 5.
HEAVY = PoissonGaussian(noise_multiplier=0.8, sampling_rate=0.1)
DELTA = 1e-5


def _forks() -> multiprocessing.context.ForkServerContext:
    """Processes that begin with everything imported, from a server that holds no ledger."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["parties.ledger_kills", "scipy.special"])
    return context


# Kills


def _work(path: Path, answers: Path, seed: int, ready: Connection) -> None:
    log = Answers(answers)
    chance = random.Random(seed)
    ready.send_bytes(b"ready")
    with opened(path) as ledger:
        while True:
            log.add(answer(one_step(ledger, chance)))


def kills(folder: Path, *, count: int, seed: int, longest: float = 0.15) -> Counter[str]:
    """Kill a working process ``count`` times, each at most ``longest`` seconds after it began to open."""
    path, side = folder / "ledger.db", folder / "answers.csv"
    log = Answers(side)
    for given in begin(path):
        log.add(given)
    log.close()
    chance = random.Random(seed)
    context = _forks()
    ends: Counter[str] = Counter()
    for number in range(count):
        answered_before = len(Answers.read(side))
        here, there = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(path, side, chance.getrandbits(32), there))
        worker.start()
        there.close()
        here.recv_bytes()
        time.sleep(chance.uniform(0.0, longest))
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        assert worker.exitcode == -signal.SIGKILL
        here.close()
        answered = Answers.read(side)
        found = examine(path, answered)
        assert not found.refused, found
        ends["kills"] += 1
        ends["killed before an answer"] += len(answered) == answered_before
        if found.rows > len(answered):  # written, and killed before it was answered: answered now
            ends["killed between row and answer"] += 1
            with opened(path) as ledger:
                last = ledger.rows(DATASET)[-1]
            log = Answers(side)
            log.add(answer(last))
            log.close()
        ends[f"next reserve: {goes_on(path, side)}"] += 1
        if number % 50 == 49 or number == count - 1:
            verified(path)
    ends.update(f"answered: {kind}" for kind, _, _ in Answers.read(side))
    return ends


# Races


def _racer(barrier: Barrier, orders: Connection, run: str) -> None:
    """Take paths until there is none; at each, when both are there, try to reserve or to plan."""
    while order := orders.recv():
        path, what = order
        with Ledger.open(path, KEY, clock) as ledger:
            ledger.spent(DATASET)  # whatever is slow the first time
            barrier.wait(60)
            try:
                if what == "reserve":
                    last = ledger.last_round(run)
                    ledger.reserve(run, 0 if last is None else last + 1)
                else:
                    ledger.plan(f"late-{run}", DATASET, event=HEAVY, rounds=12, details={})
                said = "admitted"
            except BudgetExceeded as error:
                said = "BudgetExceeded" if error.hint else "an error without a hint"
            except FedprivError as error:
                said = str(error)
        orders.send(said)


@contextmanager
def _racers() -> Iterator[list[Connection]]:
    context = _forks()
    barrier = context.Barrier(2)
    mine, processes = [], []
    for run in ("a", "b"):
        here, there = context.Pipe()
        process = context.Process(target=_racer, args=(barrier, there, run))
        process.start()
        there.close()
        mine.append(here)
        processes.append(process)
    try:
        yield mine
    finally:
        for here, process in zip(mine, processes, strict=True):
            with suppress(BrokenPipeError):  # a racer that failed has said why, and is gone
                here.send(None)
            process.join(60)
            here.close()


def races(folder: Path, *, trials: int) -> dict[str, object]:
    """Two processes, in each trial for the last round, or the last plan, that a fresh ledger has room for."""
    for_round, for_plan = folder / "last-round.db", folder / "last-plan.db"
    with Ledger.open(for_round, KEY, clock) as ledger:
        ledger.set_budget(DATASET, "reviews", 6.0, DELTA)
        for run in ("a", "b"):
            ledger.plan(run, DATASET, event=HEAVY, rounds=13, details={})
        for number in range(13):
            ledger.reserve("ab"[number % 2], number // 2)
    with Ledger.open(for_plan, KEY, clock) as ledger:
        ledger.set_budget(DATASET, "reviews", 5.0, DELTA)
    outcomes: Counter[str] = Counter()
    with _racers() as racers:
        for trial in range(trials):
            what, template = (("reserve", for_round), ("plan", for_plan))[trial % 2]
            path = folder / f"{trial}.db"
            shutil.copyfile(template, path)  # at rest a ledger is this one file
            for racer in racers:
                racer.send((path, what))
            said = [racer.recv() for racer in racers]
            assert sorted(said) == ["BudgetExceeded", "admitted"], said
            outcomes[f"{what}: {'ab'[said.index('admitted')]} admitted"] += 1
            with Ledger.open(path, KEY, clock) as ledger:
                spent = ledger.spent(DATASET)
                assert max(spent.epsilon, spent.planned_epsilon * (what == "plan")) <= spent.budget
                assert spent.reserved == (14 if what == "reserve" else 0)
            if trial % 50 < 2:
                verified(path)
            path.unlink()
    return {"trials": trials, "overspent": 0, "outcomes": dict(sorted(outcomes.items()))}

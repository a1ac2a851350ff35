"""A ledger at work, what it answered kept beside it, and the check that nothing of that is ever missing."""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fedpriv.crypto import SigningKey
from fedpriv.dp import PoissonGaussian, epsilon_pld, epsilon_rdp
from fedpriv.errors import BudgetExceeded, FedprivError
from fedpriv.ledger import Ledger, Row, verify_bundle

DATASET = "d5" * 32
DELTA = 1e-5
KEY = SigningKey.from_seed(bytes(range(32)))
EVENT = PoissonGaussian(noise_multiplier=2.0, sampling_rate=0.01)
OPEN_RUNS = 3
ROUNDS = 8

Answer = tuple[str, str, str]  # kind of row, run, round


def clock() -> str:
    """A time that never moves."""
    return "2026-01-31T12:00:00Z"


def opened(path: Path) -> Ledger:
    """The ledger at ``path``, made where it is missing."""
    return Ledger.open(path, KEY, clock)


def begin(path: Path) -> list[Answer]:
    """A ledger with a small budget and one run that has not begun."""
    with opened(path) as ledger:
        first = ledger.set_budget(DATASET, "reviews", 0.5, DELTA)
        return [answer(first), answer(_plan(ledger))]


def answer(row: Row) -> Answer:
    """What the ledger answered with ``row``."""
    return row.kind, row.run, "" if row.round is None else str(row.round)


def _plan(ledger: Ledger) -> Row:
    return ledger.plan(f"run{len(ledger.runs(DATASET))}", DATASET, event=EVENT, rounds=ROUNDS, details={})


def one_step(ledger: Ledger, chance: random.Random) -> Row:
    """One row more: a round reserved, released or voided, a run begun or ended, or the budget raised."""
    ongoing = [run for run in ledger.runs(DATASET) if not run.finished]
    try:
        if len(ongoing) < OPEN_RUNS:
            return _plan(ledger)
        run = chance.choice(ongoing)
        if run.pending and chance.random() < 0.2:
            return ledger.void(run.run_id, run.pending[0], "no client was asked")
        if run.pending:
            return ledger.release(run.run_id, run.pending[0], {"survivors": [1, 2], "aggregate": "ab" * 32})
        if not run.remaining:
            return ledger.finish(run.run_id, {})
        return ledger.reserve(run.run_id, 0 if run.last_round is None else run.last_round + 1)
    except BudgetExceeded:
        budget = ledger.budget(DATASET)
        assert budget is not None
        return ledger.set_budget(DATASET, budget.name, budget.epsilon + 0.25, DELTA)


class Answers:
    """Every answer in a file of its own, synchronised before the next row is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def add(self, given: Answer) -> None:
        os.write(self._handle, (",".join(given) + "\n").encode())
        os.fsync(self._handle)

    def close(self) -> None:
        os.close(self._handle)

    @staticmethod
    def read(path: Path) -> list[Answer]:
        """What was written whole."""
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line[:-1].split(",") for line in lines if line.endswith("\n")]
        return [(kind, run, number) for kind, run, number in whole]


def counted(answers: list[Answer]) -> int:
    """How many rounds the answers count as spent."""
    kinds = Counter(kind for kind, _, _ in answers)
    return kinds["RESERVE"] - kinds["VOID"]


@dataclass(frozen=True, slots=True)
class Found:
    """What a ledger was when it was opened again: its rows, or the kind of error that refused it."""

    rows: int
    refused: str = ""


def examine(path: Path, answered: list[Answer], *, unanswered: int = 1) -> Found:
    """Open the ledger and hold it against what it answered, by engines that do not read the ledger.

    Either it is refused with one error of fedpriv's, which names the file and says what to do; or every
    answer is there, in order, with at most ``unanswered`` rows more, and neither engine's ε is below what the
    answers cost.  Whatever else happens is an `AssertionError`, or an error that is none of fedpriv's.
    """
    try:
        ledger = opened(path)
    except FedprivError as error:
        explained(error, path)
        return Found(0, type(error).__name__)
    with ledger:
        there = [answer(row) for row in ledger.rows(DATASET)]
        assert there[: len(answered)] == answered, (len(there), len(answered))
        assert len(there) <= len(answered) + unanswered
        expected = min(counted(there[:end]) for end in range(len(answered), len(there) + 1))
        if ledger.budget(DATASET) is None:
            assert not there
            return Found(0)
        spent = ledger.spent(DATASET)
        groups = [(EVENT, expected)] if expected else []
        assert sum(run.rounds for run in spent.runs) >= expected
        assert spent.epsilon_rdp >= epsilon_rdp(groups, DELTA) * (1 - 1e-9)
        assert spent.epsilon_filter >= epsilon_rdp(groups, DELTA) * (1 - 1e-9)
        assert spent.epsilon_pld >= (epsilon_pld(groups, DELTA) if groups else 0.0) * (1 - 1e-9)
        return Found(len(there))


def explained(error: FedprivError, path: Path) -> None:
    """An error that a person can act on: it names the file, is one line, and says what to do."""
    assert str(path) in str(error), error
    assert "\n" not in str(error), error
    assert error.hint, error


def verified(path: Path) -> None:
    """The exported chain passes the offline verifier, which recomputes every hash, signature and figure."""
    with opened(path) as ledger:
        assert verify_bundle(ledger.export(DATASET), signer=KEY.public) == []


def goes_on(path: Path, answers: Path) -> str:
    """Reserve one round more: the name of the error that explains why not, ``RESERVE`` if it worked."""
    log = Answers(answers)
    try:
        with opened(path) as ledger:
            free = [run for run in ledger.runs(DATASET) if run.remaining]
            if not free:
                log.add(answer(_plan(ledger)))
                free = [run for run in ledger.runs(DATASET) if run.remaining]
            run = free[0]
            row = ledger.reserve(run.run_id, 0 if run.last_round is None else run.last_round + 1)
            log.add(answer(row))
            assert row.round in ledger.reserved_rounds(run.run_id)
            return row.kind
    except BudgetExceeded as error:
        return type(error).__name__ if error.hint else "an error without a hint"
    finally:
        log.close()

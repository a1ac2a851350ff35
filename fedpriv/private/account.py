"""One run's account: its plan in the ledger of the data set, each step reserved before it is released."""

from __future__ import annotations

import secrets
import warnings
import weakref
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from fedpriv import dp
from fedpriv.errors import IntegrityError, UsageError
from fedpriv.ledger import RECORD, Ledger, RunRecord, Spent, check_unit
from fedpriv.ledger import Budget as Allowance
from fedpriv.ledger.home import open_ledger
from fedpriv.ledger.marks import Marks, marks_of, salt_of
from fedpriv.ledger.records import Recognised, check_resumed, recognise, remember
from fedpriv.private.budget import Budget
from fedpriv.private.canonical import Records, canonical_records
from fedpriv.private.release import Grid

__all__ = ["Account", "Plan", "make_plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run commits to: ``steps`` releases on ``grid``, each record in each with ``sampling_rate``."""

    grid: Grid
    noise_multiplier: float
    sampling_rate: float
    steps: int

    @property
    def event(self) -> dp.PoissonDiscreteGaussian:
        """One step's."""
        return self.grid.event(self.sampling_rate)


def make_plan(
    *,
    epsilon: float,
    delta: float,
    noise_multiplier: float | None,
    clip: float,
    dimension: int,
    records: int,
    sampling_rate: float,
    steps: int,
) -> Plan:
    """The plan of ``steps`` steps with the given noise multiplier, or with the least that ``epsilon`` allows.

    The multiplier has four significant digits, and the event as it is released (integer noise, rounding) is
    what is priced.

    Raises:
        UsageError: a parameter out of range.
        UnsafeParameters: no noise is enough.
    """
    if steps < 1:
        raise UsageError(f"a run takes at least one step, not {steps}")
    if not 0.0 < sampling_rate <= 1.0:
        raise UsageError(
            f"the sampling rate is {sampling_rate:g}; it must lie in (0, 1]",
            hint="the expected batch cannot be larger than the data set",
        )
    if noise_multiplier is not None:
        grid = Grid.finest(clip, noise_multiplier, dimension, records)
        return Plan(grid, noise_multiplier, sampling_rate, steps)
    z = dp.noise_multiplier(epsilon, delta, sampling_rate, steps)
    while True:
        plan = Plan(Grid.finest(clip, z, dimension, records), z, sampling_rate, steps)
        if dp.epsilon_pld([(plan.event, steps)], delta) <= epsilon:
            return plan
        z = dp.next_multiplier(z)  # the distance of integer noise from Gaussian noise took the last digit


class Account:
    """The ledger's side of one run on one data set.

    Nothing is written before `commit`.  Close it with `finish`.

    Args:
        budget: what the data set may lose, should it have no budget yet.
        records: the data set, read once to know it again.

    Raises:
        UsageError: records that are no one data set's, or have no canonical form and were given no
            fingerprint.
        IntegrityError: what the ledger knows of its data sets' records is damaged.
    """

    def __init__(self, budget: Budget, records: Records) -> None:
        self._given = budget
        self._ledger = open_ledger(budget.path)
        self._close = weakref.finalize(self, self._ledger.close)
        found = self._found = _recognise(self._ledger, budget, records)
        self.dataset = found if isinstance(found, str) else found.dataset
        self._run: str | None = None
        self._ended: tuple[RunRecord, Spent] | None = None
        if isinstance(found, Recognised):
            _warn_of_others(found)
        allowed = self.allowance
        if (allowed.epsilon, allowed.delta) != (budget.epsilon, budget.delta):
            warnings.warn(
                f"the data set {allowed.name!r} has a budget of epsilon = {allowed.epsilon:g} at delta = "
                f"{allowed.delta:g} in the ledger, which stands: the one given here (epsilon = "
                f"{budget.epsilon:g}, delta = {budget.delta:g}) is not used",
                stacklevel=4,
            )

    @property
    def allowance(self) -> Allowance:
        """The budget in force, or the one that `commit` will set."""
        given = self._given
        name = given.data or self.dataset[:12]
        if isinstance(self._found, Recognised):
            name = self._found.called(name)
        return self._ledger.budget(self.dataset) or Allowance(self.dataset, name, given.epsilon, given.delta)

    @property
    def run_id(self) -> str:
        """The run's name in the ledger; empty before `commit` or `take_up`."""
        return self._run or ""

    @property
    def record(self) -> RunRecord:
        """What the ledger knows of the run."""
        return self._ledger.run(self.run_id) if self._ended is None else self._ended[0]

    def commit(self, plan: Plan, details: Mapping[str, Any]) -> None:
        """Set the budget where there is none, and commit the plan; nothing is spent yet.

        Raises:
            BudgetExceeded: the data set's budget does not admit the plan, or is spent in another unit.
        """
        check_unit(self._ledger, self.dataset, RECORD)
        allowed = self.allowance
        run = secrets.token_hex(16)
        found = self._found
        with nullcontext() if isinstance(found, str) else remember(self._ledger, found) as records:
            if self._ledger.budget(self.dataset) is None:
                self._ledger.set_budget(self.dataset, allowed.name, allowed.epsilon, allowed.delta)
            if records is not None:
                details = {**details, "records": records}
            self._ledger.plan(run, self.dataset, event=plan.event, rounds=plan.steps, details=details)
        self._run = run

    def take_up(self, run_id: str, plan: Plan, head: str) -> None:
        """Go on with a run that was committed earlier.

        Args:
            run_id: its name.
            plan: what it must have committed to.
            head: hash of a row that the ledger must hold, hex.

        Raises:
            UsageError: other records or another plan, or a run that has finished.
            IntegrityError: an older copy of the ledger.
        """
        known = {run.run_id: run for run in self._ledger.runs(self.dataset)}
        if head not in {row.hash.hex() for row in self._ledger.rows(self.dataset)} or run_id not in known:
            raise IntegrityError(
                "the ledger does not hold the row that the saved state names: the data set or the ledger is "
                "another one, or an older copy of the ledger was put back",
                hint="use the data and the ledger that the run was begun with, and the newest copy of it",
            )
        record = known[run_id]
        if (record.event, record.rounds) != (plan.event, plan.steps):
            raise UsageError(
                "the run was planned with another noise, clip, sampling rate, set of trained parameters or "
                "number of steps",
                hint="resume with the arguments that the run was begun with",
            )
        if record.finished:
            raise UsageError(
                f"the run {run_id} has finished", hint="begin a new one; it needs a plan of its own"
            )
        if isinstance(self._found, Recognised):
            check_resumed(self._ledger, self.dataset, run_id, self._found.marks)
        self._run = run_id

    @property
    def head(self) -> str:
        """The hash of the ledger's last row on the data set, hex."""
        return self._ledger.head(self.dataset).hex()

    def reserve(self) -> int:
        """Count one more step as spent, durably; returns its number, from 1.

        Raises:
            BudgetExceeded: the plan is used up, or the budget does not allow it; nothing was written.
        """
        step = (self.record.last_round or 0) + 1
        self._ledger.reserve(self.run_id, step)
        return step

    def release(self, step: int, details: Mapping[str, Any]) -> None:
        """Record that a reserved step gave its noisy sum, before that is used."""
        self._ledger.release(self.run_id, step, details)

    @property
    def spent(self) -> Spent | None:
        """What the data set has lost over all runs; ``None`` where nothing was ever planned on it."""
        if self._ended is not None:
            return self._ended[1]
        return None if self._ledger.budget(self.dataset) is None else self._ledger.spent(self.dataset)

    def finish(self, details: Mapping[str, Any]) -> None:
        """Close the run and the ledger; `record` and `spent` stay as they are then."""
        self._ledger.finish(self.run_id, details)
        self._ended = (self.record, self._ledger.spent(self.dataset))
        self._close()


def _recognise(ledger: Ledger, budget: Budget, records: Records) -> Recognised | str:
    """The data set that the records belong to; the name that was given, where they have no canonical form."""
    try:
        marks = Marks.of(marks_of(canonical_records(records), salt_of(ledger)))
    except UsageError:
        if budget.fingerprint is None:
            raise
        return budget.fingerprint
    return recognise(ledger, marks, budget.version, dataset=budget.fingerprint)


def _warn_of_others(found: Recognised) -> None:
    """Say who is behind two budgets."""
    for other in found.others:
        warnings.warn(
            f"{other.shared:,} of the {found.records:,} records are also in the data set {other.name!r}, "
            f"which has spent epsilon = {other.spent:.4g} of {other.budget:g}: for whoever is in both, that "
            "and what this data set spends add up",
            stacklevel=5,
        )

"""What the rows of one data set add up to: budget, runs and rounds, and which row may come next.

The legal rows stand in one table, `TRANSITIONS` (protocols/ledger/spec.md, 5).  A `Chain` is rebuilt from
rows and from nothing else; `Chain.check` says whether a row may come next and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from fedpriv.dp import BandedMatrixRound, Event, InTurns, event_from_dict
from fedpriv.errors import BudgetExceeded, FedprivError, IntegrityError, UsageError
from fedpriv.ledger.body import Kind, check_body, number
from fedpriv.ledger.rows import Row, genesis

__all__ = ["RECORD", "TRANSITIONS", "Budget", "Chain", "RoundState", "Run", "RunState"]


class RunState(StrEnum):
    """How far a run has come."""

    UNKNOWN = "unknown"
    OPEN = "open"
    FINISHED = "finished"


class RoundState(StrEnum):
    """How far a round of a run has come. A row that names no round finds, and leaves, `NONE`."""

    NONE = "none"
    RESERVED = "reserved"
    RELEASED = "released"
    VOIDED = "voided"


RECORD: Final = "record"
"""The unit of a reserved round that names none."""

_COUNTED_IN_PLACE: Final = (BandedMatrixRound, InTurns)
"""Events of which r rounds of one run cost less than r times one: it matters which rounds they are."""

Transition = tuple[RunState, RoundState]

# (state of the run, state of the round, kind of row) -> the states after it. What is not here is illegal.
TRANSITIONS: Final[Mapping[tuple[RunState, RoundState, str], Transition]] = MappingProxyType(
    {
        (RunState.UNKNOWN, RoundState.NONE, Kind.PLAN): (RunState.OPEN, RoundState.NONE),
        (RunState.OPEN, RoundState.NONE, Kind.RESERVE): (RunState.OPEN, RoundState.RESERVED),
        (RunState.OPEN, RoundState.RESERVED, Kind.RELEASE): (RunState.OPEN, RoundState.RELEASED),
        (RunState.OPEN, RoundState.RESERVED, Kind.VOID): (RunState.OPEN, RoundState.VOIDED),
        (RunState.OPEN, RoundState.NONE, Kind.FINISH): (RunState.FINISHED, RoundState.NONE),
    }
)


@dataclass(frozen=True, slots=True)
class Budget:
    """What a data set may lose over all runs: ``(epsilon, delta)``, as the latest BUDGET row sets it."""

    dataset: str
    name: str
    epsilon: float
    delta: float


@dataclass(slots=True)
class Run:
    """One committed plan and the rounds that it has used."""

    run_id: str
    event: Event
    rounds: int
    rule: str
    epsilon: float
    finished: bool = False
    states: dict[int, RoundState] = field(default_factory=dict)
    counted: int = 0  # rounds reserved and not voided

    @property
    def state(self) -> RunState:
        """OPEN until its FINISH row."""
        return RunState.FINISHED if self.finished else RunState.OPEN

    def numbers(self, *wanted: RoundState) -> tuple[int, ...]:
        """The round numbers in one of the states ``wanted``, ascending."""
        return tuple(sorted(number for number, state in self.states.items() if state in wanted))


class Chain:
    """The state of one data set after a prefix of its rows.

    ``anchor`` is the run whose plan fixed the accounting of the data set: the first one that was not finished
    unused before the next was planned.  ``anchor_epsilon`` is the budget's ε when it was planned.  ``shared``
    says that a second plan was admitted beside or after the anchor (spec 6).  ``unit`` is ``record`` or
    ``client`` once a round was reserved: all of a data set's rounds protect the same.
    """

    def __init__(self, dataset: str) -> None:
        self.dataset = dataset
        self.genesis = genesis(dataset)
        self.head = self.genesis
        self.length = 0
        self.budget: Budget | None = None
        self.runs: dict[str, Run] = {}
        self.anchor: str | None = None
        self.anchor_epsilon = 0.0
        self.shared = False
        self.unit: str | None = None

    @classmethod
    def of(cls, dataset: str, rows: Iterable[Row]) -> Chain:
        """The chain after ``rows``; `IntegrityError` names the first row that cannot stand there."""
        chain = cls(dataset)
        for row in rows:
            chain.extend(row)
        return chain

    def extend(self, row: Row) -> None:
        """Take a stored row after checking its place, its hash and its legality, not its signature."""
        where = f"Row {row.seq} of data set {self.dataset}"
        if row.dataset != self.dataset or row.seq != self.length:
            raise IntegrityError(f"{where} stands where row {self.length} should be.")
        if row.prev != self.head:
            raise IntegrityError(f"{where} does not follow the row before it.")
        if row.recomputed_hash() != row.hash:
            raise IntegrityError(f"{where} was changed after it was written: its hash does not fit.")
        try:
            check_body(row.kind, row.body)
            self.check(row.kind, row.body)
        except FedprivError as error:
            raise IntegrityError(f"{where} is not legal there: {error}") from error
        self.apply(row)

    def unused(self) -> bool:
        """Whether nothing counts on the data set: every run is finished and has no counted round."""
        return all(run.finished and run.counted == 0 for run in self.runs.values())

    def counted(self, more: Mapping[str, int] | None = None) -> list[tuple[Event, int]]:
        """The events of all rounds reserved and not voided, equal events grouped, in order of planning.

        ``more`` rounds by run are counted with them.  Rounds of banded matrix mechanisms, and of cohorts that
        take turns, are not grouped over runs: each run's cost depends on how many rounds it had.
        """
        groups: dict[tuple[Event, str], int] = {}
        for run in self.runs.values():
            count = run.counted + (more or {}).get(run.run_id, 0)
            if count:
                key = (run.event, run.run_id if isinstance(run.event, _COUNTED_IN_PLACE) else "")
                groups[key] = groups.get(key, 0) + count
        return [(event, count) for (event, _), count in groups.items()]

    def check(self, kind: str, body: Mapping[str, object]) -> None:
        """Raise `UsageError` if a row of ``kind`` with this well-formed ``body`` may not come next."""
        if kind == Kind.BUDGET:
            self._check_budget(body)
            return
        run = self.runs.get(str(body["run"]))
        run_state = run.state if run else RunState.UNKNOWN
        number_ = body.get("round")
        round_state = RoundState.NONE
        if run is not None and isinstance(number_, int):
            round_state = run.states.get(number_, RoundState.NONE)
        if (run_state, round_state, kind) not in TRANSITIONS:
            raise _illegal(kind, body, run_state, round_state)
        if run is not None and isinstance(run.event, _COUNTED_IN_PLACE):
            _check_place(run, kind, number_)
        if kind == Kind.RESERVE:
            self.check_unit(body["details"])
        if kind == Kind.PLAN and self.budget is None:
            raise UsageError(
                f"The data set {self.dataset} has no privacy budget yet.",
                hint="Set one before planning a run on it.",
            )

    def check_unit(self, details: object) -> None:
        """Raise `BudgetExceeded` where a round with these details is for another unit than earlier ones."""
        if self.unit not in (None, _unit(details)):
            raise BudgetExceeded(
                f"The budget of this data set is spent for each {self.unit}, and this would be for each "
                f"{_unit(details)}: the two do not add up to one guarantee.",
                hint="Keep to one unit for one data set.",
            )

    def apply(self, row: Row) -> None:
        """Take a row that `check` has passed."""
        body = row.body
        if row.kind == Kind.BUDGET:
            epsilon, delta = number(body["epsilon"]), number(body["delta"])
            self.budget = Budget(self.dataset, str(body["name"]), epsilon, delta)
        elif row.kind == Kind.PLAN:
            self._apply_plan(row)
        else:
            run = self.runs[row.run]
            before = run.states.get(row.round, RoundState.NONE) if row.round is not None else RoundState.NONE
            run_state, after = TRANSITIONS[run.state, before, row.kind]
            run.finished = run_state is RunState.FINISHED
            if row.round is not None:
                run.states[row.round] = after
                run.counted += {Kind.RESERVE: 1, Kind.VOID: -1}.get(row.kind, 0)
            if row.kind == Kind.RESERVE:
                self.unit = _unit(body["details"])
        self.head = row.hash
        self.length += 1

    def _check_budget(self, body: Mapping[str, object]) -> None:
        if self.runs and self.budget is not None and number(body["delta"]) != self.budget.delta:
            raise UsageError(
                f"The data set {self.dataset} is accounted at delta = {self.budget.delta!r}, which cannot "
                "change once a run was planned on it.",
                hint=f"Set the budget with delta = {self.budget.delta!r}.",
            )

    def _apply_plan(self, row: Row) -> None:
        body = row.body
        event = body["event"]
        rounds = body["rounds"]
        assert isinstance(event, dict)  # noqa: S101 -- check_body saw to both
        assert isinstance(rounds, int)  # noqa: S101
        if self.unused():
            assert self.budget is not None  # noqa: S101 -- check saw to it
            self.anchor, self.anchor_epsilon, self.shared = row.run, self.budget.epsilon, False
        else:
            self.shared = True
        self.runs[row.run] = Run(
            run_id=row.run,
            event=event_from_dict(event),
            rounds=rounds,
            rule=str(body["rule"]),
            epsilon=number(body["epsilon"]),
        )


def _unit(details: object) -> str:
    """Whom a reserved round protects: ``record`` or ``client``, without whose records they are."""
    named = details.get("unit", RECORD) if isinstance(details, Mapping) else RECORD
    return str(named).partition(":")[0]


def _check_place(run: Run, kind: str, number_: object) -> None:
    """Rounds of which each is charged by its place come one after the other, and are never taken back."""
    last = next(reversed(run.states), None)
    if kind == Kind.RESERVE and last is not None and number_ != last + 1:
        raise UsageError(
            f"Round {number_} of run {run.run_id} does not follow round {last}: its rounds are charged by "
            "their place.",
            hint="Reserve them one after the other.",
        )
    if kind == Kind.VOID:
        raise UsageError(
            f"Round {number_} of run {run.run_id} cannot be taken back: its rounds are charged by their "
            "place.",
            hint="The round stays spent.",
        )


def _illegal(
    kind: str, body: Mapping[str, object], run_state: RunState, round_state: RoundState
) -> UsageError:
    """The error for a row that is not in the table, in the words of the one who asked for it."""
    run, number_ = body["run"], body.get("round")
    if kind == Kind.PLAN:
        return UsageError(
            f"The run {run} was already planned; a run's name is used once.",
            hint="Resume that run, or give the new one a name of its own.",
        )
    if run_state is RunState.UNKNOWN:
        return UsageError(f"The ledger knows no run {run}.", hint="Plan the run before its first round.")
    if run_state is RunState.FINISHED:
        return UsageError(
            f"The run {run} is finished and takes no further {kind}.", hint="Plan a new run on the data set."
        )
    if kind == Kind.RESERVE:
        return UsageError(
            f"Round {number_} of run {run} is already {round_state}; a round's number is used once.",
            hint="Go on with the next number.",
        )
    found = "was never reserved" if round_state is RoundState.NONE else f"is already {round_state}"
    return UsageError(f"Round {number_} of run {run} {found}, so {kind} does not apply to it.")

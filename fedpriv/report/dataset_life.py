"""A data set's whole life out of its exported ledger: budgets, runs, and what was spent after each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from fedpriv.errors import IntegrityError
from fedpriv.ledger import Kind, RoundState, Row, verify_bundle
from fedpriv.ledger.body import number
from fedpriv.ledger.budget import Spent, spent
from fedpriv.ledger.bundle import read_row
from fedpriv.ledger.chain import Chain

__all__ = ["BudgetChange", "DatasetLife", "RunLife", "verified_rows"]


@dataclass(frozen=True, slots=True)
class BudgetChange:
    """A BUDGET row: what the data set may lose from here on, and the ε that was spent before it."""

    seq: int
    time: str
    name: str
    epsilon: float
    delta: float
    epsilon_before: float | None
    epsilon_spent: float


@dataclass(frozen=True, slots=True)
class RunLife:
    """One run on the data set.

    ``pending`` rounds are reserved and neither released nor void: they count as spent.  ``voided`` holds
    ``(round, evidence)``.  ``epsilon`` is what the run costs by itself, ``epsilon_after`` what the data set
    had spent, by ``rule_after`` of the ledger, at the run's last row.
    """

    seq: int
    time: str
    run: str
    finished: str | None
    last_row: str
    rounds_planned: int
    released: int
    pending: tuple[int, ...]
    voided: tuple[tuple[int, str], ...]
    epsilon_planned: float
    epsilon: float
    epsilon_after: float
    rule_after: str
    adapter: str | None

    @property
    def counted(self) -> int:
        """How many rounds count as spent."""
        return self.released + len(self.pending)


Entry: TypeAlias = BudgetChange | RunLife


@dataclass(frozen=True, slots=True)
class DatasetLife:
    """Everything that an exported ledger says of its data set, oldest first, and what is spent at its end.

    ``signer`` is the Ed25519 key (hexadecimal) of every row; whose key that is, the ledger cannot say.
    """

    dataset: str
    name: str
    signer: str
    rows: int
    head: str
    spent: Spent
    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, bundle: object) -> DatasetLife:
        """Read an exported ledger, all of which is verified first (seconds where there are many plans).

        Raises:
            IntegrityError: something in it does not hold; the first such thing is named.
        """
        rows = verified_rows(bundle)
        last = {row.run: row.seq for row in rows if row.run}
        chain, then = Chain(rows[0].dataset), dict[int, Spent]()
        for row in rows:
            if row.kind == Kind.BUDGET and chain.budget is not None:
                then[row.seq] = spent(chain)  # under the budget that it replaces
            chain.apply(row)
            if last.get(row.run) == row.seq:
                then[row.seq] = spent(chain)
        if chain.budget is None:
            raise IntegrityError("the ledger sets no budget for its data set")
        return cls(
            dataset=chain.dataset,
            name=chain.budget.name,
            signer=rows[-1].signer.hex(),
            rows=len(rows),
            head=rows[-1].hash.hex(),
            spent=spent(chain),
            entries=tuple(_entries(rows, chain, then, last)),
        )

    def to_dict(self) -> dict[str, Any]:
        """The life as JSON holds it; each entry says with ``kind`` what it is."""
        kinds = {BudgetChange: "budget", RunLife: "run"}
        return {
            "format": "fedpriv-budget-history/1",
            "dataset": self.dataset,
            "name": self.name,
            "signer": self.signer,
            "rows": self.rows,
            "head": self.head,
            "verified": True,
            "budget": {"epsilon": self.spent.budget, "delta": self.spent.delta},
            "epsilon_spent": self.spent.epsilon,
            "epsilon_planned": self.spent.planned_epsilon,
            "rule": self.spent.rule,
            "rounds": {
                "reserved": self.spent.reserved,
                "released": self.spent.released,
                "voided": self.spent.voided,
                "pending": self.spent.pending,
            },
            "entries": [{"kind": kinds[type(entry)], **asdict(entry)} for entry in self.entries],
        }


def verified_rows(bundle: object) -> tuple[Row, ...]:
    """The rows of an exported ledger; :class:`IntegrityError` names the first thing that does not hold."""
    found = verify_bundle(bundle)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise IntegrityError(
            f"the ledger does not verify: {found[0]}{more}",
            hint="ask whoever keeps the ledger for a fresh export, and find out what changed this one",
        )
    assert isinstance(bundle, dict)  # noqa: S101 -- verify_bundle saw to it
    return tuple(read_row(bundle["dataset"], entry) for entry in bundle["rows"])


def _entries(
    rows: tuple[Row, ...], chain: Chain, then: Mapping[int, Spent], last: Mapping[str, int]
) -> Iterator[Entry]:
    before: float | None = None
    for row in rows:
        if row.kind == Kind.BUDGET:
            epsilon = number(row.body["epsilon"])
            yield BudgetChange(
                seq=row.seq,
                time=row.time,
                name=str(row.body["name"]),
                epsilon=epsilon,
                delta=number(row.body["delta"]),
                epsilon_before=before,
                epsilon_spent=then[row.seq].epsilon if row.seq in then else 0.0,
            )
            before = epsilon
        elif row.kind == Kind.PLAN:
            yield _run(row, rows, chain, then[last[row.run]])


def _run(plan: Row, rows: tuple[Row, ...], chain: Chain, after: Spent) -> RunLife:
    run = chain.runs[plan.run]
    mine = [row for row in rows if row.run == plan.run]
    finish = next((row for row in mine if row.kind == Kind.FINISH), None)
    details = finish.body["details"] if finish else None
    adapter = details.get("adapter") if isinstance(details, dict) else None
    return RunLife(
        seq=plan.seq,
        time=plan.time,
        run=plan.run,
        finished=finish.time if finish else None,
        last_row=mine[-1].time,
        rounds_planned=run.rounds,
        released=len(run.numbers(RoundState.RELEASED)),
        pending=run.numbers(RoundState.RESERVED),
        voided=tuple(
            (row.round or 0, _evidence(row.body["evidence"])) for row in mine if row.kind == Kind.VOID
        ),
        epsilon_planned=run.epsilon,
        epsilon=next(cost.epsilon_pld for cost in after.runs if cost.run_id == plan.run),
        epsilon_after=after.epsilon,
        rule_after=after.rule,
        adapter=str(adapter) if adapter else None,
    )


def _evidence(evidence: object) -> str:
    """A void's evidence in a line; of what clients signed, the clients."""
    if not isinstance(evidence, dict):
        return str(evidence)
    return "; ".join(
        f"{key}: {', '.join(map(str, value)) if isinstance(value, dict | list) else value}"
        for key, value in sorted(evidence.items())
    )

"""A data set's life on the terminal: where it stands, what happened, and what wants a second look."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fedpriv.cli.display import print_pairs
from fedpriv.cli.summary import upward
from fedpriv.cli.tables import print_table

if TYPE_CHECKING:
    from fedpriv.report.dataset_life import BudgetChange, DatasetLife, RunLife

__all__ = ["print_history"]

_SHORT = 12


def print_history(life: DatasetLife) -> None:
    """The standing first, then a line for each budget and run, then raises, voids and pending rounds."""
    from fedpriv.report.dataset_life import BudgetChange

    print_pairs(_standing(life))
    print()  # noqa: T201 - this is the display
    print_table(
        ("when (UTC)", "what", "rounds", "ε of the run", "ε of the data set"),
        [_budget(e) if isinstance(e, BudgetChange) else _run(e) for e in life.entries],
    )
    notes = _notes(life)
    if notes:
        print()  # noqa: T201
        print_pairs(notes)


def _standing(life: DatasetLife) -> list[tuple[str, str]]:
    spent = life.spent
    return [
        ("data set", f"{life.name} ({life.dataset})"),
        ("allowed", f"ε {spent.budget:g} at δ {spent.delta:g}, over all runs"),
        ("spent", f"{_epsilon(spent.epsilon)}, by the ledger's rule: {spent.rule}"),
        ("left", _left(spent.budget - spent.epsilon)),
        ("planned", f"{_epsilon(spent.planned_epsilon)} if every open run uses all its rounds"),
        (
            "rounds",
            f"{spent.reserved} reserved: {spent.released} released, {spent.voided} void, "
            f"{spent.pending} pending",
        ),
        ("signed", f"all {life.rows} rows by the key {life.signer}"),
        ("head", life.head),
        ("verified", "chain, signatures, every decision and every ε; whose key it is, compare elsewhere"),
    ]


def _budget(entry: BudgetChange) -> tuple[str, ...]:
    old = entry.epsilon_before
    change = f"budget of ε {entry.epsilon:g} at δ {entry.delta:g}"
    if old is not None:
        word = "raised" if entry.epsilon > old else "lowered" if entry.epsilon < old else "set again"
        change = f"budget {word}: ε {old:g} → {entry.epsilon:g}"
    return (_when(entry.time), change, "", "", f"{upward(entry.epsilon_spent)} spent")


def _run(entry: RunLife) -> tuple[str, ...]:
    return (
        _when(entry.time),
        f"run {entry.run[:_SHORT]}, " + ("finished" if entry.finished else "OPEN"),
        f"{entry.counted} of {entry.rounds_planned}",
        upward(entry.epsilon),
        f"{upward(entry.epsilon_after)} spent",
    )


def _notes(life: DatasetLife) -> list[tuple[str, str]]:
    from fedpriv.report.dataset_life import BudgetChange, RunLife

    notes = [
        (
            "raised",
            f"{_when(e.time)}: from ε {e.epsilon_before:g} to {e.epsilon:g} when "
            f"{_epsilon(e.epsilon_spent)} was spent; the ledger does not say why",
        )
        for e in life.entries
        if isinstance(e, BudgetChange) and e.epsilon_spent > 0 and e.epsilon > (e.epsilon_before or e.epsilon)
    ]
    runs = [entry for entry in life.entries if isinstance(entry, RunLife)]
    notes += [
        ("void", f"run {run.run[:_SHORT]}, round {round_}: {evidence}")
        for run in runs
        for round_, evidence in run.voided
    ]
    notes += [
        (
            "pending",
            f"run {run.run[:_SHORT]}, round {', '.join(map(str, run.pending))}: reserved, neither released "
            "nor void; counts as spent",
        )
        for run in runs
        if run.pending
    ]
    return notes


def _left(epsilon: float) -> str:
    """Never rounded up: what is left must not look like more than it is."""
    if epsilon >= 0:
        return f"ε {int(epsilon * 100 + 1e-9) / 100:.2f}"
    return f"nothing: {_epsilon(-epsilon)} over what is allowed" if math.isfinite(epsilon) else "nothing"


def _epsilon(epsilon: float) -> str:
    return f"ε {upward(epsilon)}" if math.isfinite(epsilon) else "more than any ε that can be stated"


def _when(time: str) -> str:
    return time[:16].replace("T", " ")

"""Clause 4.7: every ε that the plan and the rounds state, against the one recomputed from the ledger."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from fedpriv import dp
from fedpriv.report.check import Check
from fedpriv.report.checks.agreement import TOLERANCE, each_fault, near
from fedpriv.report.encryption import Encryption
from fedpriv.report.figures import Figures
from fedpriv.report.history import History
from fedpriv.report.rundir import RunDirectory

__all__ = ["epsilon_checks"]


def epsilon_checks(rundir: RunDirectory, history: History, figures: Figures) -> Iterator[Check]:
    """The plan's ε, whether it is allowed, what encryption adds to δ, and the ε of every line."""
    yield from _planned(rundir.plan, figures)
    yield from _allowed(rundir.plan, figures)
    yield from _flooding(rundir.plan, figures)
    by_count = {rounds: rdp for rounds, rdp, _ in figures.curve}
    counted = sorted(history.reserved.keys() - history.voided.keys())
    lines = []
    for number, line in enumerate(rundir.rounds, start=1):
        rounds = sum(round_ <= line["round"] for round_ in counted)
        lines.append(
            (f"line {number} (round {line['round']}), epsilon_rdp", line["epsilon_rdp"], by_count.get(rounds))
        )
    what = "recomputed for every line from the rounds reserved and not voided by then"
    yield from each_fault("ε by round", "rounds.jsonl", _faults(*lines), what)


def _planned(plan: dict[str, Any], figures: Figures) -> Iterator[Check]:
    by_adversary = (
        (f"adversaries[{i}] ({a['adversary']}), epsilon_pld", a["epsilon_pld"], epsilon)
        for i, (a, epsilon) in enumerate(zip(plan["adversaries"], figures.adversaries, strict=True))
    )
    of_people = (
        (key, plan[key], epsilon)
        for key, epsilon in (
            ("epsilon_person", figures.people.person),
            ("epsilon_everywhere", figures.people.everywhere_planned),
        )
        if key in plan  # plans of before there were any have none
    )
    faults = _faults(
        ("epsilon_pld", plan["epsilon_pld"], figures.planned_pld),
        ("epsilon_rdp", plan["epsilon_rdp"], figures.planned_rdp),
        *by_adversary,
        *of_people,
    )
    what = f"recomputed by two accountants: {figures.planned_pld}"
    yield from each_fault("ε planned", "plan.json", faults, what)


def _allowed(plan: dict[str, Any], figures: Figures) -> Iterator[Check]:
    if figures.planned_pld is None or figures.planned_pld > plan["epsilon"] * (1 + TOLERANCE):
        what = f"the plan costs ε = {figures.planned_pld}, over the {plan['epsilon']:g} that it allows"
        yield Check("ε planned", "plan.json, epsilon", "failed", what)
    if plan["epsilon"] >= dp.LARGE_EPSILON and not plan.get("allow_large_epsilon", True):
        what = f"it allows ε = {plan['epsilon']:g} without saying that so large a one is meant"
        yield Check("ε planned", "plan.json, allow_large_epsilon", "failed", what)


def _flooding(plan: dict[str, Any], figures: Figures) -> Iterator[Check]:
    encryption = Encryption.of(plan)
    if encryption is None or figures.planned_pld is None:
        return
    slack = encryption.derived_slack(figures.planned_pld, plan["rounds"])
    if not math.isclose(encryption.flooding_slack, slack, rel_tol=1e-4):
        what = f"it says {encryption.flooding_slack:g}; the plan's parameters give {slack:g}"
        yield Check("plan", "plan.json, ckks.flooding_slack", "failed", what)


def _faults(*figures: tuple[str, Any, float | None]) -> list[tuple[str, str]]:
    return [
        (where, f"it says {stated}; recomputed it is {actual}")
        for where, stated, actual in figures
        if not near(stated, actual)
    ]

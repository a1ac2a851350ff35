"""Clauses 4.3 to 4.5: the plan follows from its parameters, and is the one that the ledger committed to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from fedpriv import dp
from fedpriv.report.check import Check
from fedpriv.report.checks.agreement import each_fault, equal
from fedpriv.report.checks.derivation import Derivation
from fedpriv.report.history import History
from fedpriv.report.rundir import RunDirectory

__all__ = ["plan_checks"]


def plan_checks(rundir: RunDirectory, history: History, derived: Derivation) -> Iterator[Check]:
    """plan.json against its derivation and the PLAN row, and the digests that this row holds."""
    same = "plan.json follows from its own parameters and is the one that the ledger committed to"
    yield from each_fault("plan", "plan.json", list(_faults(rundir, history, derived)), same)
    yield from _committed(rundir, history)


def _faults(rundir: RunDirectory, history: History, derived: Derivation) -> Iterator[tuple[str, str]]:
    plan, row, noise = rundir.plan, history.plan, derived.noise
    if plan["event"] != row.body.get("event"):
        yield "event", f"it is not the event that {row.name} committed to"
    if plan["event"] != dp.event_to_dict(derived.event):
        yield "event", "it does not follow from the plan's noise, survivors and colluders"
    if plan["rounds"] != history.planned:
        yield "rounds", f"it says {plan['rounds']}; {row.name} committed to {history.planned}"
    for key, variance in (
        ("share_variance", noise.share_variance),
        ("server_variance", noise.server_variance),
    ):
        if plan[key] != str(variance):
            yield key, f"it says {plan[key]}; the plan's parameters give {variance}"
    for position, (adversary, event) in enumerate(zip(plan["adversaries"], derived.against, strict=True)):
        if adversary["event"] != (None if event is None else dp.event_to_dict(event)):
            where = f"adversaries[{position}] ({adversary['adversary']})"
            yield where, "its event does not follow from the plan's parameters"


def _committed(rundir: RunDirectory, history: History) -> Iterator[Check]:
    """Digests that the PLAN row holds of files written beside it."""
    details = history.plan.details
    yield equal(
        "configuration",
        "run.json, config_digest",
        rundir.run["config_digest"],
        details.get("config"),
        f"it is the one in {history.plan.name}",
    )
    for key, file in (("plan_file", "plan.json"), ("config_file", "config.toml")):
        if key in details:
            actual = hashlib.sha256(rundir.files[file]).hexdigest()
            what = f"its SHA-256 is the one in {history.plan.name}"
            yield equal("committed files", file, actual, details[key], what)

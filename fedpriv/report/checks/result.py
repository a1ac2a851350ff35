"""Clause 4.8: result.json against the ledger's claims, the plan, the rounds and the FINISH row."""

from __future__ import annotations

from collections.abc import Iterator

from fedpriv.report.check import Check
from fedpriv.report.checks.agreement import each_fault, near
from fedpriv.report.history import History
from fedpriv.report.rundir import RunDirectory

__all__ = ["result_checks"]


def result_checks(rundir: RunDirectory, history: History) -> Iterator[Check]:
    """Its figures; a run without a result gives a note."""
    result = rundir.result
    if result is None:
        what = "the run has not written its result: what is there was checked"
        yield Check("result", "result.json", "note", what)
        return
    claims = rundir.ledger.get("claims")
    claims = claims if isinstance(claims, dict) else {}
    faults = [
        (key, f"it says {result[key]}; the ledger's rows give {claims.get(claim)} for the data set")
        for key, claim in (("epsilon_pld_spent", "epsilon_pld"), ("epsilon_rdp_spent", "epsilon_rdp"))
        if not near(result[key], claims.get(claim))
    ]
    expected = {
        "epsilon_planned": (rundir.plan["epsilon_pld"], "plan.json"),
        "rounds_planned": (rundir.plan["rounds"], "plan.json"),
        "rounds_done": (len(rundir.rounds), "rounds.jsonl"),
    }
    if history.finish is not None and "accuracy" in history.finish.details:
        expected["accuracy"] = (history.finish.details["accuracy"], history.finish.name)
    for key, (value, source) in expected.items():
        if not near(result[key], value):
            faults.append((key, f"it says {result[key]}; {source} gives {value}"))
    yield from each_fault(
        "result", "result.json", faults, "its figures are those of the ledger, the plan and the rounds"
    )

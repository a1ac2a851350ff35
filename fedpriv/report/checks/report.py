"""Clause 4.10: report.json against a report made again; report.html against report.json."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fedpriv.crypto.strict_json import parse
from fedpriv.errors import DecodeError
from fedpriv.report.check import Check
from fedpriv.report.checks.agreement import TOLERANCE, each_fault
from fedpriv.report.compare import differences
from fedpriv.report.facts import collect
from fedpriv.report.figures import Figures
from fedpriv.report.forms.html import render
from fedpriv.report.history import History
from fedpriv.report.rundir import RunDirectory
from fedpriv.report.schema import problems

__all__ = ["report_checks"]

_MOST_DIFFERENCES = 5


def report_checks(
    rundir: RunDirectory, history: History, figures: Figures | None, checks: Sequence[Check]
) -> Iterator[Check]:
    """What the report says, given the other ``checks``, which it holds; none written gives a note."""
    text = rundir.files.get("report.json")
    if text is None:
        yield Check("report", "report.json", "note", "no report has been written")
        return
    try:
        report = parse(text)
    except DecodeError as error:
        yield Check("report", "report.json", "failed", f"it is not valid JSON: {error}")
        return
    broken = problems(report)
    yield from each_fault(
        "report: schema", "report.json", [("", p) for p in broken[:_MOST_DIFFERENCES]], "it is followed"
    )
    if broken or figures is None:
        return
    again = collect(rundir, history, figures, [check.to_dict() for check in checks])
    found = differences(report, again, tolerance=TOLERANCE)
    shown = found[:_MOST_DIFFERENCES]
    if len(found) > len(shown):
        shown.append(("", f"and {len(found) - len(shown)} more differences"))
    holds = "made again from the run directory, it is the same"
    yield from each_fault("report: figures", "report.json", shown, holds)
    page = rundir.files.get("report.html")
    if page is not None:
        fresh = page.decode("utf-8", errors="replace") == render(report)
        what = "it is what report.json renders to" if fresh else "it is not what report.json renders to"
        yield Check("report: page", "report.html", "ok" if fresh else "failed", what)

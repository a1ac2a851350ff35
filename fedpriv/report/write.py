"""Writing the report of a run: the JSON first, the page from the JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedpriv.errors import IntegrityError, UsageError
from fedpriv.report.compare import carry_over
from fedpriv.report.facts import collect
from fedpriv.report.html import render
from fedpriv.report.rundir import RunDirectory
from fedpriv.report.schema import problems, require_valid
from fedpriv.report.verify import examine

__all__ = ["FORMATS", "write"]

FORMATS = ("json", "html")


def write(run_dir: str | Path, *, formats: Sequence[str] = FORMATS) -> dict[str, Path]:
    """Write ``report.json`` (always: it is the record) and the asked-for views of it into ``run_dir``.

    Everything is recomputed and verified on the way, so this takes as long as ``verify``.  What people filled
    into the slots of an earlier report is kept.

    Returns:
        the path of each asked-for format.

    Raises:
        UsageError: ``run_dir`` is not a run directory, or a format is unknown.
        IntegrityError: a file in it is missing or unreadable, or the ledger holds nothing to account for.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown or not formats:
        raise UsageError(
            f"{unknown[0]!r} is not a format of the report"
            if unknown
            else "no format of the report was asked for",
            hint=f"choose from {', '.join(FORMATS)}",
        )
    findings = examine(RunDirectory.open(run_dir))
    if findings.figures is None:
        failed = next(check for check in findings.checks if check.status == "failed")
        raise IntegrityError(
            f"there is nothing to report on: {failed}", hint="`fedpriv verify` lists everything that is wrong"
        )
    report = collect(
        findings.rundir, findings.history, findings.figures, [c.to_dict() for c in findings.checks]
    )
    path = Path(run_dir)
    _keep_slots(report, path / "report.json")
    require_valid(report)
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    written = {"json": _replace(path / "report.json", text)}
    if "html" in formats:
        written["html"] = _replace(path / "report.html", render(report))
    return {name: written[name] for name in formats}


def _keep_slots(report: dict[str, Any], earlier: Path) -> None:
    try:
        known = json.loads(earlier.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if not problems(known):
        carry_over(report, known)


def _replace(path: Path, text: str) -> Path:
    """Write ``path`` whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise UsageError(
            f"{path.name} cannot be written: {error.strerror}", hint="make the run directory writable"
        ) from None
    return path

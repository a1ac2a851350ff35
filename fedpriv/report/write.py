"""Writing the report of a run: the JSON first, and every other form from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fedpriv.errors import IntegrityError, UsageError
from fedpriv.local_file import USUAL, replace_file
from fedpriv.report.compare import carry_over
from fedpriv.report.facts import collect
from fedpriv.report.forms.deployment import deployment_yaml
from fedpriv.report.forms.html import render
from fedpriv.report.forms.ledger_csv import ledger_csv
from fedpriv.report.forms.pdf import pdf, require_weasyprint
from fedpriv.report.rundir import RunDirectory
from fedpriv.report.schema import problems, require_valid
from fedpriv.report.verify import examine

__all__ = ["DEFAULT_FORMATS", "FILES", "FORMATS", "write"]

FILES = {
    "json": "report.json",
    "html": "report.html",
    "pdf": "report.pdf",
    "yaml": "deployment.yaml",
    "csv": "ledger.csv",
}
"""The file of each form, in the run directory."""

FORMATS = tuple(FILES)
DEFAULT_FORMATS = ("json", "html")


def write(run_dir: str | Path, *, formats: Sequence[str] = DEFAULT_FORMATS) -> dict[str, Path]:
    """Write ``report.json`` (always: it is the record), the asked-for forms of it, and a page that is there
    already, into ``run_dir``.

    ``html`` is the page, ``pdf`` the page printed, ``yaml`` a draft for the OpenDP deployments registry;
    ``csv`` holds the rows of the ledger.  Everything is recomputed and verified on the way, so this takes as
    long as ``verify``.  What people filled into the slots of an earlier report or draft is kept.

    Returns:
        the path of each asked-for format.

    Raises:
        UsageError: ``run_dir`` is not a run directory, a format is unknown, or what it needs is missing.
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
    if "pdf" in formats:
        require_weasyprint()  # before the figures, which take seconds
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
    wanted = {"json", *formats}
    if (path / FILES["html"]).exists():
        wanted.add("html")  # a page beside the record must be the record's own
    page = render(report) if wanted & {"html", "pdf"} else ""
    forms: dict[str, Callable[[], str | bytes]] = {
        "json": lambda: json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        "html": lambda: page,
        "pdf": lambda: pdf(page),
        "yaml": lambda: deployment_yaml(report, _earlier(path / FILES["yaml"])),
        "csv": lambda: ledger_csv(findings.rundir.ledger),
    }
    made = {name: forms[name]() for name in FORMATS if name in wanted}  # all of them, before any is written
    written = {name: _replace(path / FILES[name], content) for name, content in made.items()}
    return {name: written[name] for name in formats}


def _earlier(path: Path) -> str | None:
    """What stands in a file, where there is one."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        raise UsageError(
            f"{path.name} cannot be read, and what people wrote into it would be lost",
            hint="mend it, or move it away",
        ) from None


def _keep_slots(report: dict[str, Any], earlier: Path) -> None:
    try:
        known = json.loads(earlier.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if not problems(known):
        carry_over(report, known)


def _replace(path: Path, content: str | bytes) -> Path:
    """Write ``path`` whole or not at all."""
    encoded = content.encode("utf-8") if isinstance(content, str) else content
    replace_file(path, encoded, what="report", mode=USUAL)
    return path

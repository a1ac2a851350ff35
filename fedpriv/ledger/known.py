"""The data sets of a ledger whose records are known, by what their PLAN rows say (ledger spec, 11.4)."""

from __future__ import annotations

from dataclasses import dataclass

from fedpriv.errors import IntegrityError
from fedpriv.ledger.body import Kind
from fedpriv.ledger.ledger import Ledger
from fedpriv.ledger.marks import Marks
from fedpriv.ledger.marks_file import MarksFolder

__all__ = ["Known", "all_known", "named_records", "records_in"]


@dataclass(frozen=True, slots=True)
class Known:
    """A data set of the ledger whose records are known."""

    dataset: str
    name: str
    version: str | None
    marks: Marks


def all_known(ledger: Ledger) -> list[Known]:
    """The data sets whose records are known: those that a PLAN names, or before any run, those announced."""
    folder, found = MarksFolder(ledger.path), []
    for budget in ledger.datasets():
        named = named_records(ledger, budget.dataset)
        version = None
        if named is not None:
            version = None if named.get("version") is None else str(named["version"])
            kept = [folder.read(budget.dataset, str(named["digest"]))]
        elif not ledger.runs(budget.dataset):
            kept = [folder.read(budget.dataset, digest) for digest in folder.digests(budget.dataset)]
        else:
            kept = []  # the owner gave it a name, and its records have no canonical form
        if kept:
            marks = kept[0]
            for more in kept[1:]:
                marks = marks.union(more)
            found.append(Known(budget.dataset, budget.name, version, marks))
    return found


def named_records(ledger: Ledger, dataset: str) -> dict[str, object] | None:
    """What the latest PLAN row that names marks says of them."""
    plans = (row.body for row in reversed(ledger.rows(dataset)) if row.kind == Kind.PLAN)
    return next((named for body in plans if (named := records_in(body)) is not None), None)


def records_in(body: dict[str, object]) -> dict[str, object] | None:
    """``details.records`` of a PLAN row; ``None`` where it has none."""
    details = body.get("details")
    named = details.get("records") if isinstance(details, dict) else None
    if named is None:
        return None
    if not isinstance(named, dict) or not all(isinstance(named.get(key), str) for key in ("digest", "own")):
        raise IntegrityError("A PLAN row names its records in a form that this version does not know.")
    return named

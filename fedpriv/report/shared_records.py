"""Records that have another budget too: whoever is behind one is behind both (ledger spec, 11.5)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedpriv.report.history import History
from fedpriv.report.wording import rounded_up

__all__ = ["SharedRecords", "compared", "shared_in_words", "shared_records"]


@dataclass(frozen=True, slots=True)
class SharedRecords:
    """What the PLAN row says of another data set with some of the records; ``None`` for what it does not say.

    ``budget`` and ``spent`` are its ε when this run was planned.
    """

    name: str
    records: int
    spent: float | None
    budget: float | None


def compared(history: History) -> bool:
    """Whether the records were compared with those of the ledger's other data sets before the run."""
    return isinstance(_records(history).get("own"), str)


def shared_records(history: History) -> tuple[SharedRecords, ...]:
    """The other data sets that the run's PLAN row names."""
    others = _records(history).get("others")
    return tuple(
        SharedRecords(
            name=str(other.get("name", "")),
            records=other["shared"],
            spent=_figure(other.get("spent")),
            budget=_figure(other.get("budget")),
        )
        for other in (others if isinstance(others, list) else ())
        if isinstance(other, dict) and type(other.get("shared")) is int
    )


def shared_in_words(history: History) -> list[str]:
    """Each overlap, and what they come to: ε and δ of all these budgets added (basic composition)."""
    others = shared_records(history)
    if not others:
        return []
    told = [
        f"{other.records:,} of the records are also accounted as the data set “{other.name}”, which had "
        f"spent ε = {rounded_up(other.spent)} of {rounded_up(other.budget)} when this run was planned."
        for other in others
    ]
    own = _figure((history.budget.body if history.budget else {}).get("epsilon"))
    budgets = [own, *(other.budget for other in others)]
    known = [budget for budget in budgets if budget is not None]
    most = sum(known) if len(known) == len(budgets) else None
    several = "both" if len(others) == 1 else "all"
    return [
        *told,
        f"Whoever is in {several} of these data sets is behind each: ε and δ add up, to "
        f"ε = {rounded_up(most)} at most when their budgets are used.",
    ]


def _records(history: History) -> Mapping[str, Any]:
    found = history.plan.details.get("records")
    return found if isinstance(found, dict) else {}


def _figure(text: object) -> float | None:
    """A decimal string of the ledger as a number."""
    try:
        found = float(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found if found is not None and math.isfinite(found) else None

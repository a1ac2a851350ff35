"""What a plan says of clients that are simulated: how many records they have, and who will be missing."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedpriv.federation.planning.absences import Absences
    from fedpriv.federation.workplace import DataSet

__all__ = ["simulated_lines"]

_NAMED = 12
"""Lost rounds that are named one by one."""


def simulated_lines(dataset: DataSet, absences: Absences) -> list[tuple[str, str]]:
    """The clients' sizes, which are private where clients are real, and their absences: label and text."""
    method = absences.config.partition.method
    sizes = sorted(map(len, dataset.shards))
    lines = [
        (
            "partition",
            f"{method}: {len(sizes)} simulated clients with {sizes[0]:,} to {sizes[-1]:,} records, "
            f"the median {statistics.median(sizes):,.10g}",
        )
    ]
    plan = absences.plan
    missing = [len(absences.in_round(round_)) for round_ in range(1, plan.rounds + 1)]
    if not any(missing):
        return lines
    lines.append(
        (
            "absences",
            f"{statistics.fmean(missing):.3g} clients a round give up, at most {max(missing)} "
            "(simulation, from run.seed)",
        )
    )
    lost = absences.lost_rounds()
    if lost:
        named = ", ".join(map(str, lost[:_NAMED])) + (" and more" if len(lost) > _NAMED else "")
        lines.append(
            (
                "LOST ROUNDS",
                f"{len(lost)} of {plan.rounds} ({len(lost) / plan.rounds:.0%}) will have too few clients for "
                f"a sum, which needs {plan.noise.min_survivors}: {named}; what is sent in them is spent",
            )
        )
    return lines

"""What two runs cost together, read from the ledger's rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from fedpriv.errors import IntegrityError
from fedpriv.ledger import Row
from fedpriv.ledger.budget import spent
from fedpriv.ledger.chain import Chain
from fedpriv.report.dataset_life import verified_rows
from fedpriv.report.rundir import RunDirectory
from fedpriv.report.wording import count, rounded_up, scientific

__all__ = ["Together", "together"]


@dataclass(frozen=True, slots=True)
class Together:
    """What a record in the data of both runs loses: ``epsilon`` at ``delta``, ``None`` where none is claimed.

    ``text`` says in a sentence or two how the figure comes about.  ``same_data_set`` is by fingerprint.
    """

    same_data_set: bool
    epsilon: float | None
    delta: float | None
    text: str

    def to_dict(self) -> dict[str, Any]:
        """The four fields."""
        return {
            "same_data_set": self.same_data_set,
            "epsilon": self.epsilon,
            "delta": self.delta,
            "text": self.text,
        }


def together(
    first: tuple[RunDirectory, dict[str, Any]], second: tuple[RunDirectory, dict[str, Any]]
) -> Together:
    """The joint cost of two runs, each a directory and its report.

    On one ledger: what the data set has spent by the ledger's rule, at the later of the two exports.  Where
    the runs do not share a ledger nobody added them up, so the planned ε and the δ are added (basic
    composition), which holds whatever the second run knew of the first.
    """
    (one, report_a), (other, report_b) = first, second
    same = one.ledger.get("dataset") == other.ledger.get("dataset")
    if not (report_a["summary"]["holds"] and report_b["summary"]["holds"]):
        what = "No joint ε is stated, as the promise of at least one of the runs does not hold as it is."
        return Together(same, None, None, what)
    if _units(report_a) != _units(report_b):
        return Together(same, None, None, "No joint ε is stated, as the two runs protect different units.")
    if not same:
        epsilon, delta = _added(report_a, report_b)
        what = (
            "The data sets are different, by their fingerprints. A record that is in one of them only loses "
            f"the ε of that run. Whoever is in both loses at most ε = {rounded_up(epsilon)} at "
            f"δ = {scientific(delta)}, the sums of what was planned; no budget covers both."
        )
        return Together(same, epsilon, delta, what)
    try:
        rows = _longer(verified_rows(one.ledger), verified_rows(other.ledger))
    except IntegrityError as error:
        return Together(same, None, None, f"No joint ε is stated: {error}.")
    if rows is None:
        epsilon, delta = _added(report_a, report_b)
        what = (
            "The same data set, in two ledgers that do not know of each other: neither budget counted both "
            f"runs. Together they cost at most ε = {rounded_up(epsilon)} at δ = {scientific(delta)}, the "
            "sums of what was planned."
        )
        return Together(same, epsilon, delta, what)
    return _of_one_ledger(rows, {one.run["run_id"], other.run["run_id"]})


def _of_one_ledger(rows: tuple[Row, ...], both: set[str]) -> Together:
    figures = spent(Chain.of(rows[0].dataset, rows))
    epsilon = figures.epsilon if math.isfinite(figures.epsilon) else None
    others = sum(run.rounds > 0 and run.run_id not in both for run in figures.runs)
    included = f", with {count(others, 'other run')} on the same data" if others else ""
    what = (
        f"The same data set and one ledger. Both runs together{included} have spent "
        f"ε = {rounded_up(epsilon)} of {figures.budget:g} allowed at δ = {scientific(figures.delta)}, by the "
        f"ledger's rule: {figures.rule}."
    )
    return Together(True, epsilon, figures.delta, what)


def _longer(one: tuple[Row, ...], other: tuple[Row, ...]) -> tuple[Row, ...] | None:
    """The later of two exports of one chain; ``None`` where neither goes on from the other."""
    short, long = sorted((one, other), key=len)
    return long if long[len(short) - 1].hash == short[-1].hash else None


def _units(report: dict[str, Any]) -> tuple[str, str]:
    return report["guarantee"]["unit"], report["guarantee"]["relation"]


def _added(a: dict[str, Any], b: dict[str, Any]) -> tuple[float | None, float]:
    planned = [report["summary"]["epsilon_planned"] for report in (a, b)]
    epsilon = None if None in planned else planned[0] + planned[1]
    return epsilon, a["summary"]["delta"] + b["summary"]["delta"]

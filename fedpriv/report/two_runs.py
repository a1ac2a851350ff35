"""Two runs side by side: what differs in what they promise and did, and what they cost together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from fedpriv.errors import IntegrityError, UsageError
from fedpriv.report.check import Verification
from fedpriv.report.facts import collect
from fedpriv.report.rundir import RunDirectory
from fedpriv.report.together import Together, together
from fedpriv.report.verify import all_checks, examine
from fedpriv.report.wording import adversary, rounded_up, scientific

__all__ = ["Comparison", "Line", "Section", "Side", "compare_runs"]

_Report: TypeAlias = dict[str, Any]
_Kind = Literal["epsilon", "delta", "share", "plain"]

ABSENT = "not stated"

# (section, what a line is about, where it stands in a report, how it is shown)
_LINES: tuple[tuple[str, str, str, _Kind], ...] = (
    ("Run", "started (UTC)", "identity.started", "plain"),
    ("Run", "finished", "summary.finished", "plain"),
    ("Run", "version", "identity.fedpriv_version", "plain"),
    ("Run", "configuration digest", "identity.config_digest", "plain"),
    ("Run", "data set", "identity.dataset.name", "plain"),
    ("Run", "data set fingerprint", "identity.dataset.fingerprint", "plain"),
    ("Run", "records", "identity.dataset.records", "plain"),
    ("Run", "base model", "identity.model.id", "plain"),
    ("Run", "base model digest", "identity.model.digest", "plain"),
    ("Run", "adapter digest", "identity.adapter_digest", "plain"),
    ("Promise", "the promise holds as it is", "summary.holds", "plain"),
    ("Promise", "ε planned", "summary.epsilon_planned", "epsilon"),
    ("Promise", "ε spent", "summary.epsilon_spent", "epsilon"),
    ("Promise", "ε allowed", "summary.epsilon_allowed", "epsilon"),
    ("Promise", "δ", "summary.delta", "delta"),
    ("Promise", "unit", "guarantee.unit", "plain"),
    ("Promise", "neighbouring data sets", "guarantee.relation", "plain"),
    ("Promise", "who adds the noise", "guarantee.trust", "plain"),
    ("Promise", "how updates are summed", "guarantee.aggregator", "plain"),
    ("Promise", "bound on one contribution", "unit.contribution_bound", "plain"),
    ("Promise", "most records of one person", "unit.person.records", "plain"),
    ("Promise", "ε of such a person", "unit.person.epsilon", "epsilon"),
    ("Promise", "ε of somebody at every client", "unit.everywhere.epsilon_planned", "epsilon"),
    ("Mechanism", "event", "mechanism.event.kind", "plain"),
    ("Mechanism", "clipping bound", "mechanism.clip", "plain"),
    ("Mechanism", "noise multiplier", "mechanism.noise_multiplier", "plain"),
    ("Mechanism", "sampling rate", "mechanism.sampling_rate", "plain"),
    ("Mechanism", "expected batch", "mechanism.expected_batch", "plain"),
    ("Mechanism", "rounds planned", "mechanism.rounds", "plain"),
    ("Mechanism", "local steps", "mechanism.local_steps", "plain"),
    ("Mechanism", "work of a client", "mechanism.work", "plain"),
    ("Mechanism", "PEFT method", "identity.peft.method", "plain"),
    ("Mechanism", "rank", "identity.peft.rank", "plain"),
    ("Mechanism", "parameters that each client keeps", "identity.peft.kept_by_clients", "plain"),
    ("Mechanism", "coordinates of a sum", "mechanism.dimension", "plain"),
    ("Mechanism", "sums are rotated", "mechanism.rotated", "plain"),
    ("Mechanism", "coordinates of the method", "mechanism.compression.of", "plain"),
    ("Mechanism", "bits of a number", "mechanism.bits", "plain"),
    ("Mechanism", "randomness", "mechanism.randomness", "plain"),
    ("Accounting", "engine", "accounting.engine", "plain"),
    ("Accounting", "rule of the ledger", "accounting.rule", "plain"),
    ("Accounting", "ε planned, RDP", "accounting.epsilon_rdp_planned", "epsilon"),
    ("Accounting", "ε spent, RDP", "accounting.epsilon_rdp_spent", "epsilon"),
    ("Accounting", "distance from Gaussian noise", "accounting.tv_slack", "delta"),
    ("Accounting", "budget of the data set, ε", "accounting.dataset.budget_epsilon", "epsilon"),
    ("Accounting", "other runs in its ledger", "accounting.dataset.other_runs", "plain"),
    ("Utility", "accuracy", "utility.final", "share"),
    ("Utility", "accuracy of the base model", "utility.base", "share"),
    ("Utility", "majority guess", "utility.majority", "share"),
    ("Utility", "perplexity", "utility.language.perplexity", "plain"),
    ("Utility", "perplexity of the base model", "utility.language.base_perplexity", "plain"),
    ("Drops", "rounds released", "accounting.rounds_released", "plain"),
    ("Drops", "rounds spent", "accounting.rounds_spent", "plain"),
    ("Drops", "clients", "secure_aggregation.clients", "plain"),
    ("Drops", "fewest survivors allowed", "secure_aggregation.min_survivors", "plain"),
    ("Drops", "fewest survivors seen", "secure_aggregation.fewest_survivors", "plain"),
    ("Drops", "colluders covered", "secure_aggregation.max_colluders", "plain"),
    ("Drops", "clients that vanished in a round", "secure_aggregation.drops", "plain"),
    ("Drops", "least noise, as a share of the planned", "secure_aggregation.least_noise_ratio", "plain"),
)
_FORMATS: Mapping[_Kind, Callable[[float], str]] = {
    "epsilon": rounded_up,
    "delta": lambda value: scientific(float(f"{value:.3g}")),
    "share": lambda value: f"{100 * value:.1f}%",
    "plain": lambda value: f"{value:,}" if isinstance(value, int) else f"{value:g}",
}
_ORDER = ("Run", "Promise", "Adversaries", "Mechanism", "Accounting", "Utility", "Assumptions", "Drops")


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that both reports speak of: ``values`` as the reports hold them, first run first."""

    what: str
    values: tuple[object, object]
    kind: _Kind

    @property
    def same(self) -> bool:
        """Whether both say the same; numbers may differ by one part in a thousand million."""
        one, other = self.values
        if isinstance(one, float) and isinstance(other, int | float) and not isinstance(other, bool):
            return math.isclose(one, other, rel_tol=1e-9)
        return type(one) is type(other) and one == other

    @property
    def shown(self) -> tuple[str, str]:
        """Both for a person; an ε is rounded up."""
        return _show(self.values[0], self.kind), _show(self.values[1], self.kind)


@dataclass(frozen=True, slots=True)
class Section:
    """Lines under one title."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two runs: its folder, who it is, and what its verification found wrong."""

    folder: str
    run: str
    name: str
    failures: tuple[str, ...]

    @property
    def verified(self) -> bool:
        """Whether every check passed."""
        return not self.failures


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs: who they are, what they cost together, and every line of the comparison."""

    sides: tuple[Side, Side]
    together: Together
    sections: tuple[Section, ...]

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON holds it; an ε of ``null`` means that no finite bound is claimed."""
        return {
            "format": "fedpriv-comparison/1",
            "runs": [
                {
                    "folder": side.folder,
                    "run": side.run,
                    "name": side.name,
                    "verified": side.verified,
                    "failures": list(side.failures),
                }
                for side in self.sides
            ],
            "together": self.together.to_dict(),
            "sections": [
                {
                    "title": section.title,
                    "lines": [
                        {"what": line.what, "values": list(line.values), "same": line.same}
                        for line in section.lines
                    ],
                }
                for section in self.sections
            ],
        }


def compare_runs(first: str | Path, second: str | Path) -> Comparison:
    """Verify two run directories, make both reports again, and lay them side by side; nothing is written.

    Raises:
        UsageError: one of them is no run directory, or both hold the same run.
        IntegrityError: one of them lacks a file, or its ledger holds nothing to account for.
    """
    (one, report_a, rundir_a), (other, report_b, rundir_b) = _read(Path(first)), _read(Path(second))
    if one.run == other.run:
        raise UsageError(
            f"{one.folder} and {other.folder} hold the same run",
            hint="name the folders of two different runs",
        )
    lines = [
        *_stated(report_a, report_b),
        *_adversaries(report_a, report_b),
        *_assumptions(report_a, report_b),
    ]
    sections = tuple(
        Section(title, tuple(line for section, line in lines if section == title)) for title in _ORDER
    )
    return Comparison((one, other), together((rundir_a, report_a), (rundir_b, report_b)), sections)


def _read(path: Path) -> tuple[Side, _Report, RunDirectory]:
    try:
        rundir = RunDirectory.open(path)
        findings = examine(rundir)
        failures = Verification(tuple(all_checks(findings)), rundir.finished).failures
    except IntegrityError as error:
        raise IntegrityError(f"{path} cannot be compared: {error}", hint=error.hint) from None
    if findings.figures is None:
        raise IntegrityError(
            f"{path} cannot be compared, as there is nothing to account for: {failures[0]}",
            hint=f"`fedpriv verify {path}` lists everything that is wrong",
        )
    checks = [check.to_dict() for check in findings.checks]
    report = collect(rundir, findings.history, findings.figures, checks)
    side = Side(str(path), rundir.run["run_id"], rundir.run["name"], tuple(map(str, failures)))
    return side, report, rundir


def _stated(a: _Report, b: _Report) -> Iterator[tuple[str, Line]]:
    for section, what, path, kind in _LINES:
        values = (_at(a, path), _at(b, path))
        if values != (ABSENT, ABSENT):
            yield section, Line(what, values, kind)


def _adversaries(a: _Report, b: _Report) -> Iterator[tuple[str, Line]]:
    found = [{one["adversary"]: one["epsilon_pld"] for one in report["adversaries"]} for report in (a, b)]
    for name in dict.fromkeys([*found[0], *found[1]]):
        values = (found[0].get(name, ABSENT), found[1].get(name, ABSENT))
        yield "Adversaries", Line(f"ε: {adversary(name)}", values, "epsilon")


def _assumptions(a: _Report, b: _Report) -> Iterator[tuple[str, Line]]:
    found = [{one["assumption"]: one["status"] for one in report["assumptions"]} for report in (a, b)]
    for text in dict.fromkeys([*found[0], *found[1]]):
        values = (found[0].get(text, ABSENT), found[1].get(text, ABSENT))
        yield "Assumptions", Line(text, values, "plain")


def _at(report: Mapping[str, Any], path: str) -> object:
    value: Any = report
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            return ABSENT
        value = value[key]
    return value


def _show(value: object, kind: _Kind) -> str:
    if value is None:
        return "no bound" if kind == "epsilon" else "none"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return _FORMATS[kind](value) if isinstance(value, int | float) else str(value)

"""Clause 4.6: every line of rounds.jsonl against its RELEASE row, and against the noise that it implies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fedpriv import dp
from fedpriv.report.check import Check
from fedpriv.report.checks.agreement import each_fault, near
from fedpriv.report.history import History
from fedpriv.report.rundir import RunDirectory

__all__ = ["round_checks"]


def round_checks(rundir: RunDirectory, history: History, noise: dp.NoisePlan) -> Iterator[Check]:
    """One line for each released round, and each line true; a round without a line is only noted."""
    faults: list[tuple[str, str]] = []
    seen: set[int] = set()
    for number, line in enumerate(rundir.rounds, start=1):
        where, round_ = f"line {number} (round {line['round']})", line["round"]
        row = history.released.get(round_)
        if round_ in seen:
            faults.append((where, "the round stands there twice"))
        elif row is None:
            faults.append((where, "the ledger has no RELEASE row of this round"))
        else:
            faults += ((where, fault) for fault in _line_faults(line, row.name, row.details, noise))
        seen.add(round_)
    faults += _turn_faults(rundir)
    what = f"{len(rundir.rounds)} rounds agree with their RELEASE rows: survivors, digest of the sum, noise"
    yield from each_fault("rounds", "rounds.jsonl", faults, what)
    missing = sorted(history.released.keys() - seen)
    if missing:
        named = ", ".join(map(str, missing))
        what = f"released in the ledger but without a line: round {named}. They count as spent."
        yield Check("rounds", "rounds.jsonl", "note", what)


def _turn_faults(rundir: RunDirectory) -> Iterator[tuple[str, str]]:
    """Clients that take turns are in the rounds of one cohort only, as the price of a round supposes."""
    cohorts = rundir.plan.get("cohorts")
    if not cohorts:
        return
    turn: dict[int, int] = {}
    for number, line in enumerate(rundir.rounds, start=1):
        place = line["round"] % cohorts
        for client in line["survivors"]:
            if turn.setdefault(client, place) != place:
                where = f"line {number} (round {line['round']})"
                yield where, f"client {client} took part out of turn: there are {cohorts} cohorts"


def _line_faults(
    line: dict[str, Any], row: str, details: Mapping[str, Any], noise: dp.NoisePlan
) -> Iterator[str]:
    survivors = line["survivors"]
    if survivors != details.get("survivors"):
        yield f"its survivors {survivors} are not those of {row}: {details.get('survivors')}"
    if line["aggregate_digest"] != details.get("aggregate"):
        yield f"its aggregate_digest is not the digest of the sum in {row}"
    if len(set(survivors)) < noise.min_survivors:
        yield f"{len(set(survivors))} survivors are fewer than the {noise.min_survivors} that the noise needs"
        return
    realised = noise.realised_multiplier(len(set(survivors)))
    for source, value in (("it", line["realised_multiplier"]), (row, details.get("realised_multiplier"))):
        if not near(value, realised):
            yield f"{source} says realised_multiplier = {value}; its survivors give {realised:.6g}"

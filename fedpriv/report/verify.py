"""Verification of a run directory: everything that can be recomputed is, and each disagreement is named.

The ledger's signed rows are the root: they are checked first (:func:`fedpriv.ledger.verify_bundle`), and the
other files are then held against them.  ``protocols/report/spec.md`` lists the checks by number.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from fedpriv import dp
from fedpriv.errors import FedprivError, IntegrityError
from fedpriv.ledger import verify_bundle
from fedpriv.report.audited import audit_checks
from fedpriv.report.check import Check, Verification
from fedpriv.report.compare import differences
from fedpriv.report.encryption import Encryption, hides_updates
from fedpriv.report.facts import collect
from fedpriv.report.figures import Figures, recompute
from fedpriv.report.history import History
from fedpriv.report.html import render
from fedpriv.report.people import people
from fedpriv.report.rundir import RunDirectory
from fedpriv.report.schema import problems

__all__ = ["Findings", "examine", "verify"]

_TOLERANCE = 1e-6
_MOST_DIFFERENCES = 5


@dataclass(frozen=True, slots=True)
class Findings:
    """A run directory, what its ledger says, every ε recomputed, and the checks of all of it but the report.

    ``figures`` is ``None`` where the ledger holds too little to recompute anything.
    """

    rundir: RunDirectory
    history: History
    figures: Figures | None
    checks: tuple[Check, ...]


def verify(run_dir: str | Path) -> Verification:
    """Check a run directory against its ledger: chain, signatures, plan, rounds, every ε, adapter, report.

    Needs no network and no model; takes a few seconds, most of them for ε.

    Raises:
        UsageError: ``run_dir`` is not a run directory.
        IntegrityError: a file in it is missing or unreadable (it is named).
    """
    rundir = RunDirectory.open(run_dir)
    findings = examine(rundir, curve=(rundir.path / "report.json").is_file())
    checks = [*findings.checks, *_report(findings)]
    return Verification(tuple(checks), rundir.finished)


def examine(rundir: RunDirectory, *, curve: bool = True) -> Findings:
    """All checks but those of the report itself, which holds their outcome.

    ``curve`` computes what only a report needs: the tight ε by round and at other δ.
    """
    history = History.of(rundir.ledger, rundir.run["run_id"])
    checks = list(_ledger(rundir, history))
    figures = None
    try:
        noise = _noise_plan(rundir)
        events = _round_events(noise, rundir.plan)
        against = [_event_against(events, rundir.plan, a) for a in rundir.plan["adversaries"]]
        checks += _plan(rundir, history, events, against)
        checks += _rounds(rundir, history, noise)
        figures = recompute(
            history.event,
            planned=history.planned,
            spent=history.spent,
            delta=float(rundir.plan["delta"]),
            against=against,
            curve=curve,
        )
        figures = replace(figures, people=people(rundir, history, full=curve))
        if curve:
            figures = replace(figures, frontier=_frontier(rundir, history))
        checks += _epsilons(rundir, history, figures)
    except FedprivError as error:
        checks.append(Check("ε recomputed", "ledger.json, plan.json", "failed", str(error)))
    checks += _result(rundir, history)
    checks += _adapter(rundir, history)
    checks += audit_checks(rundir, history)
    return Findings(rundir, history, figures, tuple(checks))


def _frontier(rundir: RunDirectory, history: History) -> tuple[dp.FrontierPoint, ...]:
    plan = rundir.plan
    return dp.frontier_around(history.event, history.planned, float(plan["epsilon"]), float(plan["delta"]))


def _ledger(rundir: RunDirectory, history: History) -> Iterator[Check]:
    name = "ledger: chain, signatures, budget"
    try:
        key = bytes.fromhex(rundir.run["server_key"])
    except ValueError:
        yield Check("ledger: signer", "run.json, server_key", "failed", "it is not a key in hexadecimal")
        key = None
    found = verify_bundle(rundir.ledger, signer=key)
    for mismatch in found:
        yield Check(name, f"ledger.json, {mismatch.where}", "failed", mismatch.what)
    if not found:
        what = f"{history.rows} rows: each follows the one before and is signed by the key in run.json"
        yield Check(name, "ledger.json", "ok", what)
    yield _equal(
        "data set",
        "run.json, dataset.fingerprint",
        rundir.run["dataset"]["fingerprint"],
        rundir.ledger.get("dataset"),
        "the ledger is about this data set",
    )


def _noise_plan(rundir: RunDirectory) -> dp.NoisePlan:
    """The plan's noise, rebuilt from its parameters, so that its events are derived and not read."""
    plan = rundir.plan
    return dp.NoisePlan(
        trust=plan["trust"],
        clients=plan["clients"],
        min_survivors=plan["min_survivors"],
        max_colluders=plan["max_colluders"],
        noise_multiplier=float(plan["noise_multiplier"]),
        sensitivity=plan["sensitivity"],
        dimension=plan["dimension"],
        sampling_rate=float(plan["sampling_rate"]),
        levels=tuple(plan.get("levels", ())),
    )


def _round_events(noise: dp.NoisePlan, plan: dict[str, Any]) -> dp.RoundEvents:
    """What a round is: one noisy sum, several noisy steps, or a row of a matrix mechanism."""
    steps = plan["local_steps"] if plan.get("work") == "steps" else 1
    bands = plan.get("bands")
    if type(steps) is not int or not (bands is None or type(bands) is int):
        raise IntegrityError("plan.json: 'local_steps' and 'bands' are whole numbers")
    return dp.RoundEvents(noise, steps=steps, bands=bands)


def _event_against(
    events: dp.RoundEvents, plan: dict[str, Any], adversary: dict[str, Any]
) -> dp.Event | None:
    """The event that an adversary sees; a server from which updates are not hidden sees single ones."""
    who = adversary["adversary"]
    if who == "authority":  # which has the sums, as the server has
        return events.against("server")
    if who not in get_args(dp.Adversary):
        raise IntegrityError(f"plan.json names an adversary that this version does not know: {who!r}")
    name: dp.Adversary = "unmasked" if who == "server" and not hides_updates(plan) else who
    return events.against(name)


def _plan(
    rundir: RunDirectory, history: History, events: dp.RoundEvents, against: list[dp.Event | None]
) -> Iterator[Check]:
    plan, row, noise = rundir.plan, history.plan, events.noise
    same = "plan.json follows from its own parameters and is the one that the ledger committed to"
    faults = []
    if plan["event"] != row.body.get("event"):
        faults.append(("event", f"it is not the event that {row.name} committed to"))
    if plan["event"] != dp.event_to_dict(events.event()):
        faults.append(("event", "it does not follow from the plan's noise, survivors and colluders"))
    if plan["rounds"] != history.planned:
        faults.append(("rounds", f"it says {plan['rounds']}; {row.name} committed to {history.planned}"))
    for key, derived in (
        ("share_variance", noise.share_variance),
        ("server_variance", noise.server_variance),
    ):
        if plan[key] != str(derived):
            faults.append((key, f"it says {plan[key]}; the plan's parameters give {derived}"))
    for position, (adversary, event) in enumerate(zip(plan["adversaries"], against, strict=True)):
        if adversary["event"] != (None if event is None else dp.event_to_dict(event)):
            where = f"adversaries[{position}] ({adversary['adversary']})"
            faults.append((where, "its event does not follow from the plan's parameters"))
    yield from _all("plan", "plan.json", faults, same)
    yield from _committed(rundir, history)


def _committed(rundir: RunDirectory, history: History) -> Iterator[Check]:
    """Digests that the PLAN row holds of files written beside it."""
    details = history.plan.details
    yield _equal(
        "configuration",
        "run.json, config_digest",
        rundir.run["config_digest"],
        details.get("config"),
        f"it is the one in {history.plan.name}",
    )
    for key, file in (("plan_file", "plan.json"), ("config_file", "config.toml")):
        if key in details:
            actual = hashlib.sha256((rundir.path / file).read_bytes()).hexdigest()
            what = f"its SHA-256 is the one in {history.plan.name}"
            yield _equal("committed files", file, actual, details[key], what)


def _rounds(rundir: RunDirectory, history: History, noise: dp.NoisePlan) -> Iterator[Check]:
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
    what = f"{len(rundir.rounds)} rounds agree with their RELEASE rows: survivors, digest of the sum, noise"
    yield from _all("rounds", "rounds.jsonl", faults, what)
    missing = sorted(history.released.keys() - seen)
    if missing:
        named = ", ".join(map(str, missing))
        what = f"released in the ledger but without a line: round {named}. They count as spent."
        yield Check("rounds", "rounds.jsonl", "note", what)


def _line_faults(line: dict[str, Any], row: str, details: Any, noise: dp.NoisePlan) -> Iterator[str]:
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
        if not _near(value, realised):
            yield f"{source} says realised_multiplier = {value}; its survivors give {realised:.6g}"


def _epsilons(rundir: RunDirectory, history: History, figures: Figures) -> Iterator[Check]:
    plan = rundir.plan
    faults = _epsilon_faults(
        ("epsilon_pld", plan["epsilon_pld"], figures.planned_pld),
        ("epsilon_rdp", plan["epsilon_rdp"], figures.planned_rdp),
        *(
            (f"adversaries[{i}] ({a['adversary']}), epsilon_pld", a["epsilon_pld"], epsilon)
            for i, (a, epsilon) in enumerate(zip(plan["adversaries"], figures.adversaries, strict=True))
        ),
        *(
            (key, plan[key], epsilon)
            for key, epsilon in (
                ("epsilon_person", figures.people.person),
                ("epsilon_everywhere", figures.people.everywhere_planned),
            )
            if key in plan  # plans of before there were any have none
        ),
    )
    yield from _all("ε planned", "plan.json", faults, f"recomputed by two accountants: {figures.planned_pld}")
    if figures.planned_pld is None or figures.planned_pld > plan["epsilon"] * (1 + _TOLERANCE):
        what = f"the plan costs ε = {figures.planned_pld}, over the {plan['epsilon']:g} that it allows"
        yield Check("ε planned", "plan.json, epsilon", "failed", what)
    if plan["epsilon"] >= dp.LARGE_EPSILON and not plan.get("allow_large_epsilon", True):
        what = f"it allows ε = {plan['epsilon']:g} without saying that so large a one is meant"
        yield Check("ε planned", "plan.json, allow_large_epsilon", "failed", what)
    encryption = Encryption.of(plan)
    if encryption is not None and figures.planned_pld is not None:
        slack = encryption.derived_slack(figures.planned_pld, plan["rounds"])
        if not math.isclose(encryption.flooding_slack, slack, rel_tol=1e-4):
            what = f"it says {encryption.flooding_slack:g}; the plan's parameters give {slack:g}"
            yield Check("plan", "plan.json, ckks.flooding_slack", "failed", what)
    by_count = {rounds: rdp for rounds, rdp, _ in figures.curve}
    counted = sorted(history.reserved.keys() - history.voided.keys())
    lines = []
    for number, line in enumerate(rundir.rounds, start=1):
        rounds = sum(round_ <= line["round"] for round_ in counted)
        lines.append(
            (f"line {number} (round {line['round']}), epsilon_rdp", line["epsilon_rdp"], by_count.get(rounds))
        )
    what = "recomputed for every line from the rounds reserved and not voided by then"
    yield from _all("ε by round", "rounds.jsonl", _epsilon_faults(*lines), what)


def _epsilon_faults(*figures: tuple[str, Any, float | None]) -> list[tuple[str, str]]:
    return [
        (where, f"it says {stated}; recomputed it is {actual}")
        for where, stated, actual in figures
        if not _near(stated, actual)
    ]


def _result(rundir: RunDirectory, history: History) -> Iterator[Check]:
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
        if not _near(result[key], claims.get(claim))
    ]
    expected = {
        "epsilon_planned": (rundir.plan["epsilon_pld"], "plan.json"),
        "rounds_planned": (rundir.plan["rounds"], "plan.json"),
        "rounds_done": (len(rundir.rounds), "rounds.jsonl"),
    }
    if history.finish is not None and "accuracy" in history.finish.details:
        expected["accuracy"] = (history.finish.details["accuracy"], history.finish.name)
    for key, (value, source) in expected.items():
        if not _near(result[key], value):
            faults.append((key, f"it says {result[key]}; {source} gives {value}"))
    yield from _all(
        "result", "result.json", faults, "its figures are those of the ledger, the plan and the rounds"
    )


def _adapter(rundir: RunDirectory, history: History) -> Iterator[Check]:
    name, folder = "adapter", rundir.path / "adapter"
    if history.finish is None:
        if rundir.finished:
            what = "the run says that it finished; the ledger has no FINISH row"
            yield Check(name, "ledger.json", "failed", what)
        else:
            yield Check(
                name, "adapter", "note", "the run is not finished: there is no digest to hold it against"
            )
        return
    recorded = history.finish.details.get("adapter")
    if rundir.result is not None and rundir.result["adapter_digest"] != recorded:
        what = f"it is not the digest in {history.finish.name}"
        yield Check(name, "result.json, adapter_digest", "failed", what)
    if not folder.is_dir():
        yield Check(
            name, "adapter", "failed", f"the folder is missing; {history.finish.name} holds its digest"
        )
        return
    from fedpriv.peft.artifact import digest_of

    try:
        actual = digest_of(folder)
    except FedprivError as error:
        yield Check(name, "adapter", "failed", str(error))
        return
    yield _equal(name, "adapter", actual, recorded, f"its digest is the one in {history.finish.name}")


def _report(findings: Findings) -> Iterator[Check]:
    """report.json against a report made again; report.html against report.json."""
    path = findings.rundir.path / "report.json"
    if not path.is_file():
        yield Check("report", "report.json", "note", "no report has been written")
        return
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        yield Check("report", "report.json", "failed", f"it is not valid JSON: {error}")
        return
    broken = problems(report)
    yield from _all(
        "report: schema", "report.json", [("", p) for p in broken[:_MOST_DIFFERENCES]], "it is followed"
    )
    if broken or findings.figures is None:
        return
    again = collect(
        findings.rundir, findings.history, findings.figures, [c.to_dict() for c in findings.checks]
    )
    found = differences(report, again, tolerance=_TOLERANCE)
    shown = [(where, what) for where, what in found[:_MOST_DIFFERENCES]]
    if len(found) > len(shown):
        shown.append(("", f"and {len(found) - len(shown)} more differences"))
    yield from _all(
        "report: figures", "report.json", shown, "made again from the run directory, it is the same"
    )
    page = findings.rundir.path / "report.html"
    if page.is_file():
        fresh = page.read_text(encoding="utf-8", errors="replace") == render(report)
        what = "it is what report.json renders to" if fresh else "it is not what report.json renders to"
        yield Check("report: page", "report.html", "ok" if fresh else "failed", what)


def _all(name: str, file: str, faults: list[tuple[str, str]], holds: str) -> Iterator[Check]:
    """One failed check a fault, or one that says what holds."""
    for where, what in faults:
        yield Check(name, f"{file}, {where}" if where else file, "failed", what)
    if not faults:
        yield Check(name, file, "ok", holds)


def _equal(name: str, where: str, stated: object, expected: object, holds: str) -> Check:
    if stated == expected and expected is not None:
        return Check(name, where, "ok", holds)
    return Check(name, where, "failed", f"it is {_brief(stated)}; expected {_brief(expected)}")


def _near(stated: object, actual: object) -> bool:
    if stated is None or actual is None:
        return stated is None and actual is None
    try:
        left, right = float(str(stated)), float(str(actual))
    except ValueError:
        return False
    return abs(left - right) <= _TOLERANCE * max(1.0, abs(right))


def _brief(value: object) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 70 else text[:67] + "…"

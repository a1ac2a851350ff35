"""An audit run: the mechanism of a configuration, with canaries among its units, and nothing kept.

The clients sample, clip, quantise, add noise and sum as they would in a run; the secure sum, its floor of
survivors and the server's steps are the same code.  What is summed is scored and thrown away: nothing is
released to anybody, no model leaves, nothing is written to the ledger, and nothing is spent.

The auditor knows the other records, and which of them were drawn, or the other clients' updates, as the
guarantee allows.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from fedpriv import dp
from fedpriv.audit import (
    CAUTION,
    LEAST_CANARIES,
    LOUDNESS,
    ClaimAudit,
    TradeOff,
    cosine_estimate,
    try_claim,
)
from fedpriv.audit.curves import histogram, roc
from fedpriv.entropy import Entropy
from fedpriv.errors import IntegrityError, UnsafeParameters, UsageError
from fedpriv.federation.auditing.listening import Heard, listen
from fedpriv.federation.auditing.membership import SAMPLE, membership_of
from fedpriv.federation.auditing.server_view import ServerView, server_view, why_no_server_view
from fedpriv.federation.checkpoint import read_json, write_json
from fedpriv.federation.config import Config
from fedpriv.federation.planning.make import make_plan
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.workplace import Workplace, prepare
from fedpriv.ledger.known import records_in

__all__ = [
    "AUDIT",
    "NOTHING_SPENT",
    "ROUNDS",
    "AuditResult",
    "audit_run",
    "check_canaries",
    "judge",
    "write_audit",
]

AUDIT: Final = "audit.json"
"""Name of an audit's result file."""

NOTHING_SPENT: Final = "Nothing was released and nothing was spent: the audit's own sums are thrown away."

ROUNDS: Final = 12
"""How many rounds are audited unless more are asked for; a plan's later rounds do the same as its first."""

_FORMAT: Final = "fedpriv-audit/1"
_AUDITED: Final = {("record", "gradients"): "records", ("client", "update"): "whole updates of clients"}
"""Units and work that can be audited, and what a canary is there."""

_PACKAGES: Final = ("fedpriv", "torch", "numpy", "scipy", "dp-accounting")
_INTERVAL: Final = 1e-3


@dataclass(frozen=True, slots=True)
class AuditResult:
    """The verdict, what the server sees where that was tried, and what ``audit.json`` says."""

    found: ClaimAudit
    seen: ServerView | None
    facts: dict[str, Any]

    @property
    def failed(self) -> bool:
        """Whether the claim was refuted, or masks are not uniform."""
        masks = None if self.seen is None else self.seen.masks
        return self.found.refuted or (masks is not None and not masks.uniform)


def check_canaries(canaries: int, delta: float) -> None:
    """Refuse a number of canaries that no audit can be made with.

    Raises:
        UsageError: fewer than 50, or more than 1 / (2 δ), beyond which the bounds do not hold.
    """
    if canaries < LEAST_CANARIES:
        raise UsageError(
            f"{canaries} canaries can refute next to nothing; an audit needs at least {LEAST_CANARIES}.",
            hint="Leave --canaries out for 1,000.",
        )
    if canaries * delta > 0.5:
        most = int(0.5 / delta)
        raise UsageError(
            f"At delta = {delta:g} no more than {most:,} canaries can be counted.",
            hint=f"Use --canaries {most} or fewer.",
        )


def audit_run(
    config: Config,
    *,
    canaries: int = 1000,
    rounds: int | None = None,
    run_dir: Path | None = None,
    full: bool = False,
    see: bool = True,
    confidence: float = 0.95,
) -> AuditResult:
    """Audit what ``config`` promises, by a run of its mechanism with canaries; writes nothing.

    Args:
        config: the configuration, whose data and model are used.
        canaries: m; about half of them take part.
        rounds: how many of the planned rounds; the claim is then that of so many.  When left out, 12 or as
            many as there are.
        run_dir: folder of the run that is audited: its plan must be the one that ``config`` gives.
        full: all rounds, and all records in the membership test instead of 2,000 of each kind.
        see: whether to try what the server sees of one client, where the plan allows that.
        confidence: of the verdict.

    Raises:
        UsageError: the number of canaries or rounds is out of range, or this kind of run has no audit.
        UnsafeParameters: the plan is not safe to run.
        TooFewParties: a round ended without a sum.
        IntegrityError: the plan in ``run_dir`` is not the configuration's.
    """
    started = time.perf_counter()
    check_canaries(canaries, config.privacy.delta)
    _check_work(config)
    work = prepare(config)
    plan = make_plan(config, work)
    if plan.problems:
        raise UnsafeParameters(plan.problems[0], hint="`fedpriv plan` says what would be safe")
    plan_digest = _plan_digest(work, plan, run_dir)
    audited = rounds if rounds is not None else plan.rounds if full else min(ROUNDS, plan.rounds)
    if not 1 <= audited <= plan.rounds:
        raise UsageError(
            f"{rounds} rounds cannot be audited: the plan has {plan.rounds}.",
            hint=f"Use --rounds with a number from 1 to {plan.rounds}, or leave it out.",
        )
    heard = listen(work, plan, canaries=canaries, rounds=audited, entropy=Entropy())
    found = judge(plan, heard, confidence=confidence)
    unseen = why_no_server_view(work, plan) if see else "it was not asked for"
    seen = None if unseen else server_view(work, plan, entropy=Entropy())
    facts = _facts(config, plan, heard, found) | {
        "plan_digest": plan_digest,
        "membership": _membership(work, plan, run_dir, full),
        "server_view": None if seen is None else seen.to_dict(),
        "server_view_not_made": unseen,
        "seconds": round(time.perf_counter() - started, 1),
    }
    return AuditResult(found, seen, facts)


def judge(plan: Plan, heard: Heard, *, confidence: float = 0.95) -> ClaimAudit:
    """Hold what was heard against what the plan claims for so many rounds: its ε at its δ, and its curve."""
    spent = [(plan.event, len(heard.scores))]
    return try_claim(
        heard.by_name,
        heard.canaries.included,
        claimed=dp.epsilon_pld(spent, plan.delta),
        delta=plan.delta,
        curve=TradeOff.of(lambda epsilon: dp.delta_pld(spent, epsilon, interval=_INTERVAL)),
        confidence=confidence,
    )


def _membership(work: Workplace, plan: Plan, run_dir: Path | None, full: bool) -> dict[str, Any] | None:
    """The membership test as plain JSON values, with what its records were drawn from.

    None where no run is audited, or its unit is a client: (ε, δ) then limits another test.
    """
    if run_dir is None or plan.unit != "record":
        return None
    found = membership_of(work, plan, run_dir, sample=None if full else SAMPLE)
    if found is None:
        return None
    drawn_from = {"members_in_all": len(work.train), "others_in_all": len(work.test)}
    return {**found.to_dict(), **drawn_from, "sample_seed": work.config.run.seed}


def _check_work(config: Config) -> None:
    if (config.unit, config.work) not in _AUDITED or config.cohorts is not None:
        raise UsageError(
            "There is no audit of this kind of run yet: canaries are records in runs of one local step, or "
            "clients; and all clients take part in every round.",
            hint="Audit a configuration with unit = client, or with unit = record and local.steps = 1.",
        )


def _plan_digest(work: Workplace, plan: Plan, run_dir: Path | None) -> str:
    """SHA-256 of the plan as a run's ``plan.json`` holds it."""
    made = json.dumps(plan.to_dict(), indent=2, ensure_ascii=False) + "\n"
    if run_dir is None:
        return hashlib.sha256(made.encode()).hexdigest()
    facts = read_json(run_dir / "run.json")
    same = facts["config_digest"] == work.config.digest() and facts["dataset"]["fingerprint"] == plan.dataset
    if not same or _other_records(work, str(facts["run_id"]), run_dir):
        raise IntegrityError(
            f"The configuration or the data are not those of the run in {run_dir}.",
            hint="Audit the run with the data that it was made with; --base says where paths start from.",
        )
    if json.dumps(read_json(run_dir / "plan.json")) != json.dumps(json.loads(made)):
        raise IntegrityError(
            f"The configuration, the data and the model do not give the plan in {run_dir}.",
            hint="Audit the run with the model and the version of fedpriv that it was made with.",
        )
    return hashlib.sha256((run_dir / "plan.json").read_bytes()).hexdigest()


def _other_records(work: Workplace, run_id: str, run_dir: Path) -> bool:
    """Whether the run was planned on other records of the same data set, as its chain names them."""
    for row in read_json(run_dir / "ledger.json")["rows"]:
        if row["kind"] == "PLAN" and row["body"]["run"] == run_id:
            named = records_in(row["body"])
            return named is not None and named["own"] != work.dataset.recognised.marks.digest().hex()
    return True


def _facts(config: Config, plan: Plan, heard: Heard, found: ClaimAudit) -> dict[str, Any]:
    inside, total = heard.canaries.included, heard.by_name["total"]
    included = int(inside.sum())
    rounds, dimension = len(heard.scores), heard.canaries.dimension
    refutation = f"the claim is refuted at {found.confidence:.0%} confidence"
    return {
        "format": _FORMAT,
        "verdict": "FAIL" if found.refuted else "PASS",
        "says": refutation if found.refuted else "the audit found no contradiction",
        "caution": CAUTION,
        "spent": NOTHING_SPENT,
        "config_digest": config.digest(),
        "method": f"One run with canaries that are {_AUDITED[plan.unit, plan.work]} (arXiv 2305.08846), held "
        "against the plan's trade-off curve (arXiv 2410.22235); both bounds and all tries share the "
        "confidence (Bonferroni)",
        "canaries": found.canaries,
        "canaries_in": included,
        "dimension": dimension,
        "loudness": LOUDNESS,
        "rounds": rounds,
        "rounds_planned": plan.rounds,
        "score": found.score,
        "guesses": found.guesses,
        "right": found.right,
        "confidence": found.confidence,
        "claimed_epsilon": found.claimed,
        "delta": found.delta,
        "chance_under_claim": found.chance,
        "epsilon_lower_bound": found.any_mechanism.epsilon,
        "epsilon_if_gaussian": found.gaussian.epsilon,
        "epsilon_one_shot_estimate": cosine_estimate(heard.cosines, dimension, found.delta)
        if included > 1
        else None,
        "could_have_failed": found.refutable,
        "canary_roc": roc(total[inside], total[~inside], confidence=found.confidence),
        "canary_scores": histogram(total, inside),
        "versions": {name: metadata.version(name) for name in _PACKAGES},
    }


def write_audit(result: AuditResult, folder: Path) -> Path:
    """Write ``audit.json`` into ``folder``, which is made where it is missing; returns its path."""
    write_json(folder / AUDIT, result.facts)
    return folder / AUDIT

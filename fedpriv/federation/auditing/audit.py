"""An audit run: the mechanism of a configuration, with canaries among its records, and nothing kept.

The clients sample, clip, quantise, add noise and sum as they would in a run; the secure sum, its floor of
survivors and the server's steps are the same code.  What is summed is scored and thrown away: nothing is
released to anybody, no model leaves, the ledger is not opened, and nothing is spent.

The auditor knows the other records, and which of them were drawn, as the guarantee allows.
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
from fedpriv.entropy import Entropy
from fedpriv.errors import IntegrityError, UnsafeParameters, UsageError
from fedpriv.federation.auditing.listening import Heard, listen
from fedpriv.federation.auditing.membership import membership_of
from fedpriv.federation.checkpoint import read_json, write_json
from fedpriv.federation.config import Config
from fedpriv.federation.planning.make import make_plan
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.workplace import prepare

__all__ = [
    "AUDIT",
    "NOTHING_SPENT",
    "AuditResult",
    "audit_run",
    "check_canaries",
    "judge",
    "write_audit",
]

AUDIT: Final = "audit.json"
"""Name of an audit's result file."""

NOTHING_SPENT: Final = "Nothing was released and nothing was spent: the audit's own sums are thrown away."

_FORMAT: Final = "fedpriv-audit/1"
_PACKAGES: Final = ("fedpriv", "torch", "numpy", "scipy", "dp-accounting")
_INTERVAL: Final = 1e-3


@dataclass(frozen=True, slots=True)
class AuditResult:
    """The verdict, and what ``audit.json`` says."""

    found: ClaimAudit
    facts: dict[str, Any]

    @property
    def failed(self) -> bool:
        """Whether the claim was refuted."""
        return self.found.refuted


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
    confidence: float = 0.95,
) -> AuditResult:
    """Audit what ``config`` promises, by a run of its mechanism with canaries; writes nothing.

    Args:
        config: the configuration, whose data and model are used.
        canaries: m; about half of them take part.
        rounds: how many of the planned rounds; the claim is then that of so many.  All, when left out.
        run_dir: folder of the run that is audited: its plan must be the one that ``config`` gives.
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
    plan_digest = _plan_digest(config, plan, run_dir)
    if not 1 <= (rounds or plan.rounds) <= plan.rounds:
        raise UsageError(
            f"{rounds} rounds cannot be audited: the plan has {plan.rounds}.",
            hint=f"Use --rounds with a number from 1 to {plan.rounds}, or leave it out.",
        )
    heard = listen(work, plan, canaries=canaries, rounds=rounds or plan.rounds, entropy=Entropy())
    found = judge(plan, heard, confidence=confidence)
    attacked = None if run_dir is None else membership_of(work, plan, run_dir)
    facts = _facts(config, plan, heard, found) | {
        "plan_digest": plan_digest,
        "membership": None if attacked is None else attacked.to_dict(),
        "seconds": round(time.perf_counter() - started, 1),
    }
    return AuditResult(found, facts)


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


def _check_work(config: Config) -> None:
    if config.work != "gradients" or config.privacy.bands is not None:
        raise UsageError(
            "There is no audit of this kind of run yet: canaries are records, in runs of one local step.",
            hint="Audit a configuration with unit = record and local.steps = 1.",
        )


def _plan_digest(config: Config, plan: Plan, run_dir: Path | None) -> str:
    """SHA-256 of the plan as a run's ``plan.json`` holds it."""
    made = json.dumps(plan.to_dict(), indent=2, ensure_ascii=False) + "\n"
    if run_dir is None:
        return hashlib.sha256(made.encode()).hexdigest()
    facts = read_json(run_dir / "run.json")
    if facts["config_digest"] != config.digest() or facts["dataset"]["fingerprint"] != plan.dataset:
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


def _facts(config: Config, plan: Plan, heard: Heard, found: ClaimAudit) -> dict[str, Any]:
    included = int(heard.canaries.included.sum())
    rounds, dimension = len(heard.scores), heard.canaries.dimension
    refutation = f"the claim is refuted at {found.confidence:.0%} confidence"
    return {
        "format": _FORMAT,
        "verdict": "FAIL" if found.refuted else "PASS",
        "says": refutation if found.refuted else "the audit found no contradiction",
        "caution": CAUTION,
        "spent": NOTHING_SPENT,
        "config_digest": config.digest(),
        "method": "One run with canaries (arXiv 2305.08846), held against the plan's trade-off curve "
        "(arXiv 2410.22235); both bounds and all tries share the confidence (Bonferroni)",
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
        "versions": {name: metadata.version(name) for name in _PACKAGES},
    }


def write_audit(result: AuditResult, folder: Path) -> Path:
    """Write ``audit.json`` into ``folder``, which is made where it is missing; returns its path."""
    write_json(folder / AUDIT, result.facts)
    return folder / AUDIT

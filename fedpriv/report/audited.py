"""Section 11: what an audit of this run found, from ``audit.json`` where there is one."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from typing import Any, Final

from fedpriv import dp
from fedpriv.audit import CAUTION
from fedpriv.errors import FedprivError, IntegrityError
from fedpriv.report.check import Check
from fedpriv.report.history import History
from fedpriv.report.rundir import RunDirectory

__all__ = ["AUDIT", "audit_checks", "empirical_audit", "read_audit"]

AUDIT: Final = "audit.json"

_FORMAT: Final = "fedpriv-audit/1"
_TOLERANCE: Final = 1e-6
_NOT_RUN: Final = (
    "Not run. No attack was tried against this model. The figures above are bounds that follow from the "
    "mechanism, not measurements, and a future attack that fails would not be proof of privacy."
)
_NUMBER: Final = (int, float)
_SHAPE: Final[dict[str, type | tuple[type, ...]]] = {
    "verdict": str,
    "method": str,
    "config_digest": str,
    "plan_digest": str,
    "canaries": int,
    "canaries_in": int,
    "dimension": int,
    "rounds": int,
    "rounds_planned": int,
    "guesses": int,
    "right": int,
    "confidence": _NUMBER,
    "claimed_epsilon": _NUMBER,
    "delta": _NUMBER,
    "chance_under_claim": _NUMBER,
    "epsilon_lower_bound": _NUMBER,
    "epsilon_if_gaussian": _NUMBER,
    "epsilon_one_shot_estimate": (int, float, type(None)),
    "could_have_failed": bool,
    "membership": (dict, type(None)),
    "versions": dict,
    "seconds": _NUMBER,
}
_SHOWN: Final = tuple(key for key in _SHAPE if key not in {"config_digest", "plan_digest"})


def empirical_audit(rundir: RunDirectory) -> dict[str, Any]:
    """The section: that there was no audit, or its figures, verdict and caution."""
    try:
        found = read_audit(rundir)
    except IntegrityError as error:  # a failed check says it as well
        return {"run": False, "text": f"An audit's file is there and is not one that can be shown: {error}."}
    if found is None:
        return {"run": False, "text": _NOT_RUN}
    verdict = (
        f"FAIL: the claim is refuted at {float(found['confidence']):.0%} confidence."
        if found["verdict"] == "FAIL"
        else "PASS: the audit found no contradiction."
    )
    if not found["could_have_failed"]:
        verdict += " With so few canaries no outcome could have been one."
    text = (
        f"{verdict} {CAUTION} The file is not signed: whoever ran the audit is believed, or it is run again."
    )
    return {"run": True, "text": text, "audit": {key: found[key] for key in _SHOWN}}


def audit_checks(rundir: RunDirectory, history: History) -> Iterator[Check]:
    """Whether ``audit.json`` is of this run, says what its own figures say, and found no contradiction."""
    try:
        found = read_audit(rundir)
    except IntegrityError as error:
        yield Check("audit", AUDIT, "failed", str(error))
        return
    if found is None:
        return
    faults = list(_faults(rundir, history, found))
    for where, what in faults:
        yield Check("audit", f"{AUDIT}, {where}", "failed", what)
    if not faults:
        yield Check("audit", AUDIT, "ok", "it is of this run's configuration and plan, and of its claim")
    if found["verdict"] == "FAIL":
        yield Check("audit", f"{AUDIT}, verdict", "failed", "the audit refuted what the run claims")


def _faults(rundir: RunDirectory, history: History, found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if found["config_digest"] != rundir.run["config_digest"]:
        yield "config_digest", "it is the digest of another configuration than the one in run.json"
    if found["plan_digest"] != hashlib.sha256((rundir.path / "plan.json").read_bytes()).hexdigest():
        yield "plan_digest", "it is not the SHA-256 of plan.json"
    if found["delta"] != rundir.plan["delta"]:
        yield "delta", f"it says {found['delta']:g}; plan.json says {rundir.plan['delta']:g}"
    if found["rounds_planned"] != rundir.plan["rounds"] or not 1 <= found["rounds"] <= rundir.plan["rounds"]:
        yield "rounds", f"they are not some of the {rundir.plan['rounds']} rounds in plan.json"
    elif found["delta"] == rundir.plan["delta"]:
        try:
            claimed = dp.epsilon_pld([(history.event, found["rounds"])], float(found["delta"]))
        except FedprivError as error:
            yield "claimed_epsilon", f"it cannot be recomputed: {error}"
            return
        if not math.isclose(found["claimed_epsilon"], claimed, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
            yield "claimed_epsilon", f"it says {found['claimed_epsilon']}; recomputed it is {claimed}"
    refuted = (
        found["chance_under_claim"] <= 1.0 - found["confidence"]
        or found["epsilon_lower_bound"] > found["claimed_epsilon"]
    )
    if found["verdict"] != ("FAIL" if refuted else "PASS"):
        yield "verdict", f"it says {found['verdict']!r}, which does not follow from its own figures"


def read_audit(rundir: RunDirectory) -> dict[str, Any] | None:
    """The result of an audit, checked for shape; None where there is none.

    Raises:
        IntegrityError: the file is not one.
    """
    path = rundir.path / AUDIT
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{AUDIT} is not valid JSON: {error}") from None
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise IntegrityError(f"{AUDIT} is not the result of an audit in the format {_FORMAT}")
    for key, kinds in _SHAPE.items():
        value = found.get(key)
        if (
            key not in found
            or not isinstance(value, kinds)
            or (isinstance(value, bool) and kinds is not bool)
        ):
            raise IntegrityError(f"{AUDIT}: {key!r} is missing or has the wrong type")
    if found["verdict"] not in ("PASS", "FAIL"):
        raise IntegrityError(f"{AUDIT}: 'verdict' is neither PASS nor FAIL")
    return found


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")

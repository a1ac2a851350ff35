"""Section 11: what an audit of this run found, from ``audit.json`` where there is one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any, Final

from fedpriv import dp
from fedpriv.audit import CAUTION
from fedpriv.crypto.strict_json import parse
from fedpriv.errors import DecodeError, FedprivError, IntegrityError
from fedpriv.report.check import Check
from fedpriv.report.history import History
from fedpriv.report.rundir import RunDirectory
from fedpriv.report.schema import load_schema

__all__ = ["AUDIT", "audit_checks", "empirical_audit", "read_audit"]

AUDIT: Final = "audit.json"

_FORMAT: Final = "fedpriv-audit/1"
_TOLERANCE: Final = 1e-6
_NOT_RUN: Final = (
    "Not run. No attack was tried against this model. The figures above are bounds that follow from the "
    "mechanism, not measurements, and a future attack that fails would not be proof of privacy."
)


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
    return {"run": True, "text": text, "audit": _shown(found)}


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
    masks = (found["server_view"] or {}).get("masks")
    if masks is not None and masks["p_value"] < masks["error_rate"]:
        what = "what the server received of a client is not uniform: its masks do not hide it"
        yield Check("audit", f"{AUDIT}, server_view", "failed", what)


def _faults(rundir: RunDirectory, history: History, found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if found["config_digest"] != rundir.run["config_digest"]:
        yield "config_digest", "it is the digest of another configuration than the one in run.json"
    if found["plan_digest"] != hashlib.sha256(rundir.files["plan.json"]).hexdigest():
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
    from jsonschema import Draft202012Validator

    text = rundir.files.get(AUDIT)
    if text is None:
        return None
    try:
        found = parse(text)
    except DecodeError as error:
        raise IntegrityError(f"{AUDIT} is not valid JSON: {error}") from None
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise IntegrityError(f"{AUDIT} is not the result of an audit in the format {_FORMAT}")
    for key in ("config_digest", "plan_digest"):
        if not isinstance(found.get(key), str):
            raise IntegrityError(f"{AUDIT}: {key!r} is missing or has the wrong type")
    fault = next(Draft202012Validator(_schema()).iter_errors(_shown(found)), None)
    if fault is not None:
        raise IntegrityError(f"{AUDIT}: {fault.json_path.removeprefix('$.')}: {fault.message[:200]}")
    return found


def _schema() -> dict[str, Any]:
    """What a report shows of an audit."""
    section: dict[str, Any] = load_schema()["properties"]["empirical_audit"]["properties"]["audit"]
    return section


def _shown(found: dict[str, Any]) -> dict[str, Any]:
    return {key: found[key] for key in _schema()["properties"] if key in found}

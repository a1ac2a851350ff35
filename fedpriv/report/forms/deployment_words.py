"""The longer texts of a registry record, each from one part of the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedpriv.report.wording import adversary, count, rounded_up, scientific, sentence

__all__ = ["actors", "composition", "epsilon_details", "mechanisms", "notes"]


def epsilon_details(report: Mapping[str, Any]) -> str:
    """What was planned and spent, against whom it holds, and what a person behind several units has."""
    summary, unit = report["summary"], report["unit"]
    if not summary["holds"]:
        return "No ε is stated: the guarantee of this run does not hold as it is. " + " ".join(
            f"{warning['title']}." for warning in report["warnings"] if warning["level"] == "danger"
        )
    delta = scientific(summary["delta"])
    lines = [
        f"Planned for {count(summary['rounds_planned'], 'round')}: "
        f"ε = {rounded_up(summary['epsilon_planned'])}; spent in {count(summary['rounds_spent'], 'round')}: "
        f"ε = {rounded_up(summary['epsilon_spent'])}; δ = {delta}. Every ε is rounded up.",
        *(f"{one['who']}: ε = {rounded_up(one['epsilon'])}." for one in summary["against"]),
        *(
            f"{count(group['size'], unit['unit'])} of one person: ε = {rounded_up(group['epsilon'])}."
            for group in unit["group"]
            if group["epsilon"] is not None
        ),
    ]
    return "\n".join(f"- {line}" for line in lines)


def actors(report: Mapping[str, Any]) -> str:
    """Each adversary of the report with its ε, and the assumptions that nothing in the run shows."""
    promised = report["summary"]["holds"]
    lines = [
        f"{adversary(one['adversary'])}: {sentence(one['description'])}"
        + (f" ε: {rounded_up(one['epsilon_pld'])}." if promised else "")
        for one in report["adversaries"]
    ]
    lines += [
        f"Assumption ({one['status']}): {one['assumption']} {one['evidence']}"
        for one in report["assumptions"]
        if one["status"] != "holds"
    ]
    return "\n".join(f"- {line}" for line in lines)


def composition(report: Mapping[str, Any]) -> str:
    """How the rounds add up, and what else was spent on the same data."""
    accounting = report["accounting"]
    others = accounting["dataset"]
    return (
        f"The rounds are composed by {accounting['engine']}. The ledger admitted this run by the rule "
        f'"{accounting["rule"]}". On the same data, {count(others["other_runs"], "other run")} spent '
        f"{count(others['other_rounds_spent'], 'round')} from the same budget"
        + (
            f" of ε = {others['budget_epsilon']:g} at δ = {scientific(others['budget_delta'])}."
            if others["budget_epsilon"] is not None and others["budget_delta"] is not None
            else "."
        )
    )


def mechanisms(report: Mapping[str, Any]) -> str:
    """The mechanism as implemented, and what stands against the usual faults of implementations."""
    mechanism, aggregation, identity = report["mechanism"], report["secure_aggregation"], report["identity"]
    rate = mechanism["sampling_rate"]
    lines = [
        f"Noisy sums over {mechanism['dimension']:,} parameters (event {mechanism['event']['kind']}).",
        f"The contribution of each {report['unit']['unit']} is clipped to {mechanism['clip']:g} in Euclidean "
        f"norm; noise multiplier {mechanism['noise_multiplier']:g}, sampling rate {rate:.6g}, "
        f"{count(mechanism['rounds'], 'round')}.",
        f"Implemented by fedpriv {identity['fedpriv_version']} with "
        + ", ".join(f"{name} {version}" for name, version in sorted(identity["versions"].items()))
        + ".",
        f"Secure aggregation: {aggregation['protocol']}.",
        f"Floating point: sums and noise are integers of {mechanism['bits']} bits; nothing is rounded after "
        "the noise is added.",
        f"Randomness: {mechanism['randomness']}.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def notes(report: Mapping[str, Any]) -> str:
    """What must be known first, the digests that tie the record to the run, and how to check it."""
    evidence, identity = report["evidence"], report["identity"]
    failed = sum(check["status"] == "failed" for check in evidence["checks"])
    lines = [
        *(f"{warning['title']}. {warning['text']}" for warning in report["warnings"]),
        f"Verification: {count(failed, 'check')} failed."
        if failed
        else "Verification: every check passed when this was written.",
        f"Check it again with `{evidence['command']}`.",
        f"Run {identity['run_id']}; data set {identity['dataset']['fingerprint']}.",
        f"Head of the ledger: {evidence['ledger_head']}.",
        f"SHA-256 of the adapter: {evidence['adapter_digest'] or 'none, the run is not finished'}.",
    ]
    return "\n".join(f"- {line}" for line in lines)

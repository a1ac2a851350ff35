"""The facts of a run as one JSON value: the fifteen sections of the report, recomputed from the ledger.

The value is a function of the run directory alone (no clock, no machine), so that whoever holds the directory
can make it again and compare.  ``protocols/report/report.schema.json`` says what stands where.
"""

from __future__ import annotations

from typing import Any

from fedpriv.errors import IntegrityError
from fedpriv.report.accesses import accesses
from fedpriv.report.asked_for import asked_for
from fedpriv.report.assumptions import assumptions, attestations
from fedpriv.report.audited import empirical_audit
from fedpriv.report.claims import summary, warnings
from fedpriv.report.crosswalk import crosswalk
from fedpriv.report.encryption import Encryption
from fedpriv.report.figures import FALSE_POSITIVE_RATES, Figures, advantage, highest_tpr
from fedpriv.report.history import History
from fedpriv.report.language import language, metric_of
from fedpriv.report.rundir import RunDirectory
from fedpriv.report.wording import rounded_up, scientific

__all__ = ["REPORT_FORMAT", "collect"]

REPORT_FORMAT = "fedpriv-report/1"

_PROTOCOLS = {
    "masked": "pairwise masks with Shamir recovery (protocols/secagg/spec.md)",
    "ckks": "CKKS encryption; {key} (protocols/ckks/spec.md)",
    "plain": "none: updates reach the server in the clear",
}


def collect(
    rundir: RunDirectory, history: History, figures: Figures, checks: list[dict[str, str]]
) -> dict[str, Any]:
    """The report of ``rundir``: ``checks`` are the findings of the verification that came before it."""
    failures = sum(check["status"] == "failed" for check in checks)
    open_points = assumptions(rundir, history)
    return {
        "format": REPORT_FORMAT,
        "warnings": warnings(rundir, history, failures),
        "summary": summary(rundir, history, figures, open_points, failures),
        "identity": _identity(rundir),
        "guarantee": _guarantee(rundir),
        "adversaries": _adversaries(rundir, figures),
        "unit": _unit(rundir, figures),
        "mechanism": _mechanism(rundir),
        "accounting": _accounting(rundir, history, figures),
        "assumptions": open_points,
        "secure_aggregation": _secure_aggregation(rundir),
        "accesses_not_accounted": _accesses(rundir, history),
        "operational_risk": _operational_risk(rundir, figures),
        "empirical_audit": empirical_audit(rundir),
        "utility": _utility(rundir),
        "attestations": attestations(rundir),
        "crosswalk": _crosswalk(rundir, history, figures),
        "evidence": _evidence(rundir, history, checks),
        "rounds": [_round(r, moving="adaptive_clip" in _local_work(rundir.plan)) for r in rundir.rounds],
    }


def _identity(rundir: RunDirectory) -> dict[str, Any]:
    run = rundir.run
    return {
        "run_id": run["run_id"],
        "name": run["name"],
        "fedpriv_version": run["fedpriv_version"],
        "started": run["started"],
        "finished": run["finished"],
        "engine": run.get("engine"),
        "config_digest": run["config_digest"],
        "dataset": {
            "name": run["dataset"]["name"],
            "fingerprint": run["dataset"]["fingerprint"],
            "records": run["dataset"]["records_declared"],
            "label_names": [str(name) for name in run["dataset"]["label_names"]],
            "left_out": {str(k): str(v) for k, v in run["dataset"]["left_out"].items()},
        },
        "model": {
            "id": str(run["model"].get("id", "")),
            "digest": str(run["model"].get("digest", "")),
            "pooling": run["model"].get("pooling"),
        },
        "peft": {
            "method": str(run["peft"].get("method", "")),
            "rank": run["peft"].get("rank"),
            "alpha": run["peft"].get("alpha"),
            "parameters": run["peft"].get("parameters"),
            "manifest_digest": str(run["peft"].get("manifest_digest", "")),
            **{key: run["peft"][key] for key in ("kept_by_clients",) if key in run["peft"]},
        },
        "adapter_digest": rundir.result["adapter_digest"] if rundir.result else None,
        "versions": {str(k): str(v) for k, v in run["versions"].items()},
        "server_key": run["server_key"],
        "roster": {str(k): str(v) for k, v in run["roster"].items()},
    }


def _guarantee(rundir: RunDirectory) -> dict[str, Any]:
    plan = rundir.plan
    return {
        "statement": plan["guarantee"],
        "epsilon": float(plan["epsilon"]),
        "delta": float(plan["delta"]),
        "unit": plan["unit"],
        "relation": plan["relation"],
        "trust": plan["trust"],
        "aggregator": plan["aggregator"],
        "releases": [
            "the aggregate of every round, and so every intermediate model",
            "the adapter at the end of the run",
            "anything computed from these without going back to the records",
        ],
    }


def _adversaries(rundir: RunDirectory, figures: Figures) -> list[dict[str, Any]]:
    delta, rows = float(rundir.plan["delta"]), []
    seen = zip(rundir.plan["adversaries"], figures.adversaries, figures.against, strict=True)
    for adversary, epsilon, curve in seen:
        bounds = [(epsilon, delta), *curve] if epsilon is not None else []
        rows.append(
            {
                "adversary": adversary["adversary"],
                "description": adversary["description"],
                "epsilon_pld": epsilon,
                "delta": delta if epsilon is not None else None,
                "tpr_at_one_percent": highest_tpr(bounds, 0.01),
                "event": adversary["event"],
            }
        )
    return rows


def _unit(rundir: RunDirectory, figures: Figures) -> dict[str, Any]:
    plan, data, people = rundir.plan, rundir.run["dataset"], figures.people
    delta, records = float(plan["delta"]), int(plan.get("person_records", 1))
    unknown = plan.get("disjointness", "unknown") == "unknown"
    return {
        "unit": plan["unit"],
        "relation": plan["relation"],
        "contribution_bound": float(plan["clip"]),
        "sensitivity": plan["sensitivity"],
        "group": [{"size": size, "epsilon": epsilon, "delta": delta} for size, epsilon in people.groups],
        "person": {"records": records, "epsilon": people.person, "delta": delta} if records > 1 else None,
        "disjointness": data["disjointness"],
        "people_apart": "unknown" if unknown else "asserted",
        "everywhere": {
            "clients": len(people.clients),
            "epsilon_planned": people.everywhere_planned,
            "epsilon_spent": people.everywhere_spent,
            "delta": delta,
        }
        if plan["trust"] == "local" and unknown
        else None,
        "clients": [
            {"client": one.client, "rounds": one.rounds, "epsilon": one.epsilon} for one in people.clients
        ],
    }


def _mechanism(rundir: RunDirectory) -> dict[str, Any]:
    plan, seed = rundir.plan, rundir.run["insecure_seed"]
    return {
        "event": plan["event"],
        "clip": float(plan["clip"]),
        "noise_multiplier": float(plan["noise_multiplier"]),
        "sampling_rate": float(plan["sampling_rate"]),
        "expected_batch": float(plan["expected_batch"]),
        "rounds": plan["rounds"],
        "local_steps": int(plan.get("local_steps", 1) or 0),
        **_local_work(plan),
        **_sent(plan),
        "dimension": plan["dimension"],
        "bits": plan["bits"],
        "scale_log2": plan["scale_log2"],
        "sensitivity": plan["sensitivity"],
        "client_bound": str(plan["client_bound"]),
        "share_variance": plan["share_variance"],
        "server_variance": plan["server_variance"],
        "randomness": "AES-256-CTR keyed from a KNOWN seed: not secret"
        if seed is not None
        else "AES-256-CTR, keyed from the operating system's generator",
        "insecure_seed": seed,
        "nonfinite_records": (rundir.result or {}).get("records_dropped_nonfinite"),
    }


def _local_work(plan: dict[str, Any]) -> dict[str, Any]:
    """What a client does in a round, where the plan says more than that it takes one step."""
    work, adaptive = plan.get("work", "gradients"), plan.get("adaptive_clip")
    found: dict[str, Any] = {} if work == "gradients" else {"work": str(work)}
    if plan.get("local_epochs"):
        found["local_epochs"] = int(plan["local_epochs"])
    if isinstance(adaptive, dict):
        found["adaptive_clip"] = {
            "initial": float(adaptive["initial"]),
            "quantile": float(adaptive["quantile"]),
            "learning_rate": float(adaptive["learning_rate"]),
            "bit_units": int(adaptive["bit_units"]),
        }
    return found


def _sent(plan: dict[str, Any]) -> dict[str, Any]:
    """Which coordinates a sum has, and how they are turned, where the plan says more than all and not."""
    found: dict[str, Any] = {"rotated": True} if plan.get("rotated") else {}
    if isinstance(sent := plan.get("compression"), dict):
        bytes_ = None if sent["bytes"] is None else int(sent["bytes"])
        found["compression"] = {
            "coordinates": int(sent["coordinates"]),
            "of": int(sent["of"]),
            "bytes": bytes_,
        }
    return found


def _accounting(rundir: RunDirectory, history: History, figures: Figures) -> dict[str, Any]:
    others = sum(spent for _, spent in history.others)
    delta = float(rundir.plan["delta"])
    budget = history.budget.body if history.budget else {}
    return {
        "engine": "dp-accounting: privacy loss distributions (tight) and Rényi DP (running filter)",
        "relation": rundir.plan["relation"],
        "delta": delta,
        "tv_slack": float(rundir.plan["tv_slack"]),
        "epsilon_allowed": float(rundir.plan["epsilon"]),
        "large_epsilon_allowed": bool(rundir.plan.get("allow_large_epsilon", False)),
        "epsilon_pld_planned": figures.planned_pld,
        "epsilon_rdp_planned": figures.planned_rdp,
        "epsilon_pld_spent": figures.spent_pld,
        "epsilon_rdp_spent": figures.spent_rdp,
        "epsilon_pld_realised": figures.realised,
        "rounds_spent": history.spent,
        "rounds_planned": history.planned,
        "rounds_released": len(history.released),
        "rule": str(history.plan.body.get("rule", "")),
        "by_round": [
            {"rounds": rounds, "epsilon_rdp": rdp, "epsilon_pld": pld} for rounds, rdp, pld in figures.curve
        ],
        "by_delta": [{"delta": d, "epsilon_pld": e} for d, e in figures.by_delta],
        "trade_off": [{"epsilon": e, "delta": d} for e, d in figures.trade_off],
        "frontier": [point.to_dict() for point in figures.frontier],
        "dataset": {
            "other_runs": len(history.others),
            "other_rounds_spent": others,
            "epsilon_all_runs": history.epsilon,
            "budget_epsilon": _decimal(budget.get("epsilon")),
            "budget_delta": _decimal(budget.get("delta")),
        },
    }


def _decimal(text: object) -> float | None:
    if text is None:
        return None
    try:
        return float(str(text))
    except ValueError:
        raise IntegrityError(f"the ledger's budget {text!r} is not a number") from None


def _secure_aggregation(rundir: RunDirectory) -> dict[str, Any]:
    plan, encryption = rundir.plan, Encryption.of(rundir.plan)
    protocol = _PROTOCOLS.get(plan["aggregator"], plan["aggregator"])
    sizes = [r["bytes_per_client"] for r in rundir.rounds]
    ratios = [r["realised_multiplier"] / plan["noise_multiplier"] for r in rundir.rounds]
    return {
        "used": plan["aggregator"] != "plain",
        "protocol": protocol if encryption is None else protocol.format(key=encryption.in_words),
        **({} if encryption is None else {"encryption": encryption.to_dict()}),
        "clients": plan["clients"],
        "threshold": plan["threshold"],
        "min_survivors": plan["min_survivors"],
        "max_colluders": plan["max_colluders"],
        "bits": plan["bits"],
        "bytes_per_client_round_planned": plan["bytes_per_client_round"],
        "bytes_per_client_round_seen": round(sum(sizes) / len(sizes)) if sizes else None,
        "masks_per_client": plan["masks_per_client"],
        "drops": sum(len(r["dropped"]) for r in rundir.rounds),
        "fewest_survivors": min((len(r["survivors"]) for r in rundir.rounds), default=None),
        "least_noise_ratio": min(ratios, default=None),
    }


def _accesses(rundir: RunDirectory, history: History) -> list[str]:
    if rundir.result is None:
        return ["Not recorded: the run has not written its result."]
    return accesses(rundir, history)


def _operational_risk(rundir: RunDirectory, figures: Figures) -> dict[str, Any]:
    bounds = [*((epsilon, delta) for delta, epsilon in figures.by_delta), *figures.trade_off]
    return {
        "delta": float(rundir.plan["delta"]),
        "epsilon": figures.planned_pld,
        "tpr_at_fpr": [{"fpr": fpr, "tpr": highest_tpr(bounds, fpr)} for fpr in FALSE_POSITIVE_RATES],
        "advantage": advantage(bounds),
    }


def _utility(rundir: RunDirectory) -> dict[str, Any]:
    result = rundir.result or {}
    return {
        "metric": metric_of(result, shared_alone="kept_by_clients" in rundir.run["peft"]),
        "final": result.get("accuracy"),
        "base": result.get("base_accuracy"),
        "majority": result.get("majority"),
        **language(result),
        **asked_for(rundir.result),
    }


def _crosswalk(rundir: RunDirectory, history: History, figures: Figures) -> list[dict[str, Any]]:
    plan = rundir.plan
    return crosswalk(
        {
            "epsilon": rounded_up(figures.planned_pld),
            "delta": scientific(plan["delta"]),
            "unit": plan["unit"],
            "trust": plan["trust"],
            "aggregator": plan["aggregator"],
            "aggregation": "No secure aggregation" if plan["aggregator"] == "plain" else "Secure aggregation",
            "rows": f"{history.rows:,}",
            "subgroups": "groups of records are told apart"
            if "groups" in (rundir.result or {})
            else "subgroups are not reported",
        }
    )


def _evidence(rundir: RunDirectory, history: History, checks: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "ledger_rows": history.rows,
        "ledger_head": history.head,
        "ledger_signer": rundir.run["server_key"],
        "adapter_digest": rundir.result["adapter_digest"] if rundir.result else None,
        "command": "fedpriv verify RUN_DIR",
        "checks": checks,
    }


def _round(recorded: dict[str, Any], *, moving: bool) -> dict[str, Any]:
    """One round's line; with the bound that was in force, where it moves, and perplexity, where measured."""
    bound = {"clip": recorded["clip"]} if moving and "clip" in recorded else {}
    perplexity = recorded.get("perplexity")
    return {
        "round": recorded["round"],
        "survivors": list(recorded["survivors"]),
        "dropped": [[client, stage] for client, stage in recorded["dropped"]],
        "realised_multiplier": float(recorded["realised_multiplier"]),
        "accuracy": recorded["accuracy"],
        "seconds": float(recorded["seconds"]),
        "bytes_per_client": recorded["bytes_per_client"],
        "aggregate_digest": recorded["aggregate_digest"],
        **bound,
        **({} if perplexity is None else {"perplexity": perplexity}),
    }

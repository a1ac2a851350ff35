"""What a run says about itself, for its report: data, model, versions, and looks that are not accounted."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from fedpriv.aggregation import Ckks
from fedpriv.federation.language import measured_of
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.workplace import Workplace

__all__ = ["accesses", "run_facts"]

_FORMAT = "fedpriv-run/1"
_PACKAGES = ("torch", "transformers", "peft", "opacus", "dp-accounting", "numpy", "cryptography")


def run_facts(work: Workplace, plan: Plan, *, engine: str) -> dict[str, Any]:
    """The part of ``run.json`` that follows from the configuration, the data and the model."""
    from fedpriv.training import FrozenWeights

    config, dataset = work.config, work.dataset
    return {
        "format": _FORMAT,
        "engine": engine,
        "name": config.run.name,
        "fedpriv_version": metadata.version("fedpriv"),
        "config_digest": config.digest(),
        "dataset": {
            "fingerprint": dataset.fingerprint,
            "name": dataset.name,
            "records_declared": plan.records,
            "label_names": list(dataset.train.label_names),
            "left_out": {
                "empty": dataset.left_out.empty,
                "other_labels": dataset.left_out.other_labels,
                "duplicates": dataset.left_out.duplicates,
            },
            "disjointness": "verified" if dataset.gathered else config.data.disjointness,
        },
        "model": {
            "id": config.model.id,
            "revision": config.model.revision,
            "pooling": config.model.pooling,
            "digest": FrozenWeights.of(work.model, work.manifest).digest(),
        },
        "peft": {
            "method": config.peft.method,
            **{key: getattr(config.peft, key) for key in ("rank", "alpha") if key in work.spec.kind.options},
            "parameters": work.manifest.size,
            "manifest_digest": work.manifest.digest(),
            **({} if work.kept_by_clients is None else {"kept_by_clients": work.kept_by_clients}),
        },
        "versions": {name: metadata.version(name) for name in (*_PACKAGES, *_encrypting(plan))},
        "insecure_seed": config.privacy.insecure_seed,
    }


def _encrypting(plan: Plan) -> tuple[str, ...]:
    """The packages that encrypted sums rest on besides."""
    return ("tenseal",) if isinstance(plan.aggregator, Ckks) else ()


def accesses(work: Workplace, plan: Plan) -> list[str]:
    """Looks at the private records that the guarantee does not cover."""
    found = [
        "the number of training records, "
        + ("as declared in privacy.records" if plan.records_declared else "counted and taken as public"),
        ("the names of the labels, and " if work.dataset.train.label_names else "")
        + "the removal of empty and repeated records",
        "the number of records whose gradient was not finite, which the report states",
        "any earlier choice of learning rate, clip or rounds made on these records, of which this run "
        "knows nothing",
    ]
    if work.config.data.test.source is None:
        found.append(
            f"the held-out records, on which {measured_of(work)} without noise; which they are is drawn over "
            "all records at once, and the accounting takes it as given"
        )
    if work.dataset.gathered:
        found.append("the sizes of the simulated clients, which the plan shows")
        if work.config.partition.method in {"groups", "dirichlet", "shards"}:
            found.append("the simulated partition of the records to clients, which looks at labels")
    if work.dataset.gathered and plan.cohorts is not None and work.config.partition.method != "column":
        found.append(
            "the simulated partition, which decides in which rounds a record can be and is drawn over all "
            "records at once; the accounting takes it as given, as it is where clients are real"
        )
    if work.config.training.groups is not None:
        found.append(f"the held-out records by {work.config.training.groups}, with figures for each group")
    if work.config.simulation.measure_gap:
        found.append(
            "every client's update before noise, from which the LoRA gap of each round is computed: only a "
            "simulation can, as no server of a real run sees it"
        )
    if work.config.simulation.measure_personal:
        found.append(
            "what every client keeps of the model to itself, without noise, and "
            + (
                "whose the held-out records are"
                if work.config.partition.column
                else "its shares of the labels"
            )
            + ", from which the figures of clients' own models are computed: only a simulation can"
        )
    return found

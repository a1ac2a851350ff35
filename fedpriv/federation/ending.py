"""How a run ends: the adapter saved, the run closed in the ledger, its result written."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.federation.checkpoint import CHECKPOINTS, read_json, read_lines, write_json
from fedpriv.federation.config import Config
from fedpriv.federation.facts import accesses
from fedpriv.federation.language import continuations_of, kept_figures
from fedpriv.federation.observer import RunResult
from fedpriv.federation.personal import personal, write_own_adapters
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.subgroups import subgroups
from fedpriv.federation.work.kept import Kept
from fedpriv.federation.workplace import Workplace
from fedpriv.ledger import Ledger
from fedpriv.ledger.countersigned import CHECKPOINT_FILE
from fedpriv.ledger.home import now

if TYPE_CHECKING:
    from fedpriv.training import ClippedRecords, LocalTraining

__all__ = ["finish"]


def finish(
    *,
    config: Config,
    run_dir: Path,
    work: Workplace,
    plan: Plan,
    ledger: Ledger,
    run_id: str,
    parameters: NDArray[np.float32],
    learns: ClippedRecords | LocalTraining,
    kept: Kept | None,
    facts: Callable[[str], dict[str, Any]],
) -> RunResult:
    """Save the adapter, close the run in the ledger, write the result and the ledger's bundle.

    Args:
        config, run_dir, work, plan, ledger, run_id: of the run.
        parameters: the last model, float32, shape ``(parameters,)``.
        learns: what computed on the records, for what it counted.
        kept: what simulated clients keep to themselves; each gets an adapter of its own.
        facts: what ``run.json`` says at the end, given the time.
    """
    from fedpriv import peft
    from fedpriv.training import Continuations, majority

    learns.verify_frozen()
    work.manifest.restore(work.model, parameters)
    rounds = read_lines(run_dir / "rounds.jsonl")
    last = rounds[-1] if rounds else {}
    accuracy, perplexity = last.get("accuracy"), last.get("perplexity")
    if accuracy is None:  # the last round was lost
        metrics = work.task.evaluate(work.test)
        accuracy, perplexity = metrics.accuracy, metrics.perplexity
    continued = continuations_of(work)
    adapter = run_dir / "adapter"
    shutil.rmtree(adapter, ignore_errors=True)  # half of one, where an earlier call died here
    digest = peft.save(
        work.model,
        work.spec,
        work.manifest,
        adapter,
        base_model=config.model.id,
        labels=work.dataset.train.label_names,
        pooling=config.model.pooling,
        revision=config.model.revision,
        max_length=None if config.task == "image-classification" else config.model.max_length,
        image_size=config.model.image_size,
        task=config.task,
        beside=_checkpoint(run_dir),
    )
    own = None if kept is None else write_own_adapters(run_dir, adapter, kept, work.dataset.clients)
    asked = _asked_for(work, rounds, kept, parameters)
    if not ledger.run(run_id).finished:  # else an earlier call died after this line
        ledger.finish(run_id, {"adapter": digest, "accuracy": accuracy})
    fingerprint = work.dataset.fingerprint
    spent = ledger.spent(fingerprint)
    share = majority(work.dataset.test.labels) if work.dataset.test.label_names else None
    earlier = read_json(run_dir / "run.json")
    base_accuracy, base = earlier["base_accuracy"], kept_figures(earlier)
    write_json(
        run_dir / "result.json",
        {
            "accuracy": accuracy,
            "base_accuracy": base_accuracy,
            "majority": share,
            **base,
            **({} if perplexity is None else {"perplexity": perplexity}),
            **({} if continued is None else {"continuations": continued.to_dict()}),
            "epsilon_pld_spent": spent.epsilon_pld,
            "epsilon_rdp_spent": spent.epsilon_rdp,
            "epsilon_planned": plan.epsilon_pld,
            "rounds_done": len(rounds),
            "rounds_planned": plan.rounds,
            **asked,
            "records_dropped_nonfinite": learns.dropped,
            "accesses_not_accounted": accesses(work, plan),
            "adapter_digest": digest,
            "finished": True,
        },
    )
    write_json(run_dir / "ledger.json", ledger.export(fingerprint))
    write_json(run_dir / "run.json", facts(now()))
    sent = [line["bytes_per_client"] for line in rounds]
    return RunResult(
        run_dir=run_dir,
        adapter=adapter,
        accuracy=accuracy,
        base_accuracy=base_accuracy,
        majority=share,
        epsilon_spent=spent.epsilon,
        epsilon_rdp=spent.epsilon_rdp,
        epsilon_budget=plan.epsilon,
        delta=plan.delta,
        rounds_done=len(rounds),
        rounds_planned=plan.rounds,
        bytes_per_client_round=max(sent, default=0),
        bytes_per_client_total=sum(sent),
        dropouts=sum(len(line["dropped"]) for line in rounds),
        insecure=plan.insecure,
        perplexity=perplexity,
        base_perplexity=base.get("base_perplexity"),
        continuations=continued,
        base_continuations=Continuations(**base["base_continuations"]) if continued else None,
        shared_alone=work.spec.kind.personal,
        own_adapters=own,
        personal=asked.get("personal"),
    )


def _asked_for(
    work: Workplace, rounds: list[dict[str, Any]], kept: Kept | None, parameters: NDArray[np.float32]
) -> dict[str, Any]:
    """Figures that a run has only where its configuration asks for them: by group, the LoRA gap, and those of
    clients' own models.

    Args:
        work: with the final model in place.
        rounds: lines of the finished rounds.
        kept: what simulated clients keep to themselves.
        parameters: the final model.
    """
    found: dict[str, Any] = {}
    column = work.config.training.groups
    if column is not None:
        judged = work.task.judge(work.test)
        found["groups"] = subgroups(
            judged, work.dataset, column=column, partition=work.config.partition.column
        )
    gaps = [line["gap"]["relative"] for line in rounds if line["gap"] is not None]
    if gaps:
        found["gap"] = {"rounds": len(gaps), "mean": statistics.fmean(gaps), "largest": max(gaps)}
    if kept is not None and work.config.simulation.measure_personal:
        found["personal"] = personal(work, kept, parameters)
    return found


def _checkpoint(run_dir: Path) -> dict[str, bytes]:
    """The last head of the ledger that clients countersigned, as a file of the adapter; none without one."""
    signed = read_lines(run_dir / CHECKPOINTS)
    return {CHECKPOINT_FILE: (json.dumps(signed[-1], indent=2) + "\n").encode()} if signed else {}

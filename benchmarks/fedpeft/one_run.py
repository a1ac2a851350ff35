"""One cell, run: through `fedpriv.run` with privacy, by plain steps on the same batches without."""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from cells import Cell
from materials import put_materials
from settings import configuration

PACKAGES = ("fedpriv", "torch", "transformers", "peft", "numpy", "cryptography", "dp-accounting")
NO_CLIP = 1.0  # without privacy; stands in the configuration and is not used
ANY_EPSILON = 8.0  # likewise
AT_ONCE = 64  # records in a pass without privacy, where no record has a gradient of its own


def run_cell(cell: Cell, learning_rate: float, clip: float | None, cache: str) -> dict[str, Any]:
    """The figures of one cell.

    Args:
        cell: which.
        learning_rate, clip: to be used; no clip where there is no privacy.
        cache: folder for hidden states, shared by all cells.
    """
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FEDPRIV_HOME"] = folder
        from fedpriv.errors import UnsafeParameters
        from fedpriv.federation.config import Config

        private = math.isfinite(cell.epsilon)
        values = configuration(
            cell.data,
            cell.method,
            partition=cell.partition,
            epsilon=cell.epsilon if private else ANY_EPSILON,
            seed=cell.seed,
            learning_rate=learning_rate,
            clip=clip or NO_CLIP,
            change=dict(cell.change),
        )
        config = Config.from_dict(values, base=Path(folder))
        put_materials(cell.data, Path(folder), Path(cache))
        try:
            figures = private_run(config, Path(folder) / "run") if private else plain_steps(config)
        except UnsafeParameters as refusal:
            figures = {"refused": str(refusal)}
    return {
        **figures,
        "learning_rate": learning_rate,
        "clip": clip,
        "processor_seconds": round(time.process_time() - started, 1),
        "config_digest": config.digest(),
        "config": config.to_dict(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }


def private_run(config: Any, run_dir: Path) -> dict[str, Any]:
    """A whole run: ledger, secure sum, checkpoints, adapter."""
    from fedpriv import run

    result = run(config, run_dir)
    plan = json.loads((run_dir / "plan.json").read_text())
    rounds = [json.loads(line) for line in (run_dir / "rounds.jsonl").read_text().splitlines()]
    return {
        "accuracy": result.accuracy,
        "base_accuracy": result.base_accuracy,
        "majority": result.majority,
        "perplexity": result.perplexity,
        "base_perplexity": result.base_perplexity,
        "epsilon_spent": result.epsilon_spent,
        "noise_multiplier": plan["noise_multiplier"],
        "sampling_rate": plan["sampling_rate"],
        "parameters": plan["dimension"],
        "tensors": tensors(run_dir),
        "bits": plan["bits"],
        "bytes_per_client_round": result.bytes_per_client_round,
        "rounds": result.rounds_done,
        "aggregate_digests": [line["aggregate_digest"] for line in rounds],
    }


def tensors(run_dir: Path) -> int:
    """How many trained tensors the run's adapter has."""
    record = json.loads((run_dir / "adapter" / "fedpriv.json").read_text())
    return len(record["manifest"]["parameters"])


def plain_steps(config: Any) -> dict[str, Any]:
    """The same model, batches and optimiser, with neither clip nor noise; the mean over the drawn records.

    One step a round on the sum over all clients' records does not know whose records they are, so there is
    nothing to sum securely here and nothing that the partition could change.
    """
    import numpy as np
    import torch

    from fedpriv.federation.server_step import ServerStep
    from fedpriv.federation.work.coordinates import RoundCoordinates
    from fedpriv.federation.workplace import prepare
    from fedpriv.training import by_length, evaluating, majority
    from fedpriv.training.matmul import fast_linear

    work = prepare(config)
    task, manifest, spec = work.task, work.manifest, work.spec
    sent = RoundCoordinates(manifest, spec, work.start, spec.kind.width(manifest, spec))
    server = ServerStep(work, sent, work.optimizer())
    rng = np.random.default_rng([config.run.seed, 0xF1])
    rate = config.privacy.expected_batch / config.privacy.records
    parameters, base = manifest.flatten(work.model), task.evaluate(work.test)
    trained = manifest.parameters(work.model)
    for round_ in range(1, config.run.rounds + 1):
        manifest.restore(work.model, parameters)
        drawn = np.flatnonzero(rng.random(len(work.train)) < rate)
        total = np.zeros(manifest.size)
        with fast_linear(), evaluating(work.model):
            for batch in by_length(work.train, drawn, AT_ONCE):
                loss = task.losses(work.train, batch).sum()
                parts = torch.autograd.grad(loss, trained)
                total += torch.cat([part.reshape(-1) for part in parts]).double().numpy()
        mean = sent.at(round_, parameters).take(total / max(1, len(drawn)))
        parameters = server.step(round_, parameters, mean)
    manifest.restore(work.model, parameters)
    metrics, named = task.evaluate(work.test), bool(work.dataset.train.label_names)
    return {
        "accuracy": metrics.accuracy,
        "base_accuracy": base.accuracy,
        "majority": majority(work.dataset.test.labels) if named else None,
        "perplexity": metrics.perplexity,
        "base_perplexity": base.perplexity,
        "parameters": sent.width,
        "tensors": len(manifest.entries),
        "rounds": config.run.rounds,
    }

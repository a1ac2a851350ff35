"""What no trusted party costs: accuracy of central, distributed and local noise at the same epsilon.

    python benchmarks/trust.py                    # every run that is not in the results yet; hours
    python benchmarks/trust.py --table            # the table of README.md from the results, at once

Film reviews, whole films to each silo and whole films held out; MiniLM with FFA-LoRA on its top block and a
head; 30 rounds of 512 expected reviews; epsilon 1, 3 and 8 at delta 1e-5; three seeds (partition, held-out
films, initial weights).

- ``central``: Opacus (its hooks, sampler, optimiser and noise) on the pooled reviews, no federation.
- ``distributed``: complete runs of ``fedpriv run``, masked sum, every silo adds its share of the noise; one
  silo may vanish (and does in a quarter of the rounds), one may collude.
- ``local``: the same, every silo adds noise that is enough on its own: what one gets from DP-SGD inside each
  client.  Its sums are not masked: that changes no figure (both sums are equal to the bit).

The learning rate (0.01, of 0.005, 0.01 and 0.02) was chosen for ``central`` at epsilon 1 on the split of seed
100 of the same reviews, which is none of the three here but shares films with them.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from fedpriv import dp, load_config, run
from fedpriv.federation.workplace import Workplace, prepare
from fedpriv.training import by_length, majority

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "examples" / "quickstart" / "fedpriv.toml"
RESULTS = ROOT / "benchmarks" / "results" / "trust.json"
SEEDS = (1, 2, 3)
EPSILONS = (1.0, 3.0, 8.0)
COMMON = ["peft.layers=[5]", "training.evaluate_every=1000", "training.micro_batch=64", "run.rounds=30"]
T_975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}  # Student's t, by degrees of freedom


def jobs() -> list[dict[str, Any]]:
    """Every run, those that the table needs most first."""
    wanted = []
    for seed in SEEDS:
        for epsilon in EPSILONS:
            wanted += [("central", 0, epsilon, seed), ("distributed", 32, epsilon, seed)]
            wanted += [("local", silos, epsilon, seed) for silos in (32, 8, 128)]
        if seed == SEEDS[0]:
            wanted += [("distributed", 8, 1.0, seed), ("distributed", 128, 1.0, seed)]
    names = ("variant", "silos", "epsilon", "seed")
    return [dict(zip(names, job, strict=True)) for job in wanted]


def federated(job: dict[str, Any], prefix: str) -> dict[str, Any]:
    """One complete run with the given trust model."""
    local = job["variant"] == "local"
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(
            CONFIG,
            [
                *COMMON,
                f"trust={job['variant']}",
                f"aggregator={'plain' if local else 'masked'}",
                f"partition.clients={job['silos']}",
                f"secagg.min_survivors={job['silos'] - 1}",
                f"privacy.epsilon={job['epsilon']}",
                f"run.seed={job['seed']}",
                f"training.prefix_folder='{prefix}'",
                f"budget.ledger='{folder}/ledger.sqlite'",
            ],
        )
        result = run(config, Path(folder) / "run")
        plan = json.loads((Path(folder) / "run" / "plan.json").read_text())
    return {
        "accuracy": result.accuracy,
        "majority": result.majority,
        "epsilon_spent": result.epsilon_spent,
        "noise_multiplier": plan["noise_multiplier"],
        "dropouts": result.dropouts,
    }


def central(job: dict[str, Any], prefix: str) -> dict[str, Any]:
    """DP-SGD by Opacus on the pooled records, with the same model, clip, noise multiplier and optimiser."""
    import torch
    from opacus import GradSampleModule
    from opacus.accountants import PRVAccountant
    from opacus.optimizers import DPOptimizer
    from opacus.utils.uniform_sampler import UniformWithReplacementSampler

    seed = f"run.seed={job['seed']}"
    config = load_config(CONFIG, [*COMMON, seed, f"training.prefix_folder='{prefix}'"])
    work = prepare(config)
    privacy, rounds = config.privacy, config.run.rounds
    rate = privacy.expected_batch / privacy.records
    multiplier = dp.noise_multiplier(job["epsilon"], privacy.delta, rate, rounds)
    wrapped = GradSampleModule(work.model, loss_reduction="mean")
    for module in work.model.modules():  # dropout off, as in the federated runs; Opacus needs the flag
        module.training = any(p.requires_grad for p in module.parameters(recurse=False))
    trained = [p for p in work.model.parameters() if p.requires_grad]
    adam = torch.optim.Adam(trained, lr=config.server.learning_rate, betas=(0.9, config.server.beta2))
    optimizer = DPOptimizer(
        adam,
        noise_multiplier=multiplier,
        max_grad_norm=privacy.clip,
        expected_batch_size=privacy.expected_batch,
    )
    sampler = UniformWithReplacementSampler(num_samples=len(work.train), sample_rate=rate, steps=rounds)
    for sampled in sampler:
        step(work, wrapped, optimizer, np.array(sampled, dtype=np.int64), config.training.micro_batch)
    wrapped.remove_hooks()
    accountant = PRVAccountant()
    accountant.history = [(multiplier, rate, rounds)]
    return {
        "accuracy": work.task.evaluate(work.test).accuracy,
        "majority": majority(work.dataset.test.labels),
        "epsilon_spent": dp.epsilon_for(multiplier, rate, rounds, privacy.delta),
        "epsilon_opacus_prv": float(accountant.get_epsilon(privacy.delta)),
        "noise_multiplier": multiplier,
        "dropouts": 0,
    }


def step(work: Workplace, wrapped: Any, optimizer: Any, sampled: np.ndarray, size: int) -> None:
    """One logical step: per-record gradients in small batches, then clip, noise and Adam by Opacus."""
    batches = list(by_length(work.train, sampled, size))
    for number, batch in enumerate(batches):
        optimizer.signal_skip_step(number + 1 < len(batches))
        work.task.losses(work.train, batch).mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half the width of the 95 % interval (Student's t)."""
    if len(values) < 2:
        return values[0], math.nan
    spread = statistics.stdev(values) / math.sqrt(len(values))
    return statistics.mean(values), T_975[len(values) - 1] * spread


def cell(values: list[float | None]) -> str:
    """What a table says of the seeds that there are."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    mean, half = interval(known)
    return f"{mean:.3f}" + (f" ± {half:.3f}" if math.isfinite(half) else " (one seed)")


def table(runs: list[dict[str, Any]]) -> str:
    """The table of README.md: mean of the seeds with 95 % intervals, and the difference seed by seed."""
    found = {(r["variant"], r["silos"], r["epsilon"], r["seed"]): r["accuracy"] for r in runs}
    rows = [("central DP-SGD by Opacus, pooled data", "central", 0)]
    rows += [(f"**distributed**, {n} silos", "distributed", n) for n in (32, 8, 128)]
    rows += [(f"local, {n} silos", "local", n) for n in (8, 32, 128)]
    lines = ["| | ε = 1 | ε = 3 | ε = 8 |", "|---|---|---|---|"]
    for name, variant, silos in rows:
        cells = [cell([found.get((variant, silos, epsilon, seed)) for seed in SEEDS]) for epsilon in EPSILONS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    gaps = []
    for epsilon in EPSILONS:
        pairs = [
            100 * (found[("distributed", 32, epsilon, seed)] - found[("central", 0, epsilon, seed)])
            for seed in SEEDS
            if {("distributed", 32, epsilon, seed), ("central", 0, epsilon, seed)} <= set(found)
        ]
        mean, half = interval(pairs) if pairs else (math.nan, math.nan)
        gaps.append(f"{mean:+.2f} ± {half:.2f}")
    lines.append(f"| distributed (32) less central, points | {' | '.join(gaps)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, keep every result as soon as it is there, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--table", action="store_true", help="print the table and stop")
    options = parser.parse_args()
    runs = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    names = ("variant", "silos", "epsilon", "seed")
    with tempfile.TemporaryDirectory() as prefix:
        for job in [] if options.table else jobs():
            if any(all(old[name] == job[name] for name in names) for old in runs):
                continue
            figures = central(job, prefix) if job["variant"] == "central" else federated(job, prefix)
            runs.append({**job, **figures})
            packages = ("fedpriv", "torch", "transformers", "peft", "opacus", "dp-accounting")
            versions = {name: metadata.version(name) for name in packages}
            RESULTS.write_text(json.dumps({"runs": runs, "versions": versions}, indent=2) + "\n")
            print(*job.values(), f"{figures['accuracy']:.4f}", flush=True)
    print(table(runs))


if __name__ == "__main__":
    main()

"""The quickstart under each trust model and without DP: accuracy on unseen films.

    python benchmarks/quickstart.py [--scenario many-silos] [--seeds 1 2 3] [--variants no-dp local]

The scenario ``quickstart`` is 8 silos at epsilon 3, ``many-silos`` 32 silos at epsilon 1.

Each private variant is a complete run of ``examples/quickstart/fedpriv.toml`` with ``trust`` replaced, a
ledger of its own and its own noise; the seed changes partition, held-out films and initial weights.
``no-dp`` takes as many steps on samples drawn the same way, with neither clip nor noise.
Results: ``benchmarks/results/quickstart.json``.
"""

import argparse
import json
import platform
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np

from fedpriv import dp, load_config, run
from fedpriv.crypto import Keystream, digest
from fedpriv.federation.workplace import prepare
from fedpriv.training import RecordGradients, ServerOptimizer, majority

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "examples" / "quickstart" / "fedpriv.toml"
RESULTS = ROOT / "benchmarks" / "results" / "quickstart.json"
NO_CLIP = 1e6
SCENARIOS: dict[str, list[str]] = {
    "quickstart": [],
    "many-silos": ["partition.clients=32", "secagg.min_survivors=31", "privacy.epsilon=1.0"],
}


def private(scenario: str, trust: str, seed: int) -> dict[str, object]:
    """One complete run with the given trust model."""
    with tempfile.TemporaryDirectory() as folder:
        overrides = [f"trust={trust}", f"run.seed={seed}", f"budget.ledger='{folder}/ledger.sqlite'"]
        overrides += SCENARIOS[scenario]
        config = load_config(CONFIG, overrides)
        result = run(config, Path(folder) / "run")
    return {
        "accuracy": result.accuracy,
        "majority": result.majority,
        "epsilon": result.epsilon_spent,
        "rounds": result.rounds_done,
        "dropouts": result.dropouts,
    }


def without_dp(scenario: str, seed: int) -> dict[str, object]:
    """The same steps with neither clip nor noise, and no dropouts."""
    config = load_config(CONFIG, [f"run.seed={seed}", *SCENARIOS[scenario]])
    work = prepare(config)
    gradients = RecordGradients(
        work.model, work.task, work.manifest, clip=NO_CLIP, micro_batch=config.training.micro_batch
    )
    optimizer = ServerOptimizer(config.server.optimizer, learning_rate=config.server.learning_rate)
    parameters = work.manifest.flatten(work.model)
    words = Keystream(digest("fedpriv/benchmark/no-dp", str(seed).encode())).words
    rate = config.privacy.expected_batch / config.privacy.records
    for _ in range(config.run.rounds):
        work.manifest.restore(work.model, parameters)
        sampled = dp.poisson_sample(len(work.dataset.train), rate, words)
        total = np.zeros(work.manifest.size)
        for rows in gradients.clipped(work.train, sampled):
            total += rows.sum(axis=0, dtype=np.float64)
        parameters = optimizer.step(parameters, total / config.privacy.expected_batch)
    work.manifest.restore(work.model, parameters)
    return {
        "accuracy": work.task.evaluate(work.test).accuracy,
        "majority": majority(work.dataset.test.labels),
        "epsilon": None,
        "rounds": config.run.rounds,
        "dropouts": 0,
    }


def main() -> None:
    """Run what is asked for, print a table, and merge the results into the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", choices=SCENARIOS, default="quickstart")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7])
    parser.add_argument("--variants", nargs="+", default=["no-dp", "central", "distributed", "local"])
    options = parser.parse_args()
    recorded = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    scenario = options.scenario
    for seed in options.seeds:
        for variant in options.variants:
            figures = without_dp(scenario, seed) if variant == "no-dp" else private(scenario, variant, seed)
            entry = {"scenario": scenario, "variant": variant, "seed": seed, **figures}
            names = ("scenario", "variant", "seed")
            recorded = [old for old in recorded if any(old[name] != entry[name] for name in names)]
            recorded = sorted([*recorded, entry], key=lambda old: [str(old[name]) for name in names])
            packages = ("fedpriv", "torch", "transformers", "peft", "opacus", "dp-accounting")
            versions = {name: metadata.version(name) for name in packages}
            report = {"runs": recorded, "python": platform.python_version(), "versions": versions}
            RESULTS.write_text(json.dumps(report, indent=2) + "\n")
            accuracy, guess = figures["accuracy"], figures["majority"]
            print(
                f"{scenario}, {variant:<12} seed {seed}: {accuracy:.4f}  (majority {guess:.4f})", flush=True
            )


if __name__ == "__main__":
    main()

"""The guarantee for whole clients: films as clients, under each trust model at the same epsilon.

    python benchmarks/trust_clients.py            # every run that is not in the results yet
    python benchmarks/trust_clients.py --table    # the table of README.md from the results, at once

Complete runs of ``examples/clients/fedpriv.toml``: every film is a client that trains by itself for a few
steps, its whole update is clipped (adaptively) and covered with noise.  Epsilon 1, 3 and 8 at delta 1e-3;
three seeds (held-out films, initial weights).  ``ceiling`` is ``central`` at epsilon 19, for what the
training reaches with little noise.

One run, ``distributed`` at epsilon 3 and seed 1, goes through the masked sum of all films on a sparse graph;
the others sum in the open, which is quicker and differs only in the surplus noise that a sparse graph leaves
in (``tests/integration/test_client_run.py``).

The settings of the example were chosen on the split of seed 7, which is none of the three here but shares
films with them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from trust import EPSILONS, SEEDS, cell

from fedpriv import load_config, run

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "examples" / "clients" / "fedpriv.toml"
RESULTS = ROOT / "benchmarks" / "results" / "trust_clients.json"
CEILING = 19.0
MASKED = {"variant": "distributed", "epsilon": 3.0, "seed": 1}
VARIANTS = ("distributed", "central", "local")


def jobs() -> list[dict[str, Any]]:
    """Every run."""
    wanted = [(variant, epsilon, seed) for seed in SEEDS for epsilon in EPSILONS for variant in VARIANTS]
    wanted += [("ceiling", CEILING, seed) for seed in SEEDS]
    return [dict(zip(("variant", "epsilon", "seed"), job, strict=True)) for job in wanted]


def complete(job: dict[str, Any], prefix: str) -> dict[str, Any]:
    """One complete run."""
    trust = "central" if job["variant"] == "ceiling" else job["variant"]
    overrides = [
        f"trust={trust}",
        f"aggregator={'masked' if job == MASKED else 'plain'}",
        f"privacy.epsilon={job['epsilon']}",
        f"run.seed={job['seed']}",
        "training.evaluate_every=1000",
        f"training.prefix_folder='{prefix}'",
    ]
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(CONFIG, [*overrides, f"budget.ledger='{folder}/ledger.sqlite'"])
        result = run(config, Path(folder) / "run")
        plan = json.loads((Path(folder) / "run" / "plan.json").read_text())
    return {
        "accuracy": result.accuracy,
        "base_accuracy": result.base_accuracy,
        "majority": result.majority,
        "clients": plan["clients"],
        "epsilon_spent": result.epsilon_spent,
        "noise_multiplier": plan["noise_multiplier"],
    }


def table(runs: list[dict[str, Any]]) -> str:
    """The table of README.md: mean of the seeds with 95 % intervals."""
    found = {(r["variant"], r["epsilon"], r["seed"]): r["accuracy"] for r in runs}
    names = {"central": "central", "distributed": "**distributed**", "local": "local"}
    lines = ["| films as clients | ε = 1 | ε = 3 | ε = 8 |", "|---|---|---|---|"]
    for variant, name in names.items():
        cells = [cell([found.get((variant, epsilon, seed)) for seed in SEEDS]) for epsilon in EPSILONS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    ceiling = cell([found.get(("ceiling", CEILING, seed)) for seed in SEEDS])
    return "\n".join([*lines, f"| central at ε = 19 | | | {ceiling} |"])


def main() -> None:
    """Run what is missing, keep every result as soon as it is there, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--table", action="store_true", help="print the table and stop")
    options = parser.parse_args()
    runs = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    with tempfile.TemporaryDirectory() as prefix:
        for job in [] if options.table else jobs():
            if any(all(old[name] == value for name, value in job.items()) for old in runs):
                continue
            figures = complete(job, prefix)
            runs.append({**job, **figures})
            packages = ("fedpriv", "torch", "transformers", "peft", "opacus", "dp-accounting")
            versions = {name: metadata.version(name) for name in packages}
            RESULTS.write_text(json.dumps({"runs": runs, "versions": versions}, indent=2) + "\n")
            print(*job.values(), f"{figures['accuracy']:.4f}", flush=True)
    print(table(runs))


if __name__ == "__main__":
    main()

"""Private fine-tuning as library calls, on real models and texts: what it reaches, and what it costs.

    python benchmarks/private_trainer.py            # both, about ten minutes on two cores; writes the results
    python benchmarks/private_trainer.py --short    # a few steps of each, writes nothing
    python benchmarks/private_trainer.py --table    # the table from the results

- ``loop``: `examples/private_loop.py`, `fedpriv.make_private` around MiniLM with LoRA on BBC news.
- ``trainer``: `examples/private_trainer.py`, `fedpriv.hf.PrivateTrainer` around SmolLM2-135M with LoRA on
  Hamlet.

Each runs as a process of its own with an empty ledger.  The printed epsilon is compared with what the ledger
says when it is opened afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from fedpriv.ledger.home import open_ledger

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "private_trainer.json"
SCRIPTS = {"loop": "private_loop.py", "trainer": "private_trainer.py"}
SHORT = {"loop": ["--steps", "2"], "trainer": ["--steps", "2", "--batch", "8", "--held-out", "8"]}
NUMBER = r"(\d+\.\d+(?:e-?\d+)?)"


def run(name: str, arguments: list[str]) -> dict[str, Any]:
    """One example's figures, and the ledger's."""
    with tempfile.TemporaryDirectory() as home:
        environment = {key: value for key, value in os.environ.items() if key != "FEDPRIV_HOME"}
        environment["XDG_DATA_HOME"] = home
        command = [sys.executable, "-W", "ignore", str(ROOT / "examples" / SCRIPTS[name]), *arguments]
        started = time.perf_counter()
        done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
        if done.returncode:
            raise SystemExit(done.stderr)
        with open_ledger(Path(home) / "fedpriv" / "ledger.sqlite") as ledger:
            (budget,) = ledger.datasets()
            spent = ledger.spent(budget.dataset)
    figures: dict[str, Any] = {"arguments": arguments, "seconds": round(seconds, 1)}
    patterns = {
        "accuracy": rf"accuracy {NUMBER}, majority {NUMBER}",
        "perplexity": rf"perplexity {NUMBER} before, {NUMBER} after",
    }
    for key, pattern in patterns.items():
        if found := re.search(pattern, done.stdout):
            figures[key] = [float(found[1]), float(found[2])]
    printed = re.search(rf"epsilon {NUMBER} of", done.stdout)
    if printed is None:
        raise SystemExit(f"{name} printed no epsilon:\n{done.stdout}")
    figures["epsilon_printed"] = float(printed[1])
    figures["epsilon_ledger"] = spent.epsilon
    figures["delta"] = spent.delta
    figures["steps"] = spent.released
    return figures


def table(runs: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown."""
    lines = ["| | result | ε printed | ε in the ledger | steps | minutes |", "|---|---|---|---|---|---|"]
    for name, found in runs.items():
        if "accuracy" in found:
            result = "accuracy {:.3f}, majority {:.3f}".format(*found["accuracy"])
        else:
            result = "perplexity {:.1f} before, {:.1f} after".format(*found["perplexity"])
        epsilons = f"{found['epsilon_printed']!r} | {found['epsilon_ledger']!r}"
        lines.append(f"| {name} | {result} | {epsilons} | {found['steps']} | {found['seconds'] / 60:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Run the examples, check that the two figures of epsilon are one, keep and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a few steps of each, to see that it works")
    parser.add_argument("--table", action="store_true", help="print the table from the results and stop")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(RESULTS.read_text())["runs"]))
        return
    runs = {name: run(name, SHORT[name] if options.short else []) for name in SCRIPTS}
    for name, found in runs.items():
        if found["epsilon_printed"] != found["epsilon_ledger"]:
            raise SystemExit(f"{name} printed an epsilon that is not the ledger's: {found}")
    if not options.short:
        packages = ("fedpriv", "torch", "transformers", "peft", "dp-accounting")
        versions = {name: metadata.version(name) for name in packages}
        threads = os.environ.get("OMP_NUM_THREADS", "default")
        content = {"runs": runs, "versions": versions, "cpus": os.cpu_count(), "threads": threads}
        RESULTS.write_text(json.dumps(content, indent=2) + "\n")
    print(table(runs))


if __name__ == "__main__":
    main()

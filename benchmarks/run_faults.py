"""Whole runs killed at random moments (SIGKILL) and resumed, and what the disk held after each kill.

    python benchmarks/run_faults.py [--kills N] [--seed N] [--json FILE]

Forty rounds of five clients with ledgers of their own, MiniLM with a trained head, a client vanishing in
three rounds of ten.  What is asserted after each kill stands in tests/parties/run_kills.py; the first that
does not hold ends this.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from parties.run_kills import ROUNDS, kills

RESULT = Path(__file__).resolve().parent / "results" / "run_faults.json"


def main() -> None:
    """Run the kills, print how they ended, and write it down."""
    parser = argparse.ArgumentParser(description="Whole runs under kills.")
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, default=RESULT, help="write the figures here")
    options = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="run-faults-") as name:
        ends = kills(Path(name), count=options.kills, seed=options.seed)
    result = {
        "benchmark": "run_faults",
        "python": platform.python_version(),
        "rounds a run": ROUNDS,
        "seed": options.seed,
        "kills": ends.total() - ends["finished"],
        "ends": dict(sorted(ends.items())),
        "rows missing, epsilon lower, runs that did not go on": 0,  # the first would have ended this
        "seconds": round(time.perf_counter() - start, 1),
    }
    for key, value in result.items():
        print(f"{key:52} {value}")
    options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""How many rounds a second a ledger can record durably: RESERVE and RELEASE, each one commit.

Usage: python benchmarks/ledger_commits.py [--rounds N] [--folder DIR] [--json FILE]

Prints a table; the figures depend on the disk below DIR far more than on the processor.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from fedpriv.crypto import SigningKey
from fedpriv.dp import PoissonGaussian
from fedpriv.ledger import Ledger, verify_bundle

DATASET = "ab" * 32


def clock() -> str:
    """The time now, as the ledger wants it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def plan(ledger: Ledger, run_id: str, rounds: int) -> None:
    """Commit a run whose rounds cost next to nothing."""
    ledger.plan(
        run_id,
        DATASET,
        event=PoissonGaussian(noise_multiplier=30.0, sampling_rate=0.001),
        rounds=rounds,
        details={},
    )


def measure(ledger: Ledger, run_id: str, rounds: int) -> dict[str, float]:
    """Seconds per commit: median and 99th percentile, RESERVE and RELEASE together."""
    taken = []
    for number in range(rounds):
        start = time.perf_counter()
        ledger.reserve(run_id, number)
        middle = time.perf_counter()
        ledger.release(run_id, number, {"survivors": [1, 2, 3], "realised_multiplier": 1.25})
        taken += [middle - start, time.perf_counter() - middle]
    ordered = sorted(taken)
    return {
        "commits_per_second": len(taken) / sum(taken),
        "median_ms": 1e3 * ordered[len(ordered) // 2],
        "p99_ms": 1e3 * ordered[int(len(ordered) * 0.99)],
    }


def main() -> None:
    """Measure both accounting rules, the reopening and the verification."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument(
        "--folder", type=Path, default=None, help="where the ledger is put; a temporary folder"
    )
    parser.add_argument("--json", type=Path, default=None, help="where the figures are written as JSON")
    options = parser.parse_args()
    rounds: int = options.rounds
    signer = SigningKey.from_seed(bytes(range(32)))
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "ledger.db"
        with Ledger.open(path, signer, clock) as ledger:
            ledger.set_budget(DATASET, "benchmark", 8.0, 1e-5)
            plan(ledger, "first", rounds)
            figures["one committed plan"] = measure(ledger, "first", rounds)
            plan(ledger, "second", rounds)
            figures["shared, RDP filter"] = measure(ledger, "second", rounds)
            bundle = ledger.export(DATASET)
        rows = 4 * rounds + 3
        start = time.perf_counter()
        Ledger.open(path, signer, clock).close()
        opened = time.perf_counter() - start
        start = time.perf_counter()
        if verify_bundle(bundle):
            raise SystemExit("the bundle does not verify")
        verified = time.perf_counter() - start
        size = path.stat().st_size
    figures["whole ledger"] = {
        "rows": rows,
        "bytes_per_row": size / rows,
        "open_seconds": opened,
        "verify_seconds": verified,
    }
    for title, values in figures.items():
        print(title)
        for name, value in values.items():
            print(f"  {name:<20} {value:12.2f}")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

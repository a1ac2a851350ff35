"""Samples a second on one core: the exact samplers against numpy's Poisson difference.

    python benchmarks/noise_samplers.py [--json FILE]

The words come from AES-256-CTR, as in a run; numpy's sampler is neither exact nor cryptographic and is shown
for scale.  Each figure is the best of five.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fedpriv.crypto.prg import Keystream
from fedpriv.dp import discrete_gaussian, skellam

COUNT = 1_000_000


def best(draw: Callable[[], object], repeats: int = 5) -> float:
    draw()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        draw()
        times.append(time.perf_counter() - start)
    return COUNT / min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of the noise samplers.")
    parser.add_argument("--json", type=Path, help="write the figures here")
    target = parser.parse_args().json
    stream = Keystream(bytes(32))
    generator = np.random.default_rng(1)
    rows = []
    print(f"{'law':>18} {'variance':>9} {'table (ms)':>11} {'fedpriv (1e6/s)':>16} {'numpy (1e6/s)':>14}")
    for law, sampler in (("skellam", skellam), ("discrete-gaussian", discrete_gaussian)):
        for log2 in (0, 8, 16, 18, 20, 30, 42, 50, 60):
            variance = 1 << log2
            start = time.perf_counter()
            sampler(variance, 1, stream.words)
            row: dict[str, Any] = {
                "law": law,
                "variance_log2": log2,
                "first_draw_s": time.perf_counter() - start,
                "samples_per_s": best(lambda f=sampler, v=variance: f(v, COUNT, stream.words)),
            }
            line = f"{law:>18} {f'2^{log2}':>9} {row['first_draw_s'] * 1e3:>11.1f}"
            line += f" {row['samples_per_s'] / 1e6:>16.1f}"
            if law == "skellam":
                row["numpy_samples_per_s"] = best(
                    lambda v=variance: generator.poisson(v / 2, COUNT) - generator.poisson(v / 2, COUNT)
                )
                line += f" {row['numpy_samples_per_s'] / 1e6:>14.1f}"
            rows.append(row)
            print(line)
    if target is not None:
        result = {"benchmark": "noise_samplers", "count": COUNT, "machine": platform.machine(), "rows": rows}
        target.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

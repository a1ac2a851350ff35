"""Samples a second on one core: the exact Skellam sampler against numpy's Poisson difference.

    python benchmarks/skellam_sampler.py [--json FILE]

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

import numpy as np

from fedpriv.crypto.prg import Keystream
from fedpriv.dp import skellam

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
    parser = argparse.ArgumentParser(description="Speed of the Skellam sampler.")
    parser.add_argument("--json", type=Path, help="write the figures here")
    target = parser.parse_args().json
    stream = Keystream(bytes(32))
    generator = np.random.default_rng(1)
    rows = []
    print(f"{'variance':>10} {'table (ms)':>11} {'fedpriv (1e6/s)':>16} {'numpy (1e6/s)':>14}")
    for log2 in (0, 8, 16, 18, 20, 30, 42, 50, 60):
        variance = 1 << log2
        start = time.perf_counter()
        skellam(variance, 1, stream.words)
        first = time.perf_counter() - start
        ours = best(lambda v=variance: skellam(v, COUNT, stream.words))
        theirs = best(lambda v=variance: generator.poisson(v / 2, COUNT) - generator.poisson(v / 2, COUNT))
        rows.append(
            {
                "variance_log2": log2,
                "first_draw_s": first,
                "samples_per_s": ours,
                "numpy_samples_per_s": theirs,
            }
        )
        print(f"{f'2^{log2}':>10} {first * 1e3:>11.1f} {ours / 1e6:>16.1f} {theirs / 1e6:>14.1f}")
    if target is not None:
        result = {"benchmark": "skellam_sampler", "count": COUNT, "machine": platform.machine(), "rows": rows}
        target.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

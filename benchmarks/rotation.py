"""Speed of the Walsh-Hadamard transform and of a whole rotation on one core, against a copy of the memory.

    OMP_NUM_THREADS=1 python benchmarks/rotation.py [--json FILE]

Megabytes are those of the vector, read and written once.  Each figure is the best of seven.
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
from fedpriv.encoding import Rotation, walsh_hadamard


def best(work: Callable[[], object], repeats: int = 7) -> float:
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def transform(log2: int, dtype: type[np.floating]) -> dict[str, object]:
    """Megabytes a second in place, and how many copies of the vector take as long."""
    vector = np.random.default_rng(1).normal(size=1 << log2).astype(dtype)
    target = np.empty_like(vector)
    copy = best(lambda: np.copyto(target, vector))

    shrink = 2.0 ** (-log2 / 2)

    def work() -> None:
        walsh_hadamard(vector)
        np.multiply(vector, shrink, out=vector)  # or the numbers would grow without end

    seconds = best(work) - best(lambda: np.multiply(vector, 1.0, out=vector))
    return {
        "what": "transform",
        "dtype": np.dtype(dtype).name,
        "dimension": 1 << log2,
        "mb_per_s": vector.nbytes / seconds / 1e6,
        "copies": seconds / copy,
    }


def rotation(dimension: int) -> dict[str, object]:
    """The same of ``Rotation.rotate``: float64, signs and two transforms included."""
    turn = Rotation.draw(dimension, Keystream(bytes(32)).words)
    vector = np.random.default_rng(1).normal(size=dimension)
    target = np.empty_like(vector)
    seconds = best(lambda: turn.rotate(vector))
    copy = best(lambda: np.copyto(target, vector))
    return {
        "what": "rotate",
        "dtype": "float64",
        "dimension": dimension,
        "mb_per_s": vector.nbytes / seconds / 1e6,
        "copies": seconds / copy,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of the random rotation.")
    parser.add_argument("--json", type=Path, help="write the figures here")
    target = parser.parse_args().json
    rows = [transform(log2, dtype) for dtype in (np.float32, np.float64) for log2 in (16, 17, 20, 22)]
    rows += [rotation(dimension) for dimension in (75_000, 1 << 17, 1 << 20, 3_000_000)]
    print(f"{'what':>10} {'dtype':>8} {'d':>10} {'MB/s':>8} {'copies':>7}")
    for row in rows:
        print(
            f"{row['what']:>10} {row['dtype']:>8} {row['dimension']:>10,}"
            f" {row['mb_per_s']:>8.0f} {row['copies']:>7.1f}"
        )
    if target is not None:
        result = {"benchmark": "rotation", "machine": platform.machine(), "rows": rows}
        target.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

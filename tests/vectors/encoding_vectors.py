"""Writes dp_rotation.json (9.4) and dp_round_rotation.json (9.8): small vectors that the reference turned.

    python tests/vectors/encoding_vectors.py

A case is written once and for ever.  Signs come as the 64-bit words that they are read from, or as the public
seed and the round that they are drawn from.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests"))

from reference import encoding as reference  # noqa: E402 - found by the line above when run as a program

PATH = ROOT / "protocols" / "vectors" / "v1" / "dp_rotation.json"
ROUND_PATH = PATH.with_name("dp_round_rotation.json")


def rotation() -> dict[str, Any]:
    """Integer vectors and their images to ten decimals."""
    rng = np.random.default_rng(94)
    cases = []
    for dimension in (1, 3, 4, 5, 64, 70):
        m = 1 << (dimension.bit_length() - 1)
        words = [int(w) for w in rng.integers(0, 2**64, 2 * -(-m // 64), dtype=np.uint64)]
        vector = [int(v) for v in rng.integers(-99, 100, dimension)]
        image = reference.rotation_matrix(dimension, words) @ np.array(vector, dtype=np.float64)
        cases.append(
            {
                "words": [str(word) for word in words],
                "vector": vector,
                "image": [f"{value:.10f}" for value in image],
            }
        )
    return {"protocol": "fedpriv/dp/v1", "clause": "9.4", "cases": cases}


def round_rotation() -> dict[str, Any]:
    """The same, turned by the rotations of rounds."""
    rng = np.random.default_rng(98)
    cases = []
    for seed, round_, dimension in (
        (0, 1, 3),
        (7, 1, 5),
        (7, 2, 5),
        (7, 258, 64),
        (2**64 - 1, 30, 70),
        (7, 1, 130),
    ):
        vector = [int(v) for v in rng.integers(-99, 100, dimension)]
        image = reference.round_rotation(seed, round_, dimension) @ np.array(vector, dtype=np.float64)
        cases.append(
            {
                "seed": str(seed),
                "round": round_,
                "vector": vector,
                "image": [f"{value:.10f}" for value in image],
            }
        )
    return {"protocol": "fedpriv/dp/v1", "clause": "9.8", "cases": cases}


def main() -> None:
    """Write the cases."""
    for path, made in ((PATH, rotation()), (ROUND_PATH, round_rotation())):
        path.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

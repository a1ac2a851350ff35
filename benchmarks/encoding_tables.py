"""The tables of protocols/dp/spec.md, section 9: bits with and without rotation, and what rounding adds to S.

    python benchmarks/encoding_tables.py [--json FILE]

Nothing is timed; the figures are the same on every machine.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path

from fedpriv.encoding import ClientGrid, rounded_square_bound
from fedpriv.errors import UnsafeParameters

SENSITIVITY = 1 << 20
RARE = 2.0**-60


def bits_needed(clients: int, dimension: int, *, rotated: bool) -> int:
    """The least modulus whose plan has S = 2^20 at C = 1, z = 1, and 1.3 times the planned variance."""
    for bits in range(20, 63):
        try:
            plan = ClientGrid.plan(
                bits=bits, clients=clients, clip=1.0, noise_multiplier=1.0, share_excess=1.3,
                dimension=dimension, rotated=rotated,
            )  # fmt: skip
        except UnsafeParameters:
            continue
        if plan.sensitivity >= SENSITIVITY:
            return bits
    raise AssertionError("62 bits hold every plan here")


def modulus_rows() -> Iterator[tuple[int, int, int, int, int]]:
    """(clients, dimension, bits unrotated, bits rotated, KiB a client saved)."""
    for dimension in (75_000, 1 << 17, 1 << 20):
        for clients in (8, 32, 338, 10_000):
            plain = bits_needed(clients, dimension, rotated=False)
            turned = bits_needed(clients, dimension, rotated=True)
            yield clients, dimension, plain, turned, round((plain - turned) * dimension / 8192)


def rounding_rows() -> Iterator[tuple[int, float, float, float]]:
    """(log2 of r / sqrt d, excess over r: always, but for 2^-60, conditional), d = 75,000."""
    dimension = 75_000
    for log2 in (0, 2, 4, 6, 8, 10, 12):
        norm = 2.0**log2 * math.sqrt(dimension)
        always = 2.0**-log2
        rare = math.sqrt(rounded_square_bound(norm, dimension, RARE)) / norm - 1
        conditional = math.sqrt(rounded_square_bound(norm, dimension)) / norm - 1
        yield log2, always, rare, conditional


def modulus_table() -> list[str]:
    lines = ["| n | d | bits | bits rotated | saved, KiB a client |", "|---|---|---|---|---|"]
    return lines + [f"| {n:,} | {d:,} | {a} | {b} | {kib:,} |" for n, d, a, b, kib in modulus_rows()]


def rounding_table() -> list[str]:
    lines = ["| r / sqrt d | always | but for 2^-60 | conditional |", "|---|---|---|---|"]
    return lines + [f"| 2^{k} | {a:.4%} | {b:.4%} | {c:.4%} |" for k, a, b, c in rounding_rows()]


def main() -> None:
    parser = argparse.ArgumentParser(description="Tables of the encoding section.")
    parser.add_argument("--json", type=Path, help="write the figures here")
    target = parser.parse_args().json
    print("\n".join([*modulus_table(), "", *rounding_table()]))
    if target is not None:
        result = {
            "benchmark": "encoding_tables",
            "modulus": [
                dict(zip(("clients", "dimension", "bits", "bits_rotated", "saved_kib"), row, strict=True))
                for row in modulus_rows()
            ],
            "rounding": [
                dict(zip(("steps_log2", "always", "rare", "conditional"), row, strict=True))
                for row in rounding_rows()
            ],
        }
        target.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Writes protocols/vectors/v1/dp_*.json from the reference: quantised rows, Skellam weights, event prices.

    python tests/vectors/dp_vectors.py

A case is written once and for ever.  Floats stand as C99 hexadecimal strings, large integers as decimal
strings.
"""

from __future__ import annotations

import json
import math
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests"))

from reference import dp as reference  # noqa: E402 - found by the line above when run as a program

DIRECTORY = ROOT / "protocols" / "vectors" / "v1"


def fixed_point() -> dict[str, Any]:
    """Rows within the bound, their integers, the clamped sum of one client and its residues."""
    bits, clip, scale_log2, client_bound = 24, 0.7391, 12, 5000
    sensitivity = math.floor(Fraction(clip) * 2**scale_log2)
    rng = np.random.default_rng(20)
    raw = rng.normal(size=(12, 6)).astype(np.float32)
    rows = (raw * np.float32(0.73) / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)
    rows[0] = [0.5 * 2.0**-12, 1.5 * 2.0**-12, -0.5 * 2.0**-12, -2.5 * 2.0**-12, 0.0, 0.25]  # ties to even
    rows[1:] += np.float32(0.0)
    integers = [reference.quantise_one([float(x) for x in row], scale_log2, sensitivity) for row in rows]
    assert all(row is not None for row in integers)
    total = [sum(row[k] for row in integers if row is not None) * 3 for k in range(6)]
    clamped = [max(-client_bound, min(client_bound, value)) for value in total]
    return {
        "protocol": "fedpriv/dp/v1",
        "clause": "2.1, 2.3, 2.4",
        "grid": {
            "bits": bits,
            "clients": 8,
            "clip": clip.hex(),
            "scale_log2": scale_log2,
            "sensitivity": sensitivity,
            "client_bound": client_bound,
        },
        "rows": [[float(x).hex() for x in row] for row in rows],
        "integers": integers,
        "times": 3,
        "clamped": clamped,
        "residues": [value % (1 << bits) for value in clamped],
    }


def skellam() -> dict[str, Any]:
    """floor(2^128 P(k)) for a few small variances and k (6.2), and the tail radius (6.1)."""
    cases = []
    for variance in (1, 3, 100):
        with mpmath.workdps(80):
            radius = next(
                k
                for k in range(1, 10_000)
                if mpmath.hypot(variance, k) - variance - k * mpmath.asinh(mpmath.mpf(k) / variance)
                <= -132 * mpmath.log(2)
            )
            weights = {
                str(k): str(int(mpmath.floor(reference.skellam_best(k, variance) * 2**128)))
                for k in (1, 2, 5, 11)
            }
        cases.append({"variance": variance, "radius": radius, "weights": weights})
    return {"protocol": "fedpriv/dp/v1", "clause": "6.1, 6.2", "cases": cases}


def prices() -> dict[str, Any]:
    """Events, counts and what they must cost: bounds that every accountant lies between."""
    cases = []
    for multiplier, rate, rounds, epsilon in ((1.0, 0.1, 20, 1.0), (2.0, 0.25, 10, 0.5)):
        event = {
            "kind": "poisson-gaussian",
            "noise_multiplier": repr(multiplier),
            "sampling_rate": repr(rate),
        }
        lower = reference.composed_gaussian_delta_lower(multiplier, rate, rounds, epsilon)
        cases.append(
            {"event": event, "rounds": rounds, "epsilon": repr(epsilon), "delta_at_least": f"{lower:.6e}"}
        )
    turns = {"kind": "in-turns", "of": "poisson-gaussian", "cohorts": "3"}
    event = {**turns, "noise_multiplier": "1.0", "sampling_rate": "0.1"}
    lower = reference.composed_gaussian_delta_lower(1.0, 0.1, reference.rounds_of_one_unit(20, 3), 0.5)
    cases.append({"event": event, "rounds": 20, "epsilon": "0.5", "delta_at_least": f"{lower:.6e}"})
    sensitivity, variance, rate = 40, 900, 0.3
    mixture, noise = reference.sampled_pair(variance, sensitivity, rate, 500)
    event = {
        "kind": "poisson-skellam",
        "noise_variance": str(variance),
        "sensitivity": str(sensitivity),
        "dimension": "1",
        "sampling_rate": repr(rate),
    }
    for epsilon in (0.25, 1.5):
        lower = max(
            reference.hockey_stick(mixture, noise, epsilon), reference.hockey_stick(noise, mixture, epsilon)
        )
        cases.append(
            {"event": event, "rounds": 1, "epsilon": repr(epsilon), "delta_at_least": f"{lower:.6e}"}
        )
    return {"protocol": "fedpriv/dp/v1", "clause": "5.3, 7.1, 7.3, 7.12", "cases": cases}


CASES = {"dp_fixed_point": fixed_point, "dp_skellam_weights": skellam, "dp_prices": prices}


def main() -> None:
    """Write every case."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for name, case in CASES.items():
        (DIRECTORY / f"{name}.json").write_text(json.dumps(case(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Many records summed, then rounded once (protocols/dp/spec.md, 9.6): how far one record moves the integers.

No mechanism of this project does so; the specification's bounds are claims, and are searched for a breach.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from fedpriv.encoding import rounded_square_bound

ROOT = Path(__file__).resolve().parents[3]


def moved(rest: np.ndarray, record: np.ndarray, dither: np.ndarray) -> np.ndarray:
    """|D| for each row: how far the record moves the sum of the others, rounded after a dither."""
    step = np.rint(rest + record + dither) - np.rint(rest + dither)
    return np.asarray(np.linalg.norm(step, axis=-1))


@pytest.mark.parametrize("dimension", [1, 2, 5, 30, 400])
def test_no_search_finds_a_record_that_moves_the_sum_by_more_than_r_plus_root_d(dimension: int) -> None:
    """Random records, and for each the worst rest and dither of 300 in every coordinate: 85% of the bound."""
    rng = np.random.default_rng(dimension)
    root = math.sqrt(dimension)
    reached = 0.0
    for norm in (0.1 * root, 0.3, 1.0, root, 1.05 * root, 3 * root, 100 * root):
        for shape in range(8):
            record = rng.normal(size=dimension) if shape % 2 else np.ones(dimension)
            record *= norm / np.linalg.norm(record)
            rests = rng.uniform(-50, 50, (300, dimension))
            dithers = rng.uniform(0, 1, (300, dimension))
            steps = np.abs(np.rint(rests + record + dithers) - np.rint(rests + dithers))
            worst = steps.argmax(axis=0)[None]
            chosen = (np.take_along_axis(x, worst, axis=0)[0] for x in (rests, dithers))
            rest, dither = chosen
            value = float(moved(rest, record, dither))
            assert value == float(np.linalg.norm(steps.max(axis=0)))
            assert value <= (norm + root) * (1 + 1e-12)
            reached = max(reached, value / (norm + root))
    assert reached > 0.85


@pytest.mark.parametrize("level", [0, 1, 7, 256])
def test_the_always_bound_is_reached_in_the_limit(level: int) -> None:
    dimension = 4096
    record = np.full(dimension, level + 1e-6)
    value = float(moved(np.zeros(dimension), record, np.full(dimension, 0.5 - 1e-7)))
    assert value == (level + 1) * 64.0
    norm = float(np.linalg.norm(record))
    assert 0.9999 * (norm + 64.0) < value <= norm + 64.0


def test_under_a_uniform_dither_the_step_is_a_stochastic_rounding_of_the_record() -> None:
    """Each coordinate goes up with the chance of its fraction, whatever the rest of the sum is."""
    rng = np.random.default_rng(2)
    n = 200_000
    for rest, record in ((0.0, 0.3), (0.77, 0.3), (-12.345, 2.9), (0.5, -1.25)):
        step = np.rint(rest + record + (u := rng.random(n))) - np.rint(rest + u)
        assert set(np.unique(step)) <= {math.floor(record), math.floor(record) + 1}
        ups = float((step > math.floor(record)).mean())
        fraction = record - math.floor(record)
        assert abs(ups - fraction) < 5.5 * math.sqrt(fraction * (1 - fraction) / n)  # once in 1e7


@pytest.mark.parametrize("steps", [0.5, 1.0, 16.0])
def test_the_rare_bound_holds_for_uniform_dithers_and_the_worst_records(steps: float) -> None:
    dimension, n = 400, 4000
    rng = np.random.default_rng(5)
    norm = steps * math.sqrt(dimension)
    longest = 0.0
    for record in (
        np.full(dimension, steps),
        np.full(dimension, math.floor(steps) + 0.5),
        rng.normal(size=dimension),
    ):
        scaled = record * min(1.0, norm / np.linalg.norm(record))
        value = moved(rng.uniform(-9, 9, dimension), scaled, rng.random((n, dimension)))
        for beta in (0.3, 1e-2, 1e-9):
            bound = math.sqrt(rounded_square_bound(norm, dimension, beta))
            # Above beta by chance: a binomial count, six deviations (once in 1e9) above its mean.
            assert (value > bound).sum() <= beta * n + 6 * math.sqrt(beta * n) + 1
        longest = max(longest, float(value.max()))
    assert longest > 0.85 * math.sqrt(rounded_square_bound(norm, dimension, 1e-3))
    assert rounded_square_bound(norm, dimension, 1e-9) < (norm + math.sqrt(dimension)) ** 2 or steps < 1


def test_the_tables_of_the_specification_are_the_ones_that_the_command_prints() -> None:
    figures = json.loads((ROOT / "benchmarks" / "results" / "encoding_tables.json").read_text())
    text = (ROOT / "protocols" / "dp" / "spec.md").read_text()
    for row in figures["rounding"]:
        norm = 2.0 ** row["steps_log2"] * math.sqrt(75_000)
        rare = math.sqrt(rounded_square_bound(norm, 75_000, 2.0**-60)) / norm - 1
        conditional = math.sqrt(rounded_square_bound(norm, 75_000)) / norm - 1
        line = f"| 2^{row['steps_log2']} | {2.0 ** -row['steps_log2']:.4%} | {rare:.4%} | {conditional:.4%} |"
        assert line in text
    for row in figures["modulus"]:
        head = f"| {row['clients']:,} | {row['dimension']:,} | {row['bits']} | {row['bits_rotated']} |"
        assert head in text

"""Package and reference against the published vectors of protocols/dp."""

from __future__ import annotations

import json

import numpy as np
import pytest
from vectors.dp_vectors import CASES, DIRECTORY

from fedpriv.dp import delta_pld, event_from_dict
from fedpriv.dp.skellam_law import integer_weights, tail_radius
from fedpriv.encoding import FixedPoint


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_reference_still_gives_the_published_vectors(name: str) -> None:
    assert CASES[name]() == json.loads((DIRECTORY / f"{name}.json").read_text())


def test_fixed_point() -> None:
    case = json.loads((DIRECTORY / "dp_fixed_point.json").read_text())
    fields = dict(case["grid"])
    grid = FixedPoint(**(fields | {"clip": float.fromhex(fields["clip"])}))
    rows = np.array([[float.fromhex(x) for x in row] for row in case["rows"]], dtype=np.float32)
    for row, integers in zip(rows, case["integers"], strict=True):
        assert grid.quantise(row[None]).tolist() == integers
    clamped = grid.clamp(grid.quantise(np.concatenate([rows] * case["times"])))
    assert clamped.tolist() == case["clamped"]
    assert grid.to_residues(clamped).tolist() == case["residues"]
    assert np.array_equal(grid.centre(grid.to_residues(clamped)), clamped)


def test_skellam_weights() -> None:
    for case in json.loads((DIRECTORY / "dp_skellam_weights.json").read_text())["cases"]:
        radius = tail_radius(case["variance"])
        assert radius == case["radius"]
        weights = integer_weights(case["variance"], 128)
        for k, weight in case["weights"].items():
            assert weights[radius + int(k)] - int(weight) in (
                0,
                1,
            )  # cutting the tails adds a factor 1 + 2^-130


def test_prices_are_not_below_the_truth_nor_far_above() -> None:
    for case in json.loads((DIRECTORY / "dp_prices.json").read_text())["cases"]:
        delta = delta_pld([(event_from_dict(case["event"]), case["rounds"])], float(case["epsilon"]))
        assert (
            float(case["delta_at_least"]) * (1 - 1e-6) <= delta <= float(case["delta_at_least"]) * 1.25 + 1e-3
        )

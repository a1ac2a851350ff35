"""Initial weights are a function of public values alone."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from fedpriv.errors import UsageError
from fedpriv.peft import uniform
from fedpriv.peft.public_init import orthonormal


def test_the_values_of_the_specification():
    stream = hashlib.shake_256(b"fedpriv/peft/init/1" + (7).to_bytes(8, "little") + b"layer.weight").digest(
        24
    )
    words = [int.from_bytes(stream[i : i + 4], "little") >> 8 for i in range(0, 24, 4)]
    expected = [np.float32(0.25 * ((2 * w + 1 - 2**24) / 2**24)) for w in words]
    assert uniform(7, "layer.weight", (2, 3), 0.25).reshape(-1).tolist() == expected


def test_pinned_values_for_other_implementations():
    values = uniform(0, "a", (3,), 1.0)
    assert values.tobytes().hex() == "b024233d9e3effbe146a4cbe"


def test_uniform_over_the_interval():
    values = uniform(3, "w", (100, 1000), 2.0).astype(np.float64)
    # Four standard errors of the mean and of the variance of 100,000 draws: fails for about 1 seed in 8,000.
    assert abs(values.mean()) < 4 * 2 / np.sqrt(3) / np.sqrt(values.size)
    assert abs(values.var() - 4 / 3) < 4 * (4 / np.sqrt(5) * 2 / 3) / np.sqrt(values.size)
    assert np.abs(values).max() < 2.0


def test_name_and_seed_change_everything():
    base = uniform(1, "w", (50,), 1.0)
    assert (base != uniform(2, "w", (50,), 1.0)).all()
    assert (base != uniform(1, "v", (50,), 1.0)).all()


@pytest.mark.parametrize(("seed", "bound"), [(-1, 1.0), (2**64, 1.0), (0, 0.0), (0, float("inf"))])
def test_seeds_and_bounds_out_of_range_are_refused(seed, bound):
    with pytest.raises(UsageError):
        uniform(seed, "w", (2,), bound)


@pytest.mark.parametrize("shape", [(1, 5), (4, 32), (16, 16)])
def test_bases_are_orthonormal(shape):
    rows = orthonormal(3, "w", shape).astype(np.float64)
    # Rounding each coordinate to single precision leaves a few 1e-8.
    np.testing.assert_allclose(rows @ rows.T, np.eye(shape[0]), atol=2e-7)


def test_a_pinned_basis_for_other_implementations():
    assert orthonormal(0, "a", (2, 3)).tobytes().hex() == "087c973d00016dbf62cebdbeb81278bf62c7ac3c4bec7bbe"


def test_a_basis_follows_from_the_text_of_the_specification():
    """Written once more with plain numbers, added from left to right."""
    rows = [[float(x) for x in row] for row in uniform(9, "b", (3, 7), 1.0)]

    def dot(left, right):
        total = 0.0
        for one, other in zip(left, right, strict=True):
            total += one * other
        return total

    for index in range(3):
        for _ in range(2):
            for earlier in rows[:index]:
                factor = dot(rows[index], earlier)
                rows[index] = [x - factor * y for x, y in zip(rows[index], earlier, strict=True)]
            length = dot(rows[index], rows[index]) ** 0.5
            rows[index] = [x / length for x in rows[index]]
    assert orthonormal(9, "b", (3, 7)).tobytes() == np.array(rows, dtype=np.float32).tobytes()


def test_more_orthonormal_rows_than_a_row_is_long_are_refused():
    with pytest.raises(UsageError, match="larger than the side"):
        orthonormal(0, "a", (4, 3))

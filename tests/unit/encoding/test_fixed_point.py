"""The integer grid: exact sensitivity, exact sums, no wrap within the plan."""

from __future__ import annotations

import time

import numpy as np
import pytest
from reference import dp as reference

from fedpriv.encoding import FixedPoint
from fedpriv.errors import UnsafeParameters, UsageError


def planned(**changes: float) -> FixedPoint:
    parameters: dict[str, float] = {
        "bits": 32,
        "clients": 8,
        "clip": 0.5,
        "expected_contributions": 512.0,
        "noise_multiplier": 0.935,
        "share_excess": 1.6,
        "dimension": 75_000,
    }
    return FixedPoint.plan(**(parameters | changes))  # type: ignore[arg-type]


def exact_square(row: np.ndarray) -> int:
    return sum(int(value) ** 2 for value in row)


def clipped(rng: np.random.Generator, rows: int, dimension: int, norm: float) -> np.ndarray:
    raw = rng.normal(size=(rows, dimension)).astype(np.float32)
    return (raw * (norm / np.linalg.norm(raw, axis=1, keepdims=True))).astype(np.float32)


def test_plan_takes_the_finest_grid_that_cannot_wrap() -> None:
    grid = planned()
    noise = np.sqrt(2 * np.log(2 * 75_000 * 2.0**40)) * 0.935 * np.sqrt(1.6)
    assert grid.clients * grid.client_bound >= 2 * 512 * grid.sensitivity
    assert grid.clients * grid.client_bound + noise * grid.sensitivity < 2**31
    twice = 2 * (grid.clients * grid.client_bound + (noise + 2) * grid.sensitivity)
    assert twice >= 2**31  # one more bit of scale would not fit


@pytest.mark.parametrize("clip", [1e-6, 0.5, 0.7391, 1.0, 3.0, 1e6])
def test_sensitivity_is_the_floor_of_the_scaled_clip(clip: float) -> None:
    grid = planned(clip=clip)
    assert grid.sensitivity <= clip * 2.0**grid.scale_log2 < grid.sensitivity + 1


def test_a_modulus_that_is_too_small_names_the_bits_needed() -> None:
    with pytest.raises(UnsafeParameters, match="16 bits") as caught:
        planned(bits=16)
    needed = int(caught.value.hint.removeprefix("use bits = "))
    planned(bits=needed)
    with pytest.raises(UnsafeParameters):
        planned(bits=needed - 1)


def test_wide_moduli_keep_the_noise_within_the_sampler() -> None:
    grid = planned(bits=62, noise_multiplier=30.0)
    assert grid.sensitivity * 30.0 * np.sqrt(1.6) <= 2**30


def test_a_row_just_inside_the_clip_is_rounded_not_truncated() -> None:
    grid = planned()
    rows = clipped(np.random.default_rng(1), 4, 75_000, 0.5 * (1 - 2.0**-20))
    expected = np.rint(rows.astype(np.float64) * 2.0**grid.scale_log2).astype(np.int64).sum(axis=0)
    assert np.array_equal(grid.quantise(rows), expected)


def test_rows_of_any_size_come_out_within_the_sensitivity_exactly() -> None:
    rng = np.random.default_rng(2)
    for bits in (24, 32, 48, 62):
        grid = planned(bits=bits, dimension=300, expected_contributions=4.0)
        for norm in (0.0, 1e-9, 0.4999, 0.5, 0.50001, 0.6, 1e3, 1e18):
            row = clipped(rng, 1, 300, 1.0) * np.float32(norm)
            out = grid.quantise(row)
            assert exact_square(out) <= grid.sensitivity**2
            if norm >= 0.5:  # clipping by shrinking loses less than the truncation of each coordinate
                assert exact_square(out) >= (grid.sensitivity - 2 * np.sqrt(300) - 1) ** 2


def test_the_boundary_is_decided_in_integers() -> None:
    # 3-4-5: norm exactly S is kept; one unit more is not.  At S near 2^30 float64 cannot tell the two apart.
    grid = FixedPoint(bits=62, clients=1, clip=1.0, scale_log2=30, sensitivity=2**30, client_bound=2**40)
    unit = 2.0**-30
    kept = np.array([[3 * 2**28, 2**29 * np.sqrt(1.75) // 1]]) * unit
    on_grid = np.rint(kept[0] / unit).astype(np.int64)
    assert exact_square(on_grid) <= 2**60
    assert np.array_equal(grid.quantise(kept), on_grid)
    over = np.array([[2**30, 1]], dtype=np.float64) * unit  # norm^2 = 2^60 + 1
    assert float(2**60 + 1) == float(2**60)
    out = grid.quantise(over)
    assert not np.array_equal(out, [2**30, 1])
    assert exact_square(out) <= 2**60


def test_the_sum_equals_single_rows_added_in_rational_arithmetic() -> None:
    grid = planned(dimension=12, bits=28, expected_contributions=8.0)
    rows = clipped(np.random.default_rng(3), 20, 12, 0.45)
    total = np.zeros(12, dtype=object)
    for row in rows:
        single = reference.quantise_one([float(x) for x in row], grid.scale_log2, grid.sensitivity)
        assert single is not None
        total += np.array(single, dtype=object)
    assert list(grid.quantise(rows)) == list(total)


def test_rows_longer_than_a_block_are_decided_as_a_whole() -> None:
    # Each block of such a row is well within the sensitivity; the row is kept, shrunk or refused as one.
    grid = planned(dimension=100_001)
    rows = clipped(np.random.default_rng(7), 3, 100_001, 0.5 * (1 - 2.0**-20))
    rows[1] *= np.float32(1.5)
    exact = np.rint(rows.astype(np.float64) * 2.0**grid.scale_log2).astype(np.int64)
    shrunk = grid.quantise(rows[1:2])
    assert exact_square(exact[1]) > grid.sensitivity**2 >= exact_square(shrunk)
    assert np.array_equal(grid.quantise(rows), exact[0] + shrunk + exact[2])
    rows[2, -1] = np.nan
    with pytest.raises(UsageError, match="NaN"):
        grid.quantise(rows)


def test_the_boundary_is_decided_in_integers_across_blocks() -> None:
    grid = FixedPoint(bits=62, clients=1, clip=1.0, scale_log2=30, sensitivity=2**30, client_bound=2**40)
    for last, kept in ((0, True), (1, False)):
        units = np.zeros(100_000, dtype=np.int64)
        units[0], units[-1] = 2**30, last  # norm^2 = 2^60 + last, which float64 does not tell apart
        assert np.array_equal(grid.quantise(units[None] * 2.0**-30), units) == kept


def test_an_empty_batch_is_a_zero_vector() -> None:
    out = planned().quantise(np.zeros((0, 5), dtype=np.float32))
    assert out.dtype == np.int64
    assert np.array_equal(out, np.zeros(5))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_non_finite_gradient_is_refused(bad: float) -> None:
    rows = np.zeros((2, 3), dtype=np.float32)
    rows[1, 2] = bad
    with pytest.raises(UsageError, match="NaN"):
        planned().quantise(rows)


@pytest.mark.parametrize(
    "bad", [np.zeros(3, np.float32), np.zeros((1, 3), np.int64), np.zeros((1, 3), np.float16)]
)
def test_shape_and_dtype_are_checked(bad: np.ndarray) -> None:
    with pytest.raises(UsageError, match=r"\(B, d\)"):
        planned().quantise(bad)


def test_residues_come_back_and_a_sum_of_clients_decodes() -> None:
    grid = planned()
    rng = np.random.default_rng(4)
    sums = [grid.clamp(rng.integers(-(2**40), 2**40, 50)) for _ in range(8)]
    assert max(int(np.abs(s).max()) for s in sums) == grid.client_bound
    total = np.zeros(50, dtype=np.uint64)
    for s in sums:
        total = (total + grid.to_residues(s)) & np.uint64(2**32 - 1)
    assert np.array_equal(grid.centre(total), sum(sums))
    assert np.array_equal(grid.decode(sum(sums)), sum(sums) * 2.0**-grid.scale_log2)


def test_centre_refuses_what_is_not_a_residue() -> None:
    grid = planned()
    with pytest.raises(UsageError, match="not below"):
        grid.centre(np.array([2**32], dtype=np.uint64))
    with pytest.raises(UsageError, match="uint64"):
        grid.centre(np.array([1], dtype=np.int64))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"sensitivity": 17},
        {"client_bound": 2**14},
        {"client_bound": 0},
        {"clip": 0.0},
        {"bits": 63},
        {"clients": 0},
    ],
)
def test_an_inconsistent_grid_cannot_be_built(changes: dict[str, float]) -> None:
    fields: dict[str, float] = {
        "bits": 16, "clients": 2, "clip": 1.0, "scale_log2": 4, "sensitivity": 16, "client_bound": 64,
    }  # fmt: skip
    FixedPoint(**fields)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        FixedPoint(**(fields | changes))  # type: ignore[arg-type]


def test_a_batch_of_32_is_quantised_in_well_under_a_tenth_of_a_second() -> None:
    grid = planned()
    rows = clipped(np.random.default_rng(5), 32, 75_000, 0.499)
    grid.quantise(rows)
    best = min(_timed(grid, rows) for _ in range(5))
    assert best < 0.1


def _timed(grid: FixedPoint, rows: np.ndarray) -> float:
    start = time.process_time()
    grid.quantise(rows)
    return time.process_time() - start

"""A sum of many contributions that are turned before they are rounded: the bound on a client, and what it
holds, against slow ways; the sensitivity, against rows that know the signs."""

from __future__ import annotations

import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import encoding as reference

from fedpriv.crypto import Keystream
from fedpriv.encoding import FixedPoint, Rotation
from fedpriv.errors import UsageError


def drawn(dimension: int, seed: int) -> Rotation:
    return Rotation.draw(dimension, Keystream(seed.to_bytes(32, "little")).words)


def planned(**changes: object) -> FixedPoint:
    values: dict[str, object] = {
        "bits": 24, "clients": 5, "clip": 0.7391, "expected_contributions": 60.0, "noise_multiplier": 1.0,
        "share_excess": 1.3, "dimension": 3000, "rotated": 3000,
    }  # fmt: skip
    return FixedPoint.plan(**(values | changes))  # type: ignore[arg-type]


def summed(grid: FixedPoint, rows: np.ndarray, turn: Rotation) -> np.ndarray:
    """One client's integers before the clamp."""
    return np.sum([grid.quantise(row[np.newaxis]) for row in turn.rows(rows)], axis=0)


@pytest.mark.parametrize("clients", [1, 3, 8, 338])
@pytest.mark.parametrize("expected", [0.25, 4.0, 60.0, 512.0])
@pytest.mark.parametrize("dimension", [1, 3, 100, 4096, 20_000])
def test_the_bound_is_the_specifications_and_the_grid_the_finest_that_fits(
    clients: int, expected: float, dimension: int
) -> None:
    common = {"clients": clients, "expected_contributions": expected, "dimension": dimension}
    grid = planned(**common, bits=36, rotated=dimension)
    plain = planned(**common, bits=36, rotated=None)

    def slow(sensitivity: int) -> tuple[int, float]:
        bound = reference.rotated_client_bound(
            sensitivity, clients=clients, expected=Fraction(expected), dimension=dimension
        )
        tails = math.sqrt(2 * math.log(4 * dimension * 2.0**40)) + 1
        return bound, clients * bound + tails * math.sqrt(1.3) * sensitivity

    bound, reach = slow(grid.sensitivity)
    assert grid.client_bound == bound
    assert reach < 2**35
    finer = math.floor(Fraction(grid.clip) * Fraction(2) ** (grid.scale_log2 + 1))
    assert slow(finer)[1] + 1 >= 2**35 or finer > 2**30
    if dimension >= 4096 and expected > clients:
        assert grid.sensitivity >= 2 * plain.sensitivity or grid.sensitivity > 2**29
    assert (
        grid.scale_log2 >= plain.scale_log2 - 1
    )  # half of the chance is for the turn, a hair of noise's room


@pytest.mark.parametrize("dimension", [3000, 4096])
def test_contributions_along_one_axis_are_clamped_unturned_and_never_turned(dimension: int) -> None:
    """Twice the expected contributions, all on one coordinate: 60 rotations, each with a chance of 2^-41."""
    grid = planned(dimension=dimension, rotated=dimension)
    held = 24  # 2 * 60 expected / 5 clients
    axis, block = np.zeros((2, dimension))
    axis[-1] = 1.0
    block[: dimension // 9] = 1.0
    worst = np.stack([axis, block, np.ones(dimension), (-1.0) ** np.arange(dimension)])
    worst *= grid.clip / np.linalg.norm(worst, axis=1, keepdims=True)
    peaks = [
        np.abs(held * grid.quantise(row[np.newaxis])).max()
        for seed in range(15)
        for row in drawn(dimension, seed).rows(worst)
    ]
    largest = max(peaks)
    assert largest <= grid.client_bound
    assert largest >= 0.4 * grid.client_bound  # the bound is not idle
    unturned = held * grid.quantise(worst[:1])
    assert np.abs(unturned).max() > 4 * grid.client_bound
    assert not np.array_equal(grid.clamp(unturned), unturned)


def test_a_chance_that_is_asked_for_is_kept_and_not_by_much() -> None:
    """At p / 2 = 0.25 for the clamp: of 400 rotations of one spike at most 137 may be cut (five standard
    deviations), and the bound with the least slack, Hoeffding's over 3000 coordinates, is never below half of
    the largest coordinate that was seen."""
    grid = planned(clients=1, expected_contributions=0.5, failure=0.5)
    spike = np.eye(1, 3000, 17) * grid.clip
    peaks = np.array([np.abs(summed(grid, spike, drawn(3000, seed))).max() for seed in range(400)])
    assert (peaks > grid.client_bound).sum() <= 100 + 5 * math.sqrt(400 * 0.25 * 0.75)
    assert 0.5 * grid.client_bound < peaks.max()


def test_the_sum_that_is_turned_back_is_the_sum_that_was_never_turned() -> None:
    """To rounding: half a unit a contribution and coordinate at most, and it does not add up."""
    grid = planned(bits=30)
    rows = np.random.default_rng(2).standard_normal((60, 3000)).astype(np.float32)
    rows[::4, 100:] = 0.0
    rows *= (grid.clip * 0.999 / np.linalg.norm(rows, axis=1))[:, np.newaxis]
    turn = drawn(3000, 3)
    back = turn.inverse(grid.decode(summed(grid, rows, turn)))
    unit = 2.0**-grid.scale_log2
    straight = grid.decode(grid.quantise(rows))
    rounding = 60 * math.sqrt(3000) / 2 * unit  # the most that rounding moves a sum in l2
    assert np.linalg.norm(back - rows.sum(axis=0, dtype=np.float64)) <= rounding
    assert np.linalg.norm(back - straight) <= 2 * rounding
    assert np.linalg.norm(back - straight) > 0.0


def test_rows_are_turned_each_by_itself_whatever_else_is_in_the_batch() -> None:
    rng = np.random.default_rng(5)
    for dimension in (1, 7, 700, 20_000):
        rows, turn = rng.standard_normal((5, dimension)).astype(np.float32), drawn(dimension, 1)
        kept = rows.copy()
        together = [row.copy() for row in turn.rows(rows)]
        alone = [next(turn.rows(rows[place : place + 1])) for place in range(5)]
        assert np.array_equal(together, alone)
        assert np.array_equal(together, [turn.rotate(row) for row in rows])
        assert np.array_equal(rows, kept)


def test_a_large_batch_is_turned_in_the_memory_of_a_few_rows() -> None:
    rows, turn = np.zeros((64, 2**17), dtype=np.float32), drawn(2**17, 1)
    next(turn.rows(rows[:1]))
    tracemalloc.start()
    for _ in turn.rows(rows):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 8 * 2**17  # eight vectors of doubles; a copy of the batch would be 64


rows_at_the_clip = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.just(13)),
    elements=st.floats(-1e6, 1e6, allow_subnormal=False),
)


@settings(max_examples=150, deadline=None)
@given(rows=rows_at_the_clip, seed=st.integers(0, 2**20), aimed=st.booleans(), bits=st.integers(14, 40))
def test_no_row_is_longer_than_the_sensitivity_even_one_that_knows_the_signs(
    rows: np.ndarray, seed: int, aimed: bool, bits: int
) -> None:
    grid = planned(bits=bits, dimension=13, rotated=13, clients=2, expected_contributions=1.0)
    turn = drawn(13, seed)
    norms = np.linalg.norm(rows, axis=1)
    rows = rows[norms > 0] * (grid.clip / norms[norms > 0])[:, np.newaxis]
    if aimed:  # what lands on halves of a unit, and what lands on one coordinate
        halves = np.full(13, math.floor(grid.sensitivity / math.sqrt(13)) + 0.5) * 2.0**-grid.scale_log2
        rows = np.stack([turn.inverse(halves), turn.inverse(np.eye(13)[5] * grid.clip), *rows])
    for row in turn.rows(rows):
        integers = grid.quantise(row[np.newaxis])
        assert sum(int(value) ** 2 for value in integers) <= grid.sensitivity**2
    for left_out in range(len(rows)):
        others = np.delete(rows, left_out, axis=0)
        moved = grid.clamp(summed(grid, rows, turn))
        if len(others):
            moved = moved - grid.clamp(summed(grid, others, turn))
        assert sum(int(value) ** 2 for value in moved) <= grid.sensitivity**2


def test_a_coordinate_beside_has_room_for_all_that_a_client_adds_to_it() -> None:
    beside = 0.3
    grid = planned(dimension=3001, clients=50, expected_contributions=25.0, beside=beside)
    assert grid.client_bound == math.ceil(beside * grid.sensitivity)
    without = planned(clients=50, expected_contributions=25.0)
    assert without.client_bound < 0.25 * without.sensitivity


def test_what_cannot_be_planned_or_turned_is_refused() -> None:
    for changes in ({"rotated": 0}, {"rotated": 3001}, {"beside": -0.1}, {"beside": math.nan}):
        with pytest.raises(UsageError, match="rotated is"):
            planned(**changes)
    for rows in (np.zeros(5), np.zeros((2, 4)), np.zeros((2, 5), dtype=np.int64)):
        with pytest.raises(UsageError, match="rotat"):
            list(drawn(5, 1).rows(rows))
    grid = planned(dimension=5, rotated=5)
    for value in (np.nan, np.inf, 1e308):
        with pytest.raises(UsageError, match="NaN"):
            summed(grid, np.full((1, 5), value), drawn(5, 1))

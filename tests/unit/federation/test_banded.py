"""The banded matrix mechanism: rows against a dense matrix, what one client can move, who is in when."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from fedpriv import dp
from fedpriv.crypto import Keystream
from fedpriv.errors import UnsafeParameters
from fedpriv.federation.banded import BandedRelease, FineNoise
from fedpriv.federation.planning.cohorts import cohort, largest_cohort


def plan_of(multiplier: float = 2.0, sensitivity: int = 2**20, dimension: int = 50) -> dp.NoisePlan:
    return dp.NoisePlan(
        trust="central",
        clients=10,
        min_survivors=6,
        max_colluders=1,
        noise_multiplier=multiplier,
        sensitivity=sensitivity,
        dimension=dimension,
        sampling_rate=1.0,
    )


def dense(bands: int, rounds: int) -> np.ndarray:
    c = dp.banded_sqrt(bands, rounds)
    return sum(np.diag(np.full(rounds - m, c[m]), -m) for m in range(len(c)))


def words() -> dp.Words:
    return Keystream(bytes(32)).words


@pytest.mark.parametrize(("bands", "rounds"), [(1, 4), (2, 7), (4, 13), (16, 5)])
def test_the_estimates_are_the_sums_and_correlated_noise(bands: int, rounds: int) -> None:
    # The same integer noise, once through the stream and once through a dense solve: x + C^-1 Z.
    noise = plan_of()
    release, fine = BandedRelease(noise, bands=bands, rounds=rounds), FineNoise(noise, bands)
    rng = np.random.default_rng(2)
    sums = rng.integers(-(2**22), 2**22, (rounds, noise.dimension))
    streams = [Keystream(bytes([r]) * 32) for r in range(rounds)]
    found = np.array([release.next(sums[r], streams[r].words) for r in range(rounds)])
    z = np.array([dp.skellam(fine.variance, 50, Keystream(bytes([r]) * 32).words) for r in range(rounds)])
    matrix = dense(bands, rounds)
    expected = sums + np.linalg.solve(matrix, z * 2.0**-fine.fine)
    assert (
        np.abs(found - expected).max() <= 2.0**-fine.fine * 2 * rounds
    )  # the rows are rounded to the lattice
    # ... and the noise of a sum over rounds is smaller than without the matrix, which is what it is for.
    if bands >= 4 and rounds > 4:
        factor = np.linalg.inv(matrix)
        totals = np.tril(np.ones((rounds, rounds))) @ factor
        charges = dp.BandedMatrixRound(1.0, bands).charged(rounds)
        assert np.linalg.norm(totals, axis=1).max() < math.sqrt(rounds)
        assert charges == -(-rounds // bands)


@pytest.mark.parametrize("bands", [2, 3, 8])
def test_no_client_moves_all_rows_together_by_more_than_is_stated(bands: int) -> None:
    # Noise off: the rows on the lattice with and without one client's vector, at each round of a window, for
    # vectors of norm S, some of them along one axis, some spread out.
    noise, rounds = plan_of(sensitivity=2**12, dimension=400), 20
    fine = FineNoise(noise, bands)

    def rows_of(sums: np.ndarray) -> np.ndarray:
        release = BandedRelease(noise, bands=bands, rounds=rounds)
        return np.array([release.row(total) for total in sums], dtype=object)

    rng = np.random.default_rng(7)
    sums = rng.integers(-(2**16), 2**16, (rounds, 400))
    before, most = rows_of(sums), 0
    for round_, shape in itertools.product(range(5, 5 + bands), ("axis", "spread", "random")):
        vector = {
            "axis": np.eye(400)[5] * 2**12,
            "spread": np.full(400, 2**12 // 20),
            "random": None,
        }[shape]
        if vector is None:
            direction = rng.standard_normal(400)
            vector = np.trunc(direction * (2**12 / np.linalg.norm(direction)))
        moved = sums.copy()
        moved[round_] += vector.astype(np.int64)
        apart = int(((rows_of(moved) - before) ** 2).sum())
        assert apart <= fine.sensitivity**2
        most = max(most, apart)
    assert most >= (0.99 * 2**12 * 2**fine.fine) ** 2


def test_the_noise_of_a_row_is_as_many_times_the_sensitivity_as_the_event_says() -> None:
    noise = plan_of(multiplier=1.37)
    for bands in (1, 4, 64):
        fine = FineNoise(noise, bands)
        event = dp.RoundEvents(noise, bands=bands).event()
        assert isinstance(event, dp.BandedMatrixRound)
        assert math.sqrt(fine.variance) / fine.sensitivity >= event.noise_multiplier * (1 - 1e-15)
        assert fine.sensitivity >= (noise.sensitivity << fine.fine) + 2 * math.sqrt(50 * bands)
        assert fine.variance < 2**60


def test_noise_too_coarse_to_be_called_gaussian_is_refused() -> None:
    FineNoise(plan_of(), 4).check(100, epsilon=3.0, delta=1e-5)
    with pytest.raises(UnsafeParameters, match="exact rows"):
        FineNoise(plan_of(multiplier=0.05), 4000).check(100, epsilon=3.0, delta=1e-5)
    with pytest.raises(UnsafeParameters, match="too coarse"):
        FineNoise(plan_of(dimension=10**9), 4).check(10**6, epsilon=8.0, delta=1e-10)


def test_after_a_reset_a_block_of_its_own_begins() -> None:
    noise = plan_of()
    release = BandedRelease(noise, bands=4, rounds=8)
    release.next(np.full(50, 2**21), words())
    release.reset()
    fresh = BandedRelease(noise, bands=4, rounds=8)
    total = np.arange(50) << 10
    assert np.array_equal(release.next(total, words()), fresh.next(total, words()))


@pytest.mark.parametrize(("clients", "cohorts"), [(10, 3), (338, 16), (8, 8), (5, 1)])
def test_no_client_takes_part_twice_in_as_many_rounds_as_there_are_cohorts(
    clients: int, cohorts: int
) -> None:
    members = [cohort(r, clients=clients, cohorts=cohorts, seed=4) for r in range(1, 4 * cohorts + 1)]
    for first in range(3 * cohorts):
        window = [client for part in members[first : first + cohorts] for client in part]
        assert sorted(window) == list(range(1, clients + 1))
    assert max(map(len, members)) == largest_cohort(clients, cohorts)
    assert max(map(len, members)) - min(map(len, members)) <= 1

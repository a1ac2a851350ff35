"""The noise of a step: its size, its sensitivity, and that the event says no less than was done."""

from __future__ import annotations

import hashlib
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy import stats

from fedpriv.crypto import Keystream
from fedpriv.errors import UnsafeParameters, UsageError
from fedpriv.private.release import Grid


def released(grid, total, key=bytes(32), divisor=1.0):
    ((_, found),) = grid.release({"one": total}, divisor, Keystream(key).words, hashlib.sha256())
    return found


@pytest.mark.parametrize("clip", [1e-3, 0.7, 1.0, 50.0])
@pytest.mark.parametrize("multiplier", [0.05, 0.81, 3.3, 400.0])
@pytest.mark.parametrize("dimension", [1, 1000, 135_000_000])
def test_the_grid_is_the_finest_and_its_noise_never_below_the_multiplier(clip, multiplier, dimension):
    records = 10**6
    try:
        grid = Grid.finest(clip, multiplier, dimension, records)
    except UnsafeParameters:
        assert multiplier == 400.0
        assert dimension == 135_000_000
        return
    rounding = math.isqrt(dimension - 1) + 1
    assert rounding**2 >= dimension
    assert grid.sensitivity >= Fraction(clip) * Fraction(2) ** grid.fine + rounding
    assert grid.variance >= (Fraction(multiplier) * grid.sensitivity) ** 2
    assert grid.variance <= 2**58
    assert records * grid.sensitivity < 2**52
    finer = math.ceil(Fraction(clip) * Fraction(2) ** (grid.fine + 1)) + rounding
    assert records * finer >= 2**52 or (Fraction(multiplier) * finer) ** 2 > 2**58
    event = grid.event(0.01)
    assert event.noise_multiplier == pytest.approx(multiplier, rel=1e-6)
    assert event.sensitivity == grid.sensitivity


def test_a_known_sum_comes_back_under_noise_of_the_planned_variance():
    """40,000 coordinates: the error rate of each bound is below 1e-9 if the noise is as planned."""
    grid = Grid.finest(0.5, 1.3, 40_000, 1000)
    known = torch.linspace(-100, 100, 40_000, dtype=torch.float64).reshape(200, 200)
    found = released(grid, known, key=b"k" * 32, divisor=8.0) * 8.0
    noise = (found - known).numpy().ravel()
    planned = math.sqrt(grid.variance) * 2.0**-grid.fine
    assert planned == pytest.approx(1.3 * 0.5, rel=1e-4)
    low, high = stats.chi2.ppf([5e-10, 1 - 5e-10], 40_000) * planned**2
    assert low < (noise**2).sum() < high
    assert abs(noise.mean()) < 6.2 * planned / 200
    assert stats.kstest(noise / planned, "norm").pvalue > 1e-9


def test_the_noise_of_two_streams_is_unrelated():
    grid = Grid.finest(1.0, 1.0, 40_000, 1000)
    first, second = (
        released(grid, torch.zeros(40_000, dtype=torch.float64), key=key * 32).numpy() for key in (b"a", b"b")
    )
    # The correlation of 40,000 independent pairs is below 0.031 but for a chance of 1e-9.
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.031


def test_chunks_change_nothing_and_the_seal_is_over_the_noisy_integers():
    size = (1 << 20) + 37
    grid = Grid.finest(1.0, 1.0, size, 10)
    seal = hashlib.sha256()
    sums = {"b": torch.zeros(size - 30), "a": torch.zeros(2, 5), "c": torch.zeros(4, 5)}
    sums = {name: total.double() for name, total in sums.items()}
    shapes = {name: total.shape for name, total in sums.items()}
    parts = list(grid.release(sums, 1.0, Keystream(bytes(32)).words, seal))
    assert [(name, part.shape) for name, part in parts] == sorted(shapes.items())
    assert not sums
    flat = np.concatenate([part.numpy().ravel() for _, part in parts])
    integers = np.ldexp(flat, grid.fine).astype("<i8")
    assert seal.hexdigest() == hashlib.sha256(integers.tobytes()).hexdigest()
    assert np.abs(integers).min() >= 0
    assert np.std(integers[1 << 20 :].astype(float)) > 0


def test_rounding_after_the_sum_stays_within_the_sensitivity():
    """Sums that differ by a vector of length C, from random and from the worst of starts, half a step off."""
    rng = np.random.default_rng(0)
    dimension = 4000
    grid = Grid.finest(1.0, 300.0, dimension, 10)
    for trial in range(50):
        start = rng.normal(size=dimension)
        if trial % 2:
            start = (np.rint(np.ldexp(start, grid.fine)) + 0.5) * 2.0**-grid.fine
        step = rng.normal(size=dimension)
        step *= grid.clip / np.linalg.norm(step)
        moved = np.rint(np.ldexp(start + step, grid.fine)) - np.rint(np.ldexp(start, grid.fine))
        assert np.linalg.norm(moved) <= grid.sensitivity


def test_what_cannot_be_released_is_refused():
    for clip, multiplier in ((0.0, 1.0), (math.inf, 1.0), (1.0, 0.0), (1.0, math.nan)):
        with pytest.raises(UsageError, match="positive and finite"):
            Grid.finest(clip, multiplier, 10, 10)
    with pytest.raises(UsageError, match="no trained parameter"):
        Grid.finest(1.0, 1.0, 0, 10)

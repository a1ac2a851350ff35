"""The banded matrix mechanism: its diagonals, and its price against every schedule."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from reference import dp as reference

from fedpriv.dp import (
    BandedMatrixRound,
    PoissonGaussian,
    RdpFilter,
    banded_sqrt,
    epsilon_rdp,
)
from fedpriv.errors import UsageError


@pytest.mark.parametrize("bands", [1, 2, 3, 7, 64])
def test_no_column_is_longer_than_one_exactly(bands: int) -> None:
    diagonals = banded_sqrt(bands, 1000)
    assert len(diagonals) == bands
    total = sum(Fraction(value) ** 2 for value in diagonals.tolist())
    assert 1 - Fraction(1, 10**12) < total <= 1


def test_the_full_square_root_is_one() -> None:
    c = banded_sqrt(40, 40)
    c = c / c[0]
    assert np.convolve(c, c)[:40] == pytest.approx(np.ones(40))  # C C = prefix sums


@pytest.mark.parametrize("bands", [2, 3])
def test_after_every_prefix_no_schedule_costs_more_than_is_charged(bands: int) -> None:
    """All sets of rounds with gaps of at least b: sum over rows of the squared shift, in units of z^-2."""
    rounds = 10
    c = banded_sqrt(bands, rounds)
    matrix = sum(np.diag(np.full(rounds - m, c[m]), -m) for m in range(len(c)))
    largest = np.zeros(rounds + 1)
    for taken in itertools.product((0, 1), repeat=rounds):
        at = np.flatnonzero(taken)
        if len(at) > 1 and np.diff(at).min() < bands:
            continue
        shifts = np.abs(matrix[:, at]).sum(axis=1) ** 2
        largest = np.maximum(largest, np.concatenate([[0.0], np.cumsum(shifts)]))
    charged = [BandedMatrixRound(1.0, bands).charged(r) for r in range(rounds + 1)]
    assert (largest <= np.array(charged) + 1e-9).all()
    full = [r for r in range(bands, rounds) if r % bands == 0]
    assert all(largest[r] >= charged[r] - 1e-9 for r in full)  # no more than needed where a window ends


def test_less_noise_in_the_sum_of_all_rounds_than_without_bands() -> None:
    """What it is for: at equal cost the error of prefix sums is smaller than that of independent noise."""
    rounds, bands = 60, 6
    c = banded_sqrt(bands, rounds)
    inverse = reference.solved_noise(c.tolist(), np.eye(rounds))
    error = np.cumsum(inverse, axis=0)
    with_bands = np.sqrt((error**2).sum(axis=1).mean())
    assert with_bands < 0.75 * np.sqrt((np.tril(np.ones((rounds, rounds))) ** 2).sum(axis=1).mean())


def test_rounds_are_charged_once_in_a_window_and_mechanisms_apart() -> None:
    event = BandedMatrixRound(4.0, bands=5)
    one = PoissonGaussian(4.0, 1.0)
    assert epsilon_rdp([(event, 11)], 1e-5) == epsilon_rdp([(one, 3)], 1e-5)
    assert epsilon_rdp([(event, 3), (event, 3)], 1e-5) == epsilon_rdp([(one, 2)], 1e-5)
    spent = RdpFilter()
    for r in range(11):
        spent.add(event, after=r)
        assert spent.epsilon(1e-5) == pytest.approx(epsilon_rdp([(event, r + 1)], 1e-5), rel=1e-12)
    assert spent.epsilon_after(event, 4, 1e-5, after=11) == spent.epsilon(1e-5)
    assert spent.epsilon_after(event, 5, 1e-5, after=11) > spent.epsilon(1e-5)


def test_nonsense_is_refused() -> None:
    for bands, rounds in ((0, 3), (5000, 3), (2, 0)):
        with pytest.raises(UsageError):
            banded_sqrt(bands, rounds)

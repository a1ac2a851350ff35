"""Which candidates are in a sum, told from views whose answer is known; and residues, uniform or not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr

from fedpriv.audit import candidate_scores, separation, uniformity
from fedpriv.errors import UsageError

DIMENSION = 1200


def candidates(seed: int, count: int = 200) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Gradients of norm about 1 that have a direction in common, and which of them are in."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(0.0, DIMENSION**-0.5, (count, DIMENSION)) + 1.5 * rng.normal(0.0, DIMENSION**-0.5)
    return rows.astype(np.float32), rng.random(count) < 0.25


def test_a_sum_without_noise_is_read_exactly_even_where_some_records_are_alike() -> None:
    rows, inside = candidates(0)
    rows[1] = rows[0]
    inside[0], inside[1] = True, False
    scores = candidate_scores(rows[inside].sum(axis=0, dtype=np.float64), rows, float(inside.mean()))
    rest = scores[2:]
    assert rest[inside[2:]].min() > 1.0 > 0.0 > rest[~inside[2:]].max()
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)  # nobody can tell these two


def test_under_noise_it_reaches_what_the_best_test_of_one_record_does() -> None:
    # One record of norm about 1 under noise of 1 in each direction, all others known: an area of
    # Phi(1/sqrt 2) = 0.76.  Not knowing the others costs a little; 2,000 candidates spread by 0.013.
    rng, members, others = np.random.default_rng(1), [], []
    for seed in range(10):
        rows, inside = candidates(seed)
        view = rows[inside].sum(axis=0) + rng.normal(0.0, 1.0, DIMENSION)
        scores = candidate_scores(view, rows, float(inside.mean()))
        members.append(scores[inside])
        others.append(scores[~inside])
    found = separation(np.concatenate(members), np.concatenate(others))
    assert 0.65 < found.auc < float(ndtr(0.5**0.5)) + 0.06


def test_a_view_of_noise_alone_says_nothing() -> None:
    rows, inside = candidates(4)
    scores = candidate_scores(np.random.default_rng(5).uniform(-1e9, 1e9, DIMENSION), rows, 0.25)
    found = separation(scores[inside], scores[~inside])
    assert found.auc_interval[0] < 0.5 < found.auc_interval[1]


@pytest.mark.parametrize("bits", [16, 32, 62])
def test_shifted_multiples_and_small_values_are_not_taken_for_uniform(bits: int) -> None:
    rng = np.random.default_rng(6)
    words = rng.integers(0, 1 << bits, 20_000, dtype=np.uint64)
    assert uniformity(words, bits).uniform
    assert uniformity(words, bits).bins == 256
    for other in (words % np.uint64(1 << (bits - 1)), words // np.uint64(3), words & np.uint64(0xFF)):
        assert not uniformity(other, bits).uniform


def test_uniform_residues_are_called_otherwise_as_often_as_the_p_value_says() -> None:
    # 1,000 trials at 5 %: 50 expected, standard deviation 6.9; more than 92 or fewer than 15 below 1e-6.
    rng = np.random.default_rng(7)
    low = sum(
        uniformity(rng.integers(0, 2**20, 500, dtype=np.uint64), 20).p_value < 0.05 for _ in range(1000)
    )
    assert 15 <= low <= 92


def test_what_cannot_be_scored_or_tested_is_refused() -> None:
    rows, _ = candidates(0, count=8)
    view = np.zeros(DIMENSION)
    for seen, known, share in (
        (view[1:], rows, 0.5),
        (view, rows, 1.0),
        (view, rows[:0], 0.5),
        (view[:8], rows[:, :8], 0.5),
    ):
        with pytest.raises(UsageError):
            candidate_scores(seen, known, share)
    with pytest.raises(UsageError):
        uniformity(np.zeros(31, dtype=np.uint64), 8)

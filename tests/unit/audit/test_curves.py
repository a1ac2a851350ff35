"""An audit's drawings: the curve lies where the scores put it, and every canary is in the histogram."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedpriv.audit.curves import histogram, roc
from fedpriv.errors import UsageError


def test_a_gaussian_shift_gives_the_normal_roc_within_its_intervals() -> None:
    rng = np.random.default_rng(1)
    points = roc(rng.normal(1.0, 1.0, 4000), rng.normal(0.0, 1.0, 4000), confidence=0.999)
    assert points[0][0] == 1 / 4000
    assert [fpr for fpr, *_ in points] == sorted({fpr for fpr, *_ in points})
    for fpr, tpr, low, high in points:
        assert low <= tpr <= high
        if 0.02 <= fpr <= 0.9:
            known = _normal(_quantile(fpr) + 1.0)
            assert low - 0.03 <= known <= high + 0.03  # the threshold is drawn too


def test_scores_that_say_nothing_stay_near_the_diagonal() -> None:
    rng = np.random.default_rng(2)
    points = roc(rng.normal(size=2000), rng.normal(size=2000))
    assert max(abs(tpr - fpr) for fpr, tpr, *_ in points) < 0.05


def test_equal_scores_accuse_nobody_until_all_are_accused() -> None:
    points = roc(np.zeros(50), np.zeros(50))
    assert {tpr for fpr, tpr, *_ in points if fpr < 1} == {0.0}
    assert points[-1][:2] == (1.0, 1.0)


def test_the_histogram_holds_every_canary_even_far_out_ones() -> None:
    rng = np.random.default_rng(3)
    scores = np.append(rng.normal(size=999), 1e6)
    coins = rng.random(1000) < 0.5
    found = histogram(scores, coins)
    assert (sum(found["taken"]), sum(found["left_out"])) == (coins.sum(), (~coins).sum())
    assert len(found["edges"]) == len(found["taken"]) + 1 == len(found["left_out"]) + 1
    assert found["taken" if coins[-1] else "left_out"][-1] == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_score_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(UsageError, match="finite"):
        roc(np.array([0.0, bad]), np.array([0.0]))
    with pytest.raises(UsageError, match="finite"):
        histogram(np.array([0.0, bad]), np.array([True, False]))


def _normal(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def _quantile(fpr: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(fpr))

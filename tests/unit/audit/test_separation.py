"""How well scores separate: against counts by hand and laws whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fedpriv.audit import separation
from fedpriv.errors import UsageError


def test_the_auc_is_the_share_of_pairs_in_order_ties_half() -> None:
    rng = np.random.default_rng(0)
    members, others = rng.integers(0, 9, 40).astype(float), rng.integers(0, 7, 30).astype(float)
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in members for b in others]
    assert separation(members, others).auc == pytest.approx(np.mean(pairs))


def test_at_most_the_stated_share_of_the_others_is_accused() -> None:
    rng = np.random.default_rng(1)
    members, others = rng.normal(1.0, 1.0, 500), rng.normal(size=250)
    found = separation(members, others)
    threshold = np.sort(others)[-3]
    assert found.tpr == np.mean(members > threshold)
    assert np.mean(others > threshold) <= 0.01
    assert found.tpr_interval[0] < found.tpr < found.tpr_interval[1]


@pytest.mark.parametrize(("shift", "count"), [(0.5, 120), (4.5, 25)])
def test_the_intervals_hold_about_as_often_as_they_say(shift: float, count: int) -> None:
    # 400 trials at 95 %: 380 expected, standard deviation 4.4; fewer than 355 has a chance below 1e-7.  With
    # the larger shift most trials have all pairs in order, and DeLong's interval alone would hold in few.
    rng, true = np.random.default_rng(2), float(stats.norm.cdf(shift / np.sqrt(2)))
    held = 0
    for _ in range(400):
        found = separation(rng.normal(shift, 1, count), rng.normal(size=count))
        held += found.auc_interval[0] <= true <= found.auc_interval[1]
    assert held >= 355, held


def test_a_perfect_separation_is_not_certain() -> None:
    # 20 pairs in order have a chance of 2.5 % where the area is 0.83.
    found = separation(np.ones(20), np.zeros(100))
    assert found.auc_interval == pytest.approx((0.025 ** (1 / 20), 1.0))
    assert separation(np.zeros(20), np.ones(100)).auc_interval[0] == 0.0


def test_what_is_no_test_is_refused() -> None:
    good, bad = np.arange(5.0), np.array([0.0, np.nan])
    for members, others, fpr in ((good[:1], good, 0.01), (good, bad, 0.01), (good, good, 0.0)):
        with pytest.raises(UsageError):
            separation(members, others, fpr=fpr)

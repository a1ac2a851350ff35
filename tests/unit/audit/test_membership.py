"""Membership inference: the figures against counts by hand and mechanisms whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fedpriv.audit.membership import largest_tpr, membership_test
from fedpriv.errors import UsageError


def test_the_auc_is_the_share_of_pairs_in_order_ties_half() -> None:
    rng = np.random.default_rng(0)
    members, others = rng.integers(0, 9, 40).astype(float), rng.integers(0, 7, 30).astype(float)
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in members for b in others]
    assert membership_test(members, others, epsilon=1.0, delta=1e-5).auc == pytest.approx(np.mean(pairs))


def test_at_most_the_stated_share_of_the_others_is_accused() -> None:
    rng = np.random.default_rng(1)
    members, others = rng.normal(1.0, 1.0, 500), rng.normal(size=250)
    found = membership_test(members, others, epsilon=1.0, delta=1e-5)
    threshold = np.sort(others)[-3]
    assert found.tpr == np.mean(members > threshold)
    assert np.mean(others > threshold) <= 0.01
    assert found.tpr_interval[0] < found.tpr < found.tpr_interval[1]


def test_the_intervals_hold_about_as_often_as_they_say() -> None:
    # 400 trials at 95 %: 380 expected, standard deviation 4.4; fewer than 355 has a chance below 1e-7.
    rng, true = np.random.default_rng(2), float(stats.norm.cdf(0.5 / np.sqrt(2)))
    held = 0
    for _ in range(400):
        found = membership_test(rng.normal(0.5, 1, 120), rng.normal(size=120), epsilon=1.0, delta=1e-5)
        held += found.auc_interval[0] <= true <= found.auc_interval[1]
    assert held >= 355


def test_what_epsilon_allows_is_the_operational_bound() -> None:
    assert largest_tpr(0.0, 0.0, 0.3) == pytest.approx(0.3)
    assert largest_tpr(2.0, 1e-5, 0.01) == pytest.approx(np.exp(2) * 0.01 + 1e-5)
    assert largest_tpr(3.0, 0.0, 0.5) == pytest.approx(1 - np.exp(-3) * 0.5)
    assert largest_tpr(1e6, 0.0, 0.01) == 1.0


def test_what_is_no_test_is_refused() -> None:
    good, bad = np.arange(5.0), np.array([0.0, np.nan])
    for members, others, fpr in ((good[:1], good, 0.01), (good, bad, 0.01), (good, good, 0.0)):
        with pytest.raises(UsageError):
            membership_test(members, others, epsilon=1.0, delta=1e-5, fpr=fpr)

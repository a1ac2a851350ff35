"""Membership inference: what is found, beside what (ε, δ) allows any attack."""

from __future__ import annotations

import numpy as np
import pytest

from fedpriv.audit import membership_test, separation
from fedpriv.audit.membership import largest_tpr


def test_what_epsilon_allows_is_the_operational_bound() -> None:
    assert largest_tpr(0.0, 0.0, 0.3) == pytest.approx(0.3)
    assert largest_tpr(2.0, 1e-5, 0.01) == pytest.approx(np.exp(2) * 0.01 + 1e-5)
    assert largest_tpr(3.0, 0.0, 0.5) == pytest.approx(1 - np.exp(-3) * 0.5)
    assert largest_tpr(1e6, 0.0, 0.01) == 1.0


def test_the_figures_are_those_of_the_scores_with_the_limit_beside_them() -> None:
    rng = np.random.default_rng(1)
    members, others = rng.normal(1.0, 1.0, 500), rng.normal(size=250)
    found = membership_test(members, others, epsilon=1.0, delta=1e-5, fpr=0.02).to_dict()
    assert found.pop("tpr_allowed") == largest_tpr(1.0, 1e-5, 0.02)
    assert found == separation(members, others, fpr=0.02).to_dict()

"""Membership inference by loss: how well the records that were trained on can be told from held-out ones.

The score of a record is by how much the trained model's loss is below the public base model's: what is easy
for any model cancels.  A measurement of one attack, against what (ε, δ) would allow any; never a verdict, as
records that were held out may also differ from the others in themselves.

Sources: Yeom et al. 2018 (arXiv 1709.01604) for the loss; Watson et al. 2022 (arXiv 2111.08440) for the
calibration by a reference model.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from fedpriv.audit.separation import Separation, separation

__all__ = ["Membership", "largest_tpr", "membership_test"]


@dataclass(frozen=True, slots=True)
class Membership(Separation):
    """What the attack reached, and ``tpr_allowed``: the most that any may reach at ``fpr`` under (ε, δ)."""

    tpr_allowed: float


def largest_tpr(epsilon: float, delta: float, fpr: float) -> float:
    """Return the most members that any test may find at ``fpr`` under (ε, δ) (arXiv 1311.0776, theorem 2.1).

    >>> round(largest_tpr(1.0, 0.0, 0.01), 4)
    0.0272
    """
    if epsilon > 700.0:
        return 1.0
    return min(1.0, math.exp(epsilon) * fpr + delta, 1.0 - math.exp(-epsilon) * (1.0 - delta - fpr))


def membership_test(
    members: NDArray[np.float64],
    others: NDArray[np.float64],
    *,
    epsilon: float,
    delta: float,
    fpr: float = 0.01,
    confidence: float = 0.95,
) -> Membership:
    """Compare scores of ``members`` and of ``others``, float64, shape (a,) and (b,); higher means member.

    Raises:
        UsageError: what :func:`~fedpriv.audit.separation.separation` refuses.

    >>> found = membership_test(np.arange(100.0) + 50, np.arange(100.0), epsilon=1.0, delta=1e-5)
    >>> found.tpr, round(found.tpr_allowed, 4)
    (0.51, 0.0272)
    """
    found = separation(members, others, fpr=fpr, confidence=confidence)
    return Membership(**asdict(found), tpr_allowed=largest_tpr(epsilon, delta, fpr))

"""Membership inference by loss: how well the records that were trained on can be told from held-out ones.

The score of a record is by how much the trained model's loss is below the public base model's: what is easy
for any model cancels.  A measurement of one attack, against what (ε, δ) would allow any; never a verdict, as
records that were held out may also differ from the others in themselves.

Sources: Yeom et al. 2018 (arXiv 1709.01604) for the loss; Watson et al. 2022 (arXiv 2111.08440) for the
calibration by a reference model; Carlini et al. 2022 (arXiv 2112.03570) for TPR at a low FPR; DeLong et al.
1988 for the interval of the AUC.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UsageError

__all__ = ["Membership", "largest_tpr", "membership_test"]


@dataclass(frozen=True, slots=True)
class Membership:
    """What the attack reached; pairs are the ends of an interval at ``confidence``.

    Attributes:
        auc: chance that a member scores above a held-out record, ties half.
        tpr: share of the members above the highest-scoring held-out records, of which at most ``fpr`` are.
            Its interval takes that threshold as given.
        tpr_allowed: the most that any attack may reach at ``fpr`` under the plan's (ε, δ).
    """

    auc: float
    auc_interval: tuple[float, float]
    tpr: float
    tpr_interval: tuple[float, float]
    tpr_allowed: float
    fpr: float
    members: int
    others: int
    confidence: float

    def to_dict(self) -> dict[str, float | int | list[float]]:
        """As plain JSON values."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }


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
        UsageError: fewer than two of either, a score that is not finite, or an argument out of (0, 1).

    >>> found = membership_test(np.arange(100.0) + 50, np.arange(100.0), epsilon=1.0, delta=1e-5)
    >>> found.auc, found.tpr
    (0.875, 0.51)
    """
    from scipy.special import betaincinv, ndtri
    from scipy.stats import rankdata

    if members.size < 2 or others.size < 2 or not (np.isfinite(members).all() and np.isfinite(others).all()):
        raise UsageError("a membership test needs two or more finite scores of members and of others")
    if not (0.0 < fpr < 1.0 and 0.0 < confidence < 1.0):
        raise UsageError("a false-positive rate and a confidence lie in (0, 1)")
    a, b = members.size, others.size
    everyone = rankdata(np.concatenate([members, others]))
    below = (everyone[:a] - rankdata(members)) / b  # of each member: the share of the others below it
    above = 1.0 - (everyone[a:] - rankdata(others)) / a
    auc = float(below.mean())
    spread = math.sqrt(float(below.var(ddof=1)) / a + float(above.var(ddof=1)) / b)
    reach = float(ndtri(0.5 + confidence / 2.0)) * spread
    threshold = np.sort(others)[b - 1 - int(fpr * b)]
    found = int((members > threshold).sum())
    tail = (1.0 - confidence) / 2.0  # Clopper and Pearson 1934
    low = float(betaincinv(found, a - found + 1, tail)) if found else 0.0
    high = float(betaincinv(found + 1, a - found, 1.0 - tail)) if found < a else 1.0
    return Membership(
        auc=auc,
        auc_interval=(max(0.0, auc - reach), min(1.0, auc + reach)),
        tpr=found / a,
        tpr_interval=(low, high),
        tpr_allowed=largest_tpr(epsilon, delta, fpr),
        fpr=fpr,
        members=a,
        others=b,
        confidence=confidence,
    )

"""How well a score tells members from others: the area under its ROC curve, and members at few accusations.

Sources: DeLong et al. 1988 for the interval of the area; Clopper and Pearson 1934 for that of the members
found; Carlini et al. 2022 (arXiv 2112.03570) for why few accusations are what matters.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from fedpriv.audit.intervals import clopper_pearson
from fedpriv.errors import UsageError

__all__ = ["Separation", "separation"]


@dataclass(frozen=True, slots=True)
class Separation:
    """What a score reached; pairs are the ends of an interval at ``confidence``.

    Attributes:
        auc: chance that a member scores above one of the others, ties half.
        tpr: share of the members above the highest-scoring others, of which at most ``fpr`` are.  Its
            interval takes that threshold as given.
        members, others: how many scores there were of each.
    """

    auc: float
    auc_interval: tuple[float, float]
    tpr: float
    tpr_interval: tuple[float, float]
    fpr: float
    members: int
    others: int
    confidence: float

    def to_dict(self) -> dict[str, float | int | list[float]]:
        """As plain JSON values."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }


def separation(
    members: NDArray[np.float64],
    others: NDArray[np.float64],
    *,
    fpr: float = 0.01,
    confidence: float = 0.95,
) -> Separation:
    """Compare scores of ``members`` and of ``others``, float64, shape (a,) and (b,); higher means member.

    The area's interval is DeLong's, which treats scores as independent.  Where all pairs are in order it
    would have no width, and the end is that of min(a, b) pairs without a score in common, all in order.

    Raises:
        UsageError: fewer than two of either, a score that is not finite, or an argument out of (0, 1).

    >>> found = separation(np.arange(100.0) + 50, np.arange(100.0))
    >>> found.auc, found.tpr
    (0.875, 0.51)
    >>> low, high = separation(np.ones(50), np.zeros(80)).auc_interval
    >>> round(low, 4), high
    (0.9289, 1.0)
    """
    from scipy.special import ndtri
    from scipy.stats import rankdata

    if members.size < 2 or others.size < 2 or not (np.isfinite(members).all() and np.isfinite(others).all()):
        raise UsageError("a membership test needs two or more finite scores of members and of others")
    if not (0.0 < fpr < 1.0 and 0.0 < confidence < 1.0):
        raise UsageError("a false-positive rate and a confidence lie in (0, 1)")
    a, b = members.size, others.size
    tail = (1.0 - confidence) / 2.0
    everyone = rankdata(np.concatenate([members, others]))
    below = (everyone[:a] - rankdata(members)) / b  # of each member: the share of the others below it
    above = 1.0 - (everyone[a:] - rankdata(others)) / a
    auc = float(below.mean())
    if auc in (0.0, 1.0):
        reach = 1.0 - tail ** (1.0 / min(a, b))
    else:
        variance = float(below.var(ddof=1)) / a + float(above.var(ddof=1)) / b
        reach = float(ndtri(1.0 - tail)) * math.sqrt(variance)
    threshold = np.sort(others)[b - 1 - int(fpr * b)]
    found = int((members > threshold).sum())
    return Separation(
        auc=auc,
        auc_interval=(max(0.0, auc - reach), min(1.0, auc + reach)),
        tpr=found / a,
        tpr_interval=clopper_pearson(found, a, confidence),
        fpr=fpr,
        members=a,
        others=b,
        confidence=confidence,
    )

"""An audit's scores as two drawings: their ROC curve with an interval at each point, and their histogram.

Sources: Carlini et al. 2022 (arXiv 2112.03570) for the logarithmic rates; Clopper and Pearson 1934 for the
intervals.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.audit.intervals import clopper_pearson
from fedpriv.errors import UsageError

__all__ = ["histogram", "roc"]

_POINTS: Final = 24
_BINS: Final = 24
_REACH: Final = 4.0  # standard deviations to each side; what lies beyond counts in the outermost bins


def roc(
    taken: NDArray[np.float64], left_out: NDArray[np.float64], *, confidence: float = 0.95
) -> list[tuple[float, float, float, float]]:
    """Return points (FPR, TPR, low, high) of the test that calls the highest scores members.

    The interval is for the TPR at the point's own threshold, by itself and not for all points at once.

    Args:
        taken, left_out: float64, shape (a,) and (b,): higher means that the canary took part.
        confidence: of each interval.

    Raises:
        UsageError: no score of one kind, or one that is not finite.

    >>> points = roc(np.arange(100.0) + 50, np.arange(100.0))
    >>> points[0][:2], points[-1][:2]
    ((0.01, 0.51), (1.0, 1.0))
    """
    if not (taken.size and left_out.size and np.isfinite(taken).all() and np.isfinite(left_out).all()):
        raise UsageError("a ROC curve needs finite scores of canaries that took part and of others")
    a, b = taken.size, left_out.size
    falling = np.append(np.sort(left_out)[::-1], -np.inf)
    points = []
    for accused in sorted({round(float(k)) for k in np.geomspace(1, b, _POINTS)}):
        found = int((taken > falling[accused]).sum())
        points.append((accused / b, found / a, *clopper_pearson(found, a, confidence)))
    return points


def histogram(scores: NDArray[np.float64], included: NDArray[np.bool_]) -> dict[str, list[float] | list[int]]:
    """Return how many canaries lie in each of 24 bins of equal width, by whether they took part.

    Scores are measured from the mean of all of them, in their standard deviation; ``edges`` has 25 values.

    Args:
        scores: float64, shape (m,).
        included: bool, shape (m,), the coins.

    Raises:
        UsageError: shapes that differ, or a score that is not finite.

    >>> found = histogram(np.array([-1.0, 1.0]), np.array([False, True]))
    >>> sum(found["taken"]), sum(found["left_out"]), found["edges"][0]
    (1, 1, -4.0)
    """
    if scores.shape != included.shape or not scores.size or not np.isfinite(scores).all():
        raise UsageError("a histogram needs one finite score and one coin for every canary")
    spread = float(scores.std()) or 1.0
    reach = np.clip((scores - scores.mean()) / spread, -_REACH, _REACH)
    edges = np.linspace(-_REACH, _REACH, _BINS + 1)
    taken, left_out = (np.histogram(reach[mask], bins=edges)[0] for mask in (included, ~included))
    return {
        "edges": [round(float(edge), 6) for edge in edges],
        "taken": taken.tolist(),
        "left_out": left_out.tolist(),
    }

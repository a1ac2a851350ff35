"""How sure a share is that was counted (Clopper and Pearson 1934)."""

from __future__ import annotations

__all__ = ["clopper_pearson"]


def clopper_pearson(found: int, total: int, confidence: float) -> tuple[float, float]:
    """Return the exact two-sided interval of a share of which ``found`` of ``total`` were counted.

    >>> [round(end, 4) for end in clopper_pearson(0, 20, 0.95)]
    [0.0, 0.1684]
    """
    from scipy.special import betaincinv

    tail = (1.0 - confidence) / 2.0
    low = float(betaincinv(found, total - found + 1, tail)) if found else 0.0
    high = float(betaincinv(found + 1, total - found, 1.0 - tail)) if found < total else 1.0
    return low, high

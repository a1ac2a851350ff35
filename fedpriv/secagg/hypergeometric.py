"""Tails of the hypergeometric law, as logarithms that stay accurate where the probability is no float."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["log_choose", "log_exceeds"]


def log_choose(n: int, k: int) -> float:
    """ln of the number of ways to choose ``k`` of ``n``, 0 <= k <= n.

    >>> round(math.exp(log_choose(5, 2)))
    10
    """
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def log_exceeds(clients: int, marked: int, draws: int, count: int) -> float:
    """ln Pr[H > count] for H the marked among ``draws`` of ``clients``, drawn without replacement.

    The ratios of neighbouring terms fall away from the mode on both sides, so each side is summed from its
    largest term on, relative to it; the side that holds the mode is one less the other.

    Args:
        clients: size of the population, up to about 1e7.
        marked: how many of them are marked.
        draws: how many are drawn.
        count: any whole number.

    Returns:
        At most 0; ``-inf`` where H cannot exceed ``count``.  Absolute error below 1e-7.

    >>> round(math.exp(log_exceeds(10, marked=1, draws=5, count=0)), 12)
    0.5
    """
    if count >= min(marked, draws):
        return -math.inf
    if count < max(0, draws + marked - clients):
        return 0.0
    mode = (draws + 1) * (marked + 1) // (clients + 2)
    if count >= mode:
        return min(0.0, _log_side(clients, marked, draws, count + 1))
    # At most ``count`` marked are drawn when more than draws - count - 1 of the unmarked are.
    below = _log_side(clients, clients - marked, draws, draws - count)
    return math.log1p(-math.exp(below)) if below < 0.0 else -math.inf


def _log_side(clients: int, marked: int, draws: int, first: int) -> float:
    """ln of the sum of the terms from ``first`` up, which must not increase from there."""
    log_term = (
        log_choose(marked, first) + log_choose(clients - marked, draws - first) - log_choose(clients, draws)
    )
    total, term, start, piece = 1.0, 1.0, float(first), 32.0
    last = float(min(marked, draws))
    while start < last and term > 1e-17 * total:
        j = np.arange(start, min(start + piece, last))
        ratios = (marked - j) * (draws - j) / ((j + 1.0) * (clients - marked - draws + j + 1.0))
        terms = term * np.cumprod(ratios)
        total += float(terms.sum())
        term = float(terms[-1])
        start, piece = start + piece, 2.0 * piece
    return log_term + math.log(total)

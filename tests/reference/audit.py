"""Slow, obvious versions of the audit's bounds, from the papers' theorems.  Nothing comes from the package.

The binomial bound is summed in exact fractions.  The f-DP bound is not the papers' recursion but what that
recursion solves: the largest chance of so many right guesses that the theorem allows, as a linear program.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from scipy.optimize import linprog
from scipy.special import ndtr


def binomial_p_value(guesses: int, right: int, canaries: int, q: Fraction, delta: Fraction) -> Fraction:
    """arXiv 2305.08846, Theorem 5.2: beta + 2 m delta max_i (P[right - i <= Bin < right]) / i, exact."""
    pmf = [Fraction(math.comb(guesses, k)) * q**k * (1 - q) ** (guesses - k) for k in range(guesses + 1)]
    beta = sum(pmf[right:], Fraction(0))
    alpha = max(
        (sum(pmf[right - i : right], Fraction(0)) / i for i in range(1, right + 1)), default=Fraction(0)
    )
    return beta + 2 * canaries * delta * alpha


def largest_tail(guesses: int, right: int, canaries: int, mu: float) -> float:
    """The largest P[right or more right] under mu-GDP that arXiv 2410.22235, Theorem 9, leaves possible.

    With p_j the chance of j right guesses: for every i, the sum over j >= i of (j/m) p_j is at most B(the sum
    over j >= i - 1 of ((r - j)/m) p_j), B(x) = Phi(Phi^-1(x) + mu).  B is concave, so it is the least of its
    tangents, and each tangent is a linear constraint.
    """
    z = np.linspace(-9.0, 6.0, 600)
    slopes = np.exp(-mu * z - mu * mu / 2.0)
    heights = ndtr(z + mu) - slopes * ndtr(z)
    j = np.arange(guesses + 1)
    rows, limits = [], []
    for i in range(1, guesses + 1):
        hits = np.where(j >= i, j, 0) / canaries
        misses = np.where(j >= i - 1, guesses - j, 0) / canaries
        rows.append(hits[None, :] - slopes[:, None] * misses[None, :])
        limits.append(heights)
    scale = np.maximum(1.0, np.repeat(slopes[None, :], guesses, axis=0).reshape(-1))
    result = linprog(
        -(j >= right).astype(float),
        A_ub=np.concatenate(rows) / scale[:, None],
        b_ub=np.concatenate(limits) / scale,
        A_eq=np.ones((1, guesses + 1)),
        b_eq=[1.0],
        bounds=(0.0, 1.0),
        method="highs",
    )
    assert result.status == 0, result.message
    return float(-result.fun)

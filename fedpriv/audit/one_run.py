"""From guesses about canaries to a lower bound on ε, in one run of the mechanism.

Each of m canaries is in the data or not by a fair coin.  An auditor who sees what the mechanism released
names ``guesses`` of them as in or out and is ``right`` about some.  Differential privacy limits how often
that can be; what it does not allow is refuted at the stated confidence.

Two bounds.  :func:`epsilon_lower_bound` assumes nothing about the mechanism: it refutes (ε, δ).
:func:`epsilon_lower_bound_fdp` refutes μ-Gaussian differential privacy, and says at which ε that meets δ.  It
is the tighter one, and about a mechanism that is *not* Gaussian (one with sampling, say) it is an estimate.

A low lower bound is not evidence of privacy: it says how good this auditor was.

Sources: Steinke, Nasr and Jagielski 2023 (arXiv 2305.08846, Theorem 5.2 and Appendix D); Mahloujifar, Melis
and Chaudhuri 2024 (arXiv 2410.22235, Algorithm 3).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UsageError

__all__ = ["epsilon_lower_bound", "epsilon_lower_bound_fdp", "gaussian_delta", "mu_lower_bound"]

_HALVINGS: Final = 40
_LARGEST: Final = 64.0  # neither bound can pass it: with 2^60 guesses all right, epsilon is below 44
_GRID: Final = 33
_MARGIN: Final = 1e-9  # what floating point may add to a sum of probabilities, and must not refute with


def _check(guesses: int, right: int, canaries: int, confidence: float) -> None:
    if not 0 <= right <= guesses <= canaries:
        raise UsageError(
            f"{right} right of {guesses} guesses about {canaries} canaries: each may not exceed the next"
        )
    if canaries < 1:
        raise UsageError("there are no canaries; an audit needs at least one")
    if not 0.5 <= confidence < 1.0:
        raise UsageError(f"the confidence is {confidence}; it must lie in [0.5, 1)")


def _p_value(guesses: int, right: int, canaries: int, epsilon: float, delta: float) -> float:
    """Bound the chance of at least ``right`` right guesses under (ε, δ)-DP."""
    from scipy.special import betainc

    q = 1.0 / (1.0 + math.exp(-epsilon))
    beta = float(betainc(right, guesses - right + 1, q))
    if delta == 0.0:
        return beta
    fewer = np.arange(right - 1, 0, -1)
    tails = np.append(
        betainc(fewer, guesses - fewer + 1, q), 1.0
    )  # P[Bin >= right - i] for i = 1, ..., right
    alpha = float(np.max((tails - beta) / np.arange(1, right + 1)))
    return min(1.0, beta + 2.0 * canaries * delta * alpha)


def epsilon_lower_bound(
    guesses: int, right: int, canaries: int, delta: float, confidence: float = 0.95
) -> float:
    """Return an ε that the mechanism is not below, whatever the mechanism is (arXiv 2305.08846).

    With q = e^ε / (1 + e^ε), v right of r guesses and β = P[Bin(r, q) >= v], the chance to see so many under
    (ε, δ)-DP is at most β + 2 m δ max_{1 <= i <= v} (P[Bin(r, q) >= v - i] - β) / i.  That grows with ε as
    long as 2 m δ <= 1: the derivative of each term of the maximum in q is at least
    r P[Bin(r - 1, q) = v - 1] (1 - 2 m δ / i).  The bound is where it reaches 1 - confidence.

    Args:
        guesses: r, how many canaries were guessed to be in or out; chosen without a look at the truth.
        right: v, how many of the guesses are right.
        canaries: m, all canaries, guessed or not.
        delta: δ of the claim, add-or-remove-one neighbours.
        confidence: probability with which the bound holds, over the coins and the mechanism.

    Raises:
        UsageError: counts that contradict each other, a delta outside [0, 1 / (2 m)], or no such confidence.

    >>> round(epsilon_lower_bound(64, 64, 1000, 1e-5), 2)
    3.01
    >>> epsilon_lower_bound(1000, 500, 1000, 1e-5)
    0.0
    """
    _check(guesses, right, canaries, confidence)
    if not 0.0 <= delta <= 0.5 / canaries:
        raise UsageError(
            f"delta is {delta:g}; with {canaries:,} canaries it must lie between 0 and {0.5 / canaries:g}",
            hint="use fewer canaries",
        )
    least = 1.0 - confidence
    if right == 0 or _p_value(guesses, right, canaries, 0.0, delta) > least:
        return 0.0
    low, high = 0.0, _LARGEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if _p_value(guesses, right, canaries, middle, delta) <= least:
            low = middle
        else:
            high = middle
    return low


def _refuted(mu: NDArray[np.float64], guesses: int, right: int, canaries: int, least: float) -> int:
    """Count the leading entries of the ascending ``mu`` that the guesses refute at significance ``least``.

    Were the chance of ``right`` or more at least ``least``, then R_i, the mean share of right guesses where
    i or more are right, would pull up H_i, that of the wrong ones, and so on downwards until all outcomes
    together weigh more than 1.  The total falls with mu, as each H and each R does.
    """
    from scipy.special import ndtr, ndtri

    r = np.full_like(mu, least * right / canaries)
    h = np.full_like(mu, least * (guesses - right) / canaries)
    for i in range(right - 1, -1, -1):
        higher = np.maximum(h, ndtr(ndtri(np.minimum(r, 1.0)) - mu))
        r = r + i / (guesses - i) * (higher - h)
        h = higher
    held = r + h <= guesses / canaries + _MARGIN
    return int(np.argmax(held)) if held.any() else mu.size


def mu_lower_bound(guesses: int, right: int, canaries: int, confidence: float = 0.95) -> float:
    """Return a μ such that the mechanism is not μ'-Gaussian differentially private for any μ' below it.

    Args and errors as for :func:`epsilon_lower_bound`.

    >>> round(mu_lower_bound(64, 64, 1000), 3)
    1.038
    """
    _check(guesses, right, canaries, confidence)
    low, high = 0.0, 16.0
    for _ in range(4):
        grid = np.linspace(low, high, _GRID)
        count = _refuted(grid, guesses, right, canaries, 1.0 - confidence)
        if count == 0:
            return 0.0
        low, high = float(grid[count - 1]), float(grid[min(count, _GRID - 1)])
    return low


def gaussian_delta(mu: float, epsilon: float) -> float:
    """Return the least δ at which μ-Gaussian differential privacy is (ε, δ)-DP (arXiv 1905.02383, Cor. 2.13).

    >>> f"{gaussian_delta(1.0, 4.377178):.4e}"
    '1.0000e-05'
    """
    from scipy.special import log_ndtr

    first = math.exp(float(log_ndtr(mu / 2.0 - epsilon / mu)))
    return max(0.0, first - math.exp(epsilon + float(log_ndtr(-mu / 2.0 - epsilon / mu))))


def epsilon_lower_bound_fdp(
    guesses: int, right: int, canaries: int, delta: float, confidence: float = 0.95
) -> float:
    """Return the ε at ``delta`` of the least Gaussian mechanism that the guesses do not refute.

    A lower bound on ε for a mechanism whose trade-off curve is a Gaussian one; for any other an estimate, as
    refuting μ-GDP does not refute (ε, δ).  Args and errors as for :func:`epsilon_lower_bound`; ``delta`` in
    (0, 1).

    >>> round(epsilon_lower_bound_fdp(64, 64, 1000, 1e-5), 2)
    4.57
    """
    if not 0.0 < delta < 1.0:
        raise UsageError(f"delta is {delta}; it must lie strictly between 0 and 1")
    mu = mu_lower_bound(guesses, right, canaries, confidence)
    if mu == 0.0 or gaussian_delta(mu, 0.0) <= delta:
        return 0.0
    low, high = 0.0, mu * mu / 2.0 + mu * 40.0  # where delta is below any double
    for _ in range(_HALVINGS + 20):
        middle = (low + high) / 2.0
        if gaussian_delta(mu, middle) > delta:
            low = middle
        else:
            high = middle
    return low

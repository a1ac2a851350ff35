"""The privacy-loss distribution of a group of k records in one Poisson-sampled Gaussian round.

Each of the k records is in the round with probability q, so the round adds a Binomial(k, q) multiple of one
record's bound: a mixture of Gaussians (Ganesh 2024, arXiv 2401.10294; domination of the vector-valued
mechanism by the scalar one: arXiv 2310.15526, Corollary 4.7).  dp-accounting has the same distribution, but
finds each threshold by a search of its own, which takes minutes; here all thresholds are found at once.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["group_pld", "loss_span"]

_REACH: Final = 10.0  # thresholds reach this many deviations beyond the outermost means; e^-53 lies beyond
_GRID: Final = 1 << 14
_NEWTON_STEPS: Final = 4  # from a grid this fine: quadratic convergence ends at rounding


class _Loss:
    """ln(mixture density / noise density) at x: increasing and convex."""

    def __init__(self, k: int, multiplier: float, rate: float) -> None:
        from scipy.stats import binom

        self.z = multiplier
        self.shifts = np.arange(k + 1.0)
        self.log_weights = binom.logpmf(np.arange(k + 1), k, rate)
        self.low = -_REACH * multiplier
        self.high = k + _REACH * multiplier

    def at(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the loss at each x, and its slope."""
        terms = self.log_weights + (x[:, None] - self.shifts / 2.0) * (self.shifts / self.z**2)
        top = terms.max(axis=1, keepdims=True)
        weights = np.exp(terms - top)
        total = weights.sum(axis=1)
        return top[:, 0] + np.log(total), (weights @ self.shifts) / (total * self.z**2)

    def inverse(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return x with loss(x) = value; the end of [low, high] where there is none.

        A threshold that is off by e lowers the delta found there by O(e^2): the best threshold is stationary.
        """
        grid = np.linspace(self.low, self.high, _GRID)
        known = self.at(grid)[0]
        cell = np.clip(np.searchsorted(known, values), 1, _GRID - 1)
        x = np.interp(values, known, grid)
        for _ in range(_NEWTON_STEPS):
            loss, slope = self.at(x)
            step = np.divide(loss - values, slope, out=np.zeros_like(x), where=slope > 0.0)
            x = np.clip(x - step, grid[cell - 1], grid[cell])
        return x


def _pmf(deltas: NDArray[np.float64], first: int, interval: float) -> Any:
    """Return the pessimistic distribution with these divergences (Connect the Dots, 2207.04380)."""
    from dp_accounting.pld import pld_pmf

    deltas = np.maximum.accumulate(np.clip(deltas, 0.0, 1.0)[::-1])[::-1]
    return pld_pmf.create_pmf_pessimistic_connect_dots_fixed_gap(
        interval, first, first + len(deltas) - 1, deltas
    )


def loss_span(k: int, multiplier: float, rate: float) -> float:
    """Return the width of the range of losses that `group_pld` covers."""
    loss = _Loss(k, multiplier, rate)
    ends, _ = loss.at(np.array([loss.low, loss.high]))
    return float(ends[1] - ends[0])


@lru_cache(maxsize=8)
def group_pld(k: int, multiplier: float, rate: float, interval: float) -> Any:
    """Return the distribution of one round for ``k`` records added or removed together.

    Args:
        k: size of the group, at least 1.
        multiplier: z, noise over the sensitivity of one record.
        rate: q in (0, 1], each record's own chance.
        interval: width of a privacy-loss bucket.
    """
    from dp_accounting.pld import privacy_loss_distribution
    from scipy.special import log_ndtr, logsumexp, ndtr

    loss = _Loss(k, multiplier, rate)
    z, shifts = multiplier, loss.shifts
    weights = np.exp(loss.log_weights)

    def epsilons(low: float, high: float) -> tuple[NDArray[np.float64], int]:
        ends, _ = loss.at(np.array([low, high]))
        first, last = math.floor(ends[0] / interval), math.ceil(ends[1] / interval)
        return np.arange(first, last + 1) * interval, first

    # Removed: the mixture against the noise, which the losses above the threshold tell apart.
    values, first = epsilons(loss.low, loss.high)
    x = loss.inverse(values)
    upper = ndtr((shifts - x[:, None]) / z) @ weights
    removed = _pmf(upper - np.exp(values + log_ndtr(-x / z)), first, interval)
    # Added: the noise against the mixture; the loss is the negative one, large where x is small.
    values, first = epsilons(loss.low, -loss.low)
    x = loss.inverse(values)
    lower = logsumexp(log_ndtr((x[:, None] - shifts) / z) + loss.log_weights, axis=1)
    deltas = ndtr(x / z) - np.exp(lower - values)
    added = _pmf(deltas[::-1], -(first + len(values) - 1), interval)
    return privacy_loss_distribution.PrivacyLossDistribution(removed, added)

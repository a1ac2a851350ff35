"""The RDP filter of a shared data set: at one order, fixed in advance (protocols/ledger/spec.md, 6.3).

Taking the best order at the end is sound for parameters fixed in advance.  Where they may depend on earlier
results, so would the best order, and each order would have to be paid for in delta.  The ledger therefore
fixes the order from the first plan and the budget, before anything is released.  So it does with the part of
delta that integer noise may use for its distance from Gaussian noise: one sixty-fourth, whatever comes.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np

from fedpriv.dp import Counted, Event
from fedpriv.dp.accountant import charged_rounds, epsilon_of_rdp, gaussian_and_slack
from fedpriv.dp.gaussian_rdp import ORDERS, sampled_gaussian_rdp

__all__ = ["SLACK_SHARE", "best_order", "filter_epsilon", "largest_budget"]

SLACK_SHARE: Final = 1.0 / 64.0
_MOST_ROUNDS: Final = 1 << 40


def filter_epsilon(index: int, counted: Counted, *, budget: float, delta: float) -> float:
    """The ε of the filter after ``counted``; infinite where noise is too coarse for ``budget`` (an ε)."""
    used = [(event, count) for event, count in counted if count]
    if not used:
        return 0.0
    if budget > largest_budget(used, delta=delta):
        return math.inf
    curve = np.zeros(1)
    for event, count in used:
        gaussian, _ = gaussian_and_slack(event)
        once = sampled_gaussian_rdp(gaussian.noise_multiplier, gaussian.sampling_rate)
        curve = curve + charged_rounds(event, count) * once[index : index + 1]
    return epsilon_of_rdp(ORDERS[index : index + 1], curve, (1.0 - SLACK_SHARE) * delta)


def largest_budget(counted: Counted, *, delta: float) -> float:
    """The largest budget (an ε) that the filter can keep after ``counted``; infinite for Gaussian noise.

    Integer noise is at some distance s from Gaussian noise, which costs (1 + e^ε)·s of delta, and has a
    sixty-fourth of it to spend.
    """
    slack = sum(
        charged_rounds(event, count) * gaussian_and_slack(event)[1] for event, count in counted if count
    )
    if slack == 0.0:
        return math.inf
    room = SLACK_SHARE * delta / slack - 1.0
    return math.log(room) if room > 0.0 else -math.inf


@lru_cache(maxsize=64)
def best_order(event: Event, epsilon: float, delta: float) -> int:
    """The index of the order at which ``epsilon`` allows most charged rounds of ``event``, least on a tie."""
    gaussian, _ = gaussian_and_slack(event)
    once = sampled_gaussian_rdp(gaussian.noise_multiplier, gaussian.sampling_rate)
    left = (1.0 - SLACK_SHARE) * delta
    low, high = 1, 2
    while high < _MOST_ROUNDS and epsilon_of_rdp(ORDERS, high * once, left) <= epsilon:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        fits = epsilon_of_rdp(ORDERS, middle * once, left) <= epsilon
        low, high = (middle, high) if fits else (low, middle)
    costs = [epsilon_of_rdp(ORDERS[i : i + 1], low * once[i : i + 1], left) for i in range(len(ORDERS))]
    return min(range(len(costs)), key=costs.__getitem__)

"""What a group of k records (or clients) is promised when one is promised (epsilon, delta).

``protocols/dp/spec.md``, section 8.  Two bounds, of which the smaller is returned: the mixture of Gaussians
that Poisson sampling makes of a group (``dp.mixture``), and the rule that holds for every mechanism,
(k eps, delta (e^{k eps} - 1) / (e^eps - 1)).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from fedpriv.dp.accountant import (
    FINAL_INTERVAL,
    Counted,
    check_pld_delta,
    coarsened,
    composed,
    epsilon_pld,
    grouped,
    with_slack,
)
from fedpriv.dp.gaussian_pld import gaussian_pld
from fedpriv.dp.mixture import group_pld, loss_span
from fedpriv.errors import UnsafeParameters, UsageError

__all__ = ["epsilon_group"]

_LARGEST_GROUP: Final = 1000
_BUCKETS: Final = 1 << 18
_LARGEST_EXPONENT: Final = 600.0


def epsilon_group(counted: Counted, k: int, delta: float, *, interval: float = FINAL_INTERVAL) -> float:
    """Return the epsilon at ``delta`` of counted events for ``k`` units added or removed together.

    Valid for events fixed in advance, like `epsilon_pld`, of which it is the value at k = 1.

    Args:
        k: size of the group, 1 to 1000; for records of one person, how many at most.
        interval: width of a privacy-loss bucket, wider where a group's losses need it; the result is an upper
            bound at any width.

    Raises:
        UsageError: k or delta (from 1e-12 on) out of range.
        UnsafeParameters: integer noise too coarse for ``delta``, or no finite bound.

    >>> from fedpriv.dp import PoissonGaussian
    >>> run = [(PoissonGaussian(1.651, 512 / 10630), 50)]
    >>> round(epsilon_group(run, 2, 1e-5), 1)
    2.2
    """
    check_pld_delta(delta)
    if not 1 <= k <= _LARGEST_GROUP:
        raise UsageError(f"the group has {k} members; figures are given for 1 to {_LARGEST_GROUP}")
    if k == 1:
        return epsilon_pld(counted, delta, interval=interval)
    bounds = []
    reasons: list[UnsafeParameters] = []
    for bound in (_by_mixture, _by_rule):
        try:
            bounds.append(bound(counted, k, delta, interval))
        except UnsafeParameters as error:
            reasons.append(error)
    if not bounds:
        raise reasons[0]
    return min(bounds)


def _by_mixture(counted: Counted, k: int, delta: float, least: float = FINAL_INTERVAL) -> float:
    """The composed mixtures of Gaussians; without sampling, Gaussians of k times the sensitivity."""
    groups, slack = grouped(counted)
    keys = coarsened(groups)
    spans = [loss_span(k, z, q) for z, q in keys if q < 1.0]
    interval = max([least, *(span / _BUCKETS for span in spans)])
    total: Any = None
    for (z, q), count in sorted(keys.items()):
        once = (
            gaussian_pld(math.nextafter(z / k, 0.0), 1.0, interval)
            if q == 1.0
            else group_pld(k, z, q, interval)
        )
        times = once.self_compose(count) if count > 1 else once
        total = times if total is None else total.compose(times)
    if total is None:
        return 0.0
    return with_slack(lambda left: float(total.get_epsilon_for_delta(left)), slack, delta)


def _by_rule(counted: Counted, k: int, delta: float, interval: float = FINAL_INTERVAL) -> float:
    """The least k eps found whose delta(eps) (e^{k eps} - 1) / (e^eps - 1) stays within ``delta``."""
    total, slack = composed(counted, interval)
    if total is None:
        return 0.0

    def fits(epsilon: float) -> bool:
        once = float(total.get_delta_for_epsilon(epsilon)) + (1.0 + math.exp(epsilon)) * slack
        return once * math.expm1(k * epsilon) <= delta * math.expm1(epsilon)

    return k * _least(fits, _LARGEST_EXPONENT / k)


def _least(fits: Callable[[float], bool], largest: float) -> float:
    """Bisect towards the least epsilon that fits; what is returned fits."""
    high = min(1.0, largest)
    while not fits(high):
        if high >= largest:
            raise UnsafeParameters("no finite epsilon is shown for a group of this size")
        high = min(2.0 * high, largest)
    low = 0.0
    while high - low > 1e-5 * high:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high

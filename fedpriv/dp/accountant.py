"""What a list of events costs: an additive RDP total for the running budget, and PLD for the tight report.

Both views price the same events.  An event with integer noise is priced as the Gaussian of the same variance
and sensitivity plus a *slack*, its proven distance from that Gaussian (``dp.coupling``): a run that is
(eps, delta_G(eps))-DP with Gaussian noise is (eps, delta_G(eps) + (1 + e^eps) * slack)-DP with integer noise,
the slack added over rounds.  Rounds of a banded matrix mechanism cost one Gaussian release in every
``bands``, rounds in turns one of their event in every ``cohorts``.

Sources: RDP to (eps, delta), Canonne, Kamath and Steinke 2020 (arXiv 2004.00010, Prop. 12); subsampled
Gaussian RDP, Mironov, Talwar and Zhang 2019 (1908.10530); adaptive RDP filter, Feldman and Zrnic 2021
(2008.11193); PLD, Koskela et al. 2020 and Doroshenko et al. 2022, as implemented by dp-accounting.  PLD
composition of parameters chosen adaptively is not sound (2209.15596): use it for parameters fixed in advance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.dp.coupling import discrete_gaussian_tv, skellam_gaussian_tv
from fedpriv.dp.events import (
    BandedMatrixRound,
    Event,
    InTurns,
    PoissonDiscreteGaussian,
    PoissonGaussian,
    PoissonSkellam,
    PoissonSkellamSteps,
    SkellamWithQuantile,
)
from fedpriv.dp.gaussian_pld import gaussian_pld
from fedpriv.dp.gaussian_rdp import ORDERS, sampled_gaussian_rdp
from fedpriv.errors import UnsafeParameters, UsageError

__all__ = ["Counted", "RdpFilter", "delta_pld", "epsilon_pld", "epsilon_rdp"]

Counted = Sequence[tuple[Event, int]]

FINAL_INTERVAL: Final = 1e-4  # width of a privacy-loss bucket in a final report
_MIN_PLD_DELTA: Final = 1e-12  # truncation and FFT rounding of a composed PLD reach this size
_MAX_KEYS: Final = 64  # distinct (sigma, q) that a PLD report composes without coarsening


def check_delta(delta: float) -> None:
    """Refuse a delta at which no guarantee is finite or meaningful."""
    if not 0.0 < delta < 1.0:
        raise UsageError(f"delta is {delta}; it must lie strictly between 0 and 1")


def check_pld_delta(delta: float) -> None:
    """Refuse a delta that the numerics of a privacy-loss distribution would decide."""
    check_delta(delta)
    if delta < _MIN_PLD_DELTA:
        raise UsageError(
            f"delta is {delta:g}; privacy-loss distributions are reliable from 1e-12 on",
            hint="use epsilon_rdp",
        )


def gaussian_and_slack(event: Event) -> tuple[PoissonGaussian, float]:
    """Return the Gaussian event that prices one *charged* round of ``event``, and the distance to it.

    The distance is in total variation.  Every round is charged once, but for `BandedMatrixRound`,
    `InTurns` and `PoissonSkellamSteps`: see `charged_rounds`.
    """
    if isinstance(event, PoissonGaussian):
        return event, 0.0
    if isinstance(event, BandedMatrixRound):
        return PoissonGaussian(event.noise_multiplier, 1.0), 0.0
    if isinstance(event, PoissonSkellamSteps):
        return gaussian_and_slack(event.step)
    if isinstance(event, InTurns):
        return gaussian_and_slack(event.event)
    if isinstance(event, PoissonSkellam):
        slack = skellam_gaussian_tv(event.noise_variance, event.dimension)
    elif isinstance(event, PoissonDiscreteGaussian):
        slack = discrete_gaussian_tv(event.share_variance, event.shares, event.dimension)
    elif isinstance(event, SkellamWithQuantile):
        slack = skellam_gaussian_tv(event.noise_variance, event.dimension)
        slack = min(1.0, (slack + skellam_gaussian_tv(event.bit_variance, 1)) * (1.0 + 2.0**-50))
    else:
        raise UsageError(f"{type(event).__name__} is not a registered privacy event")
    return PoissonGaussian(event.noise_multiplier, event.sampling_rate), slack


def charged_rounds(event: Event, count: int, after: int = 0) -> int:
    """Return how many Gaussian rounds ``count`` rounds of one mechanism cost, ``after`` having gone before.

    Raises:
        UsageError: a negative number of rounds.
    """
    if count < 0 or after < 0:
        raise UsageError(f"an event is counted {min(count, after)} times; a count cannot be negative")
    if isinstance(event, InTurns):
        return charged_rounds(event.event, event.turns(count, after))
    if isinstance(event, BandedMatrixRound | PoissonSkellamSteps):
        return event.charged(count, after)
    return count


def grouped(counted: Counted) -> tuple[dict[tuple[float, float], int], float]:
    """Return counts of Gaussian rounds by (noise multiplier, rate), and the slack of all of them."""
    groups: dict[tuple[float, float], int] = {}
    slack = 0.0
    for event, count in counted:
        times = charged_rounds(event, count)
        if times:
            gaussian, distance = gaussian_and_slack(event)
            key = (gaussian.noise_multiplier, gaussian.sampling_rate)
            groups[key] = groups.get(key, 0) + times
            slack += times * distance * (1.0 + 2.0**-40)  # covers every rounding of the additions that follow
    return groups, slack


def round_key(value: float, digits: int, *, up: bool) -> float:
    """Round to significant digits in a stated direction, never past ``value`` in the other one."""
    rounding = ROUND_CEILING if up else ROUND_FLOOR
    exact = Decimal(value)
    quantum = Decimal(1).scaleb(exact.adjusted() - digits + 1)
    rounded = float(exact.quantize(quantum, rounding=rounding))
    wrong = rounded < value if up else rounded > value
    return value if wrong else rounded


def coarsened(groups: dict[tuple[float, float], int]) -> dict[tuple[float, float], int]:
    """Merge keys until few remain: sigma rounded down and q rounded up, so each key is at least as bad."""
    merged = groups
    for digits in (6, 4, 3):
        if len(merged) <= _MAX_KEYS:
            break
        merged = {}
        for (multiplier, rate), count in groups.items():
            key = (
                round_key(multiplier, digits, up=False),
                min(1.0, round_key(rate, digits, up=True)),
            )
            merged[key] = merged.get(key, 0) + count
    return merged


def rdp_orders() -> NDArray[np.float64]:
    """Return the fixed Renyi orders, those of dp-accounting: 1.1 to 10.9 by 0.1, 11 to 63, 128 to 1024."""
    return ORDERS


def epsilon_of_rdp(orders: NDArray[np.float64], curve: NDArray[np.float64], delta: float) -> float:
    """Convert an RDP curve to the least epsilon at ``delta`` (2004.00010, Proposition 12)."""
    if delta**2 + np.max(np.expm1(-curve)) > 0.0:  # some KL-type bound already gives total variation <= delta
        return 0.0
    usable = orders > 1.01
    a, r = orders[usable], curve[usable]
    return max(0.0, float(np.min(r + np.log1p(-1.0 / a) - np.log(delta * a) / (a - 1.0))))


def with_slack(epsilon_at: Callable[[float], float], slack: float, delta: float) -> float:
    """Return the least epsilon found with delta_G(epsilon) + (1 + e^epsilon) * slack <= delta.

    ``epsilon_at`` inverts delta_G.  The iteration climbs from below to the least fixed point; what is
    returned is checked: epsilon_at(delta - (1 + e^bound) * slack) <= bound.
    """
    if slack == 0.0:
        return epsilon_at(delta)
    current = epsilon_at(delta)
    pad = 1e-12
    for _ in range(200):
        if not math.isfinite(current) or current > 700.0:
            break
        bound = current * (1.0 + pad) + pad
        left = delta - (1.0 + math.exp(bound)) * slack
        if left <= 0.0:
            break
        following = epsilon_at(left)
        if following <= bound:
            return bound
        current, pad = following, min(2.0 * pad, 1e-3)
    if math.isinf(current):
        return math.inf
    raise UnsafeParameters(
        f"the integer noise is too coarse for delta = {delta:g}: its distance from Gaussian noise,"
        f" {slack:.2g} over all rounds, leaves no delta at epsilon {current:.3g}",
        hint="use a finer scale (more bits), fewer rounds or a larger delta",
    )


class RdpFilter:
    """A running RDP total over fixed orders: each round costs one vector addition.

    ``epsilon`` takes the best order at the end, which is sound for parameters fixed in advance.  As a filter
    over parameters that depend on earlier releases, the total is sound at an order that was fixed in advance
    (Feldman and Zrnic 2021): whoever keeps a budget over several runs must fix one.

    >>> spent = RdpFilter()
    >>> spent.add(PoissonGaussian(noise_multiplier=1.0, sampling_rate=0.01), 100)
    >>> round(spent.epsilon(1e-5), 3)
    1.214
    """

    __slots__ = ("_curve", "_slack")

    def __init__(self) -> None:
        self._curve: NDArray[np.float64] | None = None
        self._slack = 0.0

    def add(self, event: Event, count: int = 1, *, after: int = 0) -> None:
        """Spend ``count`` rounds of ``event``.

        ``after`` says how many rounds of the same mechanism were spent before.  Only a `BandedMatrixRound`
        and `InTurns` ask for it; left at 0 such rounds are priced as a mechanism of their own, which is more,
        never less.
        """
        self._curve, self._slack = self._after(event, count, after)

    def epsilon(self, delta: float) -> float:
        """Return the epsilon spent at ``delta``, 0 before the first event.

        Raises:
            UsageError: delta outside (0, 1).
            UnsafeParameters: the slack of integer noise exceeds what ``delta`` allows.
        """
        check_delta(delta)
        return 0.0 if self._curve is None else _rdp_epsilon(self._curve, self._slack, delta)

    def epsilon_after(self, event: Event, count: int, delta: float, *, after: int = 0) -> float:
        """Return what ``epsilon`` would be after ``count`` more rounds of ``event``; changes nothing."""
        check_delta(delta)
        curve, slack = self._after(event, count, after)
        return 0.0 if curve is None else _rdp_epsilon(curve, slack, delta)

    def _after(self, event: Event, count: int, after: int) -> tuple[NDArray[np.float64] | None, float]:
        times = charged_rounds(event, count, after)
        if not times:
            return self._curve, self._slack
        gaussian, distance = gaussian_and_slack(event)
        spent = times * sampled_gaussian_rdp(gaussian.noise_multiplier, gaussian.sampling_rate)
        curve = spent if self._curve is None else self._curve + spent
        return curve, self._slack + times * distance * (1.0 + 2.0**-40)


def _rdp_epsilon(curve: NDArray[np.float64], slack: float, delta: float) -> float:
    orders = rdp_orders()
    return with_slack(lambda left: epsilon_of_rdp(orders, curve, left), slack, delta)


def epsilon_rdp(counted: Counted, delta: float) -> float:
    """Return the epsilon of counted events at ``delta`` by RDP: valid at every delta, not tight.

    Raises:
        UsageError: delta outside (0, 1), or a negative count.
        UnsafeParameters: the slack of integer noise exceeds what ``delta`` allows.

    >>> round(epsilon_rdp([(PoissonGaussian(1.1, 256 / 60000), 14040)], 1e-5), 3)
    2.594
    """
    total = RdpFilter()
    for event, count in counted:
        total.add(event, count)
    return total.epsilon(delta)


def composed(counted: Counted, interval: float) -> tuple[Any, float]:
    """Return the privacy-loss distribution of the Gaussian events (None when empty), and the slack."""
    if not 1e-6 <= interval <= 1.0:
        raise UsageError(f"the discretisation interval is {interval}; use 1e-6 to 1, 1e-4 for a report")
    groups, slack = grouped(counted)
    return _distribution(tuple(sorted(coarsened(groups).items())), interval), slack


@lru_cache(maxsize=8)
def _distribution(groups: tuple[tuple[tuple[float, float], int], ...], interval: float) -> Any:
    """Return the composition of the groups, kept: a plan, its adversaries and its ledger ask for the same."""
    total: Any = None
    for (multiplier, rate), count in groups:
        once = gaussian_pld(multiplier, rate, interval)
        composed = once.self_compose(count) if count > 1 else once
        total = composed if total is None else total.compose(composed)
    return total


def epsilon_pld(counted: Counted, delta: float, *, interval: float = FINAL_INTERVAL) -> float:
    """Return the epsilon of counted events at ``delta`` by privacy-loss distributions: tight, rounded up.

    Events are grouped by (sigma, q).  Beyond 64 distinct keys sigma is rounded down and q up, to 6 and at the
    coarsest 3 digits.  Valid for events fixed in advance.

    Args:
        interval: width of a privacy-loss bucket; the result is an upper bound at any width.

    Raises:
        UsageError: delta outside [1e-12, 1) (below, the numerics of a PLD decide: use ``epsilon_rdp``).
        UnsafeParameters: the slack of integer noise exceeds what ``delta`` allows.

    >>> round(epsilon_pld([(PoissonGaussian(1.651, 512 / 10630), 50)], 1e-5), 2)
    1.0
    """
    check_pld_delta(delta)
    total, slack = composed(counted, interval)
    if total is None:
        return 0.0

    def epsilon_at(left: float) -> float:
        return float(total.get_epsilon_for_delta(left))

    return with_slack(epsilon_at, slack, delta)


def delta_pld(counted: Counted, epsilon: float, *, interval: float = FINAL_INTERVAL) -> float:
    """Return the delta of counted events at ``epsilon`` by privacy-loss distributions, slack included.

    Raises:
        UsageError: a negative or infinite epsilon.

    >>> delta_pld([], 1.0)
    0.0
    """
    if not (epsilon >= 0.0 and math.isfinite(epsilon)):
        raise UsageError(f"epsilon is {epsilon}; it must be finite and not negative")
    total, slack = composed(counted, interval)
    if total is None:
        return 0.0
    penalty = math.inf if epsilon > 700.0 and slack else (1.0 + math.exp(min(epsilon, 700.0))) * slack
    return min(1.0, float(total.get_delta_for_epsilon(epsilon)) + penalty)

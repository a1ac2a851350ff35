"""Solve the accountant for one unknown: epsilon to noise, noise to epsilon, both to rounds or sampling rate.

Answers are rounded to the safe side and then checked at the accountant's final precision, so that a plan made
from them is inside its budget and the ledger sees few distinct parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Final, Literal

from fedpriv.dp.accountant import FINAL_INTERVAL, check_delta, epsilon_of_rdp, epsilon_pld, epsilon_rdp
from fedpriv.dp.events import PoissonGaussian
from fedpriv.dp.gaussian_rdp import ORDERS, sampled_gaussian_rdp
from fedpriv.errors import UnsafeParameters, UsageError

__all__ = [
    "Method",
    "batch_for",
    "bracket",
    "epsilon_for",
    "next_multiplier",
    "noise_multiplier",
    "rounds_for",
    "sampling_rate_for",
]

Method = Literal["pld", "rdp"]

_DIGITS: Final = 4
_LARGEST_MULTIPLIER: Final = 1e4
_SMALLEST_MULTIPLIER: Final = 0.05
_MOST_ROUNDS: Final = 1 << 24


def epsilon_for(
    multiplier: float,
    sampling_rate: float,
    rounds: int,
    delta: float,
    *,
    method: Method = "pld",
    interval: float = FINAL_INTERVAL,
) -> float:
    """Return the epsilon of ``rounds`` Poisson-sampled Gaussian rounds at ``delta``.

    >>> round(epsilon_for(1.651, 512 / 10630, 50, 1e-5), 2)
    1.0
    """
    if rounds < 0:
        raise UsageError(f"rounds is {rounds}; it cannot be negative")
    counted = [(PoissonGaussian(multiplier, sampling_rate), rounds)]
    if method == "rdp":
        return epsilon_rdp(counted, delta)
    if method == "pld":
        return epsilon_pld(counted, delta, interval=interval)
    raise UsageError(f"unknown accounting method {method!r}; there are 'pld' and 'rdp'")


def _coarse(epsilon: float) -> float:
    """Return the bucket width of a search: a two-thousandth of epsilon, between the final one and 0.01."""
    return min(1e-2, max(FINAL_INTERVAL, epsilon / 2000.0))


def _check(epsilon: float, delta: float) -> None:
    check_delta(delta)
    if not (epsilon > 0.0 and math.isfinite(epsilon)):
        raise UsageError(f"epsilon is {epsilon}; it must be positive and finite")


def _grid_up(value: float) -> Decimal:
    """Return the least number of four significant digits that is at least ``value``."""
    exact = Decimal(value)
    quantum = Decimal(1).scaleb(exact.adjusted() - _DIGITS + 1)
    return exact.quantize(quantum, rounding="ROUND_CEILING")


def bracket(epsilon: float, delta: float, sampling_rate: float, rounds: int) -> float:
    """Return a z that RDP proves to be enough, near the least such z; infinite when none is."""

    def enough(z: float) -> bool:
        curve = rounds * sampled_gaussian_rdp(z, sampling_rate)
        return epsilon_of_rdp(ORDERS, curve, delta) <= epsilon

    if not enough(_LARGEST_MULTIPLIER):
        return math.inf
    return _least(enough, _SMALLEST_MULTIPLIER, _LARGEST_MULTIPLIER, 1e-3)


def _least(passes: Callable[[float], bool], low: float, high: float, relative: float) -> float:
    """Bisect (geometrically) the least value that passes; ``high`` passes, and so does what is returned."""
    while high > low * (1.0 + relative):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if passes(middle) else (middle, high)
    return high


def noise_multiplier(
    epsilon: float, delta: float, sampling_rate: float, rounds: int, *, method: Method = "pld"
) -> float:
    """Return the least z of four significant digits with ``rounds`` rounds inside (epsilon, delta).

    The answer is confirmed by the accountant (PLD with buckets of 1e-4) and the next lower four-digit value
    does not pass.  Never below 0.05: no guarantee worth stating lies there.

    Raises:
        UsageError: epsilon, delta, sampling_rate or rounds out of range.
        UnsafeParameters: no z up to 10,000 is enough.

    >>> noise_multiplier(3.0, 1e-5, 512 / 10630, 50)
    0.9351
    """
    from scipy.optimize import brentq

    _check(epsilon, delta)
    if rounds < 1:
        raise UsageError(f"rounds is {rounds}; at least one round is needed")
    if not 0.0 < sampling_rate <= 1.0:
        raise UsageError(f"the sampling rate is {sampling_rate}; it must lie in (0, 1]")

    def excess(log_z: float, interval: float) -> float:
        spent = epsilon_for(math.exp(log_z), sampling_rate, rounds, delta, method=method, interval=interval)
        return math.log(max(spent, 1e-12) / epsilon)

    def within(z: Decimal) -> bool:
        spent = epsilon_for(float(z), sampling_rate, rounds, delta, method=method)
        return spent <= epsilon

    # RDP is an upper bound, so its answer lies above the tight one, and near it.
    high = math.log(bracket(epsilon, delta, sampling_rate, rounds))
    coarse = _coarse(epsilon)
    at_high = math.inf if math.isinf(high) else excess(high, coarse)
    while at_high > 0.0 and math.isfinite(high) and high < math.log(_LARGEST_MULTIPLIER):
        high += 0.05  # buckets too wide for so small an epsilon
        at_high = excess(high, coarse)
    if at_high > 0.0:
        raise UnsafeParameters(
            f"no noise multiplier up to {_LARGEST_MULTIPLIER:g} is shown to keep {rounds} rounds at rate"
            f" {sampling_rate:g} within epsilon {epsilon:g} at delta {delta:g}",
            hint="use fewer rounds, a smaller batch or a larger epsilon",
        )
    floor = math.log(_SMALLEST_MULTIPLIER)
    low, at_low = high, at_high
    while low > floor and at_low <= 0.0:
        high, at_high = low, at_low
        low = max(floor, low - 0.08)
        at_low = excess(low, coarse)
    root = low
    if at_low > 0.0 > at_high:
        root = float(brentq(excess, low, high, args=(coarse,), xtol=1e-5))
        # One fine evaluation corrects the coarse root along the slope of its bracket.
        root += excess(root, FINAL_INTERVAL) * (high - low) / (at_low - at_high)
    answer = _grid_up(max(math.exp(root), _SMALLEST_MULTIPLIER))
    while not within(answer):
        answer = _step(answer, +1)
    while True:
        lower = _step(answer, -1)
        if float(lower) < _SMALLEST_MULTIPLIER or not within(lower):
            return float(answer)
        answer = lower


def next_multiplier(multiplier: float) -> float:
    """Return the next higher noise multiplier of four digits: where integer noise took the last one.

    >>> next_multiplier(0.9351)
    0.9352
    """
    return float(_step(Decimal(multiplier), +1))


def _step(value: Decimal, direction: int) -> Decimal:
    """Return the neighbour of a four-digit number on the four-digit grid."""
    quantum = Decimal(1).scaleb(value.adjusted() - _DIGITS + 1)
    if direction < 0 and value == Decimal(1).scaleb(value.adjusted()):
        quantum /= 10
    return value + direction * quantum


def rounds_for(
    epsilon: float, delta: float, multiplier: float, sampling_rate: float, *, method: Method = "pld"
) -> int:
    """Return the most rounds inside (epsilon, delta) at noise ``multiplier``; 0 when not even one fits.

    Raises:
        UsageError: a parameter out of range, or more than 2^24 rounds would fit.

    >>> rounds_for(3.0, 1e-5, 0.9351, 512 / 10630)
    50
    """
    _check(epsilon, delta)
    coarse = _coarse(epsilon)

    def within(rounds: int, interval: float) -> bool:
        return (
            epsilon_for(multiplier, sampling_rate, rounds, delta, method=method, interval=interval) <= epsilon
        )

    most = _most(within, coarse, _MOST_ROUNDS + 1)
    if most > _MOST_ROUNDS:
        raise UsageError("more than 2^24 rounds fit; the rounds are not what limits this run")
    return most


def _most(within: Callable[[int, float], bool], coarse: float, limit: int) -> int:
    """Return the most, up to ``limit``, that pass: found in ``coarse`` buckets, refined in final ones."""

    def climb(low: int, step: int, interval: float) -> int:
        """Go up from ``low``, which passes, in doubling steps, and bisect back."""
        high = min(limit, low + step)
        while low < high and within(high, interval):
            low, step = high, 2 * step
            high = min(limit, low + step)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if within(middle, interval) else (low, middle)
        return low

    low = climb(0, 1, coarse)
    # Finer buckets only tighten the bound: go on upwards from the coarse answer.
    return climb(low, max(1, low // 1000), FINAL_INTERVAL)


def sampling_rate_for(
    epsilon: float, delta: float, multiplier: float, rounds: int, *, method: Method = "pld"
) -> float:
    """Return a sampling rate within 1e-4 (relative) of the largest that keeps ``rounds`` rounds in budget.

    Times the number of records this is the expected batch.  0.0 when no rate above 1e-7 fits.

    Raises:
        UsageError: a parameter out of range.

    >>> round(10_630 * sampling_rate_for(3.0, 1e-5, 0.9351, 50))
    512
    """
    _check(epsilon, delta)
    coarse = _coarse(epsilon)

    def within(rate: float, interval: float) -> bool:
        return epsilon_for(multiplier, rate, rounds, delta, method=method, interval=interval) <= epsilon

    if within(1.0, coarse):
        return 1.0
    low, high = 1e-7, 1.0
    if not within(low, coarse):
        return 0.0
    while high > low * (1.0 + 1e-4):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if within(middle, coarse) else (low, middle)
    while within(low * (1.0 + 1e-4), FINAL_INTERVAL):
        low *= 1.0 + 1e-4
    return low


def batch_for(
    epsilon: float, delta: float, multiplier: float, rounds: int, records: int, *, method: Method = "pld"
) -> int:
    """Return the largest expected batch (records times rate, whole) that keeps ``rounds`` rounds in budget.

    0 when not even one record fits.

    Raises:
        UsageError: a parameter out of range.

    >>> batch_for(3.0, 1e-5, 0.9351, 50, records=10_630)
    512
    """
    if records < 1:
        raise UsageError(f"there are {records} records; a batch needs at least one")
    _check(epsilon, delta)

    def within(batch: int, interval: float) -> bool:
        rate = batch / records
        return epsilon_for(multiplier, rate, rounds, delta, method=method, interval=interval) <= epsilon

    return _most(within, _coarse(epsilon), records)

"""How much noise each number of rounds needs at each epsilon: the table that a plan is chosen from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from fedpriv.dp.accountant import check_pld_delta
from fedpriv.dp.calibration import bracket
from fedpriv.dp.mixture import group_pld
from fedpriv.errors import UsageError

__all__ = ["FrontierPoint", "frontier"]

_RELATIVE: Final = 4e-3  # of epsilon: a search ends when it is this little below what is asked
_MOST_STEPS: Final = 8
_MOST_POINTS: Final = 256


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """``rounds`` rounds with this noise multiplier cost at most ``epsilon``; infinite where none is shown."""

    epsilon: float
    rounds: int
    noise_multiplier: float

    def to_dict(self) -> dict[str, float | int | None]:
        """As plain JSON values; null where no noise is shown to be enough.

        >>> FrontierPoint(3.0, 50, math.inf).to_dict()
        {'epsilon': 3.0, 'rounds': 50, 'noise_multiplier': None}
        """
        found = self.noise_multiplier if math.isfinite(self.noise_multiplier) else None
        return {"epsilon": self.epsilon, "rounds": self.rounds, "noise_multiplier": found}


def frontier(
    epsilons: Sequence[float], rounds: Sequence[int], sampling_rate: float, delta: float
) -> list[FrontierPoint]:
    """Return the noise multiplier for every pair of an epsilon and a number of rounds, by rounds and epsilon.

    Every point is inside its (epsilon, delta) by privacy-loss distributions in coarse buckets, three
    significant digits, rounded up: for a table or a plot.  `noise_multiplier` finds the fourth digit for a
    run.  The relative noise in a round's mean is ``noise_multiplier / (sampling_rate * records)``.

    Raises:
        UsageError: an argument out of range, or more than 256 points.

    >>> for point in frontier([1.0, 3.0], [50], 512 / 10630, 1e-5):
    ...     print(point.rounds, point.epsilon, point.noise_multiplier)
    50 1.0 1.66
    50 3.0 0.936
    """
    check_pld_delta(delta)
    if not 0.0 < sampling_rate <= 1.0:
        raise UsageError(f"the sampling rate is {sampling_rate}; it must lie in (0, 1]")
    if len(epsilons) * len(rounds) > _MOST_POINTS:
        raise UsageError(f"{len(epsilons) * len(rounds)} points; a table has at most {_MOST_POINTS}")
    if any(count < 1 for count in rounds) or any(not 0.0 < value < math.inf for value in epsilons):
        raise UsageError("epsilons must be positive and finite, and rounds at least 1")
    return [
        FrontierPoint(epsilon, count, _least_multiplier(epsilon, count, sampling_rate, delta))
        for count in rounds
        for epsilon in epsilons
    ]


def _least_multiplier(epsilon: float, rounds: int, rate: float, delta: float) -> float:
    """Return a multiplier that PLD shows to be enough, near the least; infinite if none is shown."""
    high = bracket(epsilon, delta, rate, rounds)
    if math.isinf(high):
        return math.inf
    # The loss of one round spreads over about q / z: wider buckets would add more noise than there is.
    interval = max(2e-4, min(5e-3, epsilon / 200.0, 0.25 * rate / high))

    def excess(log_z: float) -> float:
        composed = group_pld(1, math.exp(log_z), rate, interval).self_compose(rounds)
        return math.log(max(float(composed.get_epsilon_for_delta(delta)), 1e-9) / epsilon)

    # Secants on logarithms, towards a point a little inside: epsilon falls with z, about as z^-1.5 at first.
    best, slope = math.log(high), -1.5
    at, before = best + math.log(0.96), (math.nan, math.nan)
    for _ in range(_MOST_STEPS):
        value = excess(at)
        if value <= 0.0:
            best = min(best, at)
            if value >= -_RELATIVE:
                break
        if abs(at - before[0]) > 1e-6:
            slope = min(-0.5, (value - before[1]) / (at - before[0]))
        before = (at, value)
        at = min(at - (value + 0.4 * _RELATIVE) / slope, math.log(high))
    return _three_digits_up(math.exp(best))


def _three_digits_up(value: float) -> float:
    """Return the least number of three significant digits that is at least ``value``."""
    exact = Decimal(value)
    return float(exact.quantize(Decimal(1).scaleb(exact.adjusted() - 2), rounding="ROUND_CEILING"))

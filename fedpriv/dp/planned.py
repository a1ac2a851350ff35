"""What a plan says beyond its own epsilon: people with several records, and other epsilons and rounds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from fedpriv.dp.accountant import charged_rounds, gaussian_and_slack
from fedpriv.dp.clients import epsilon_local
from fedpriv.dp.events import BandedMatrixRound, Event, InTurns, PoissonGaussian
from fedpriv.dp.group import epsilon_group
from fedpriv.dp.tradeoff import FrontierPoint, frontier
from fedpriv.errors import UnsafeParameters, UsageError

__all__ = ["USUAL_EPSILONS", "epsilon_everywhere", "epsilon_of_units", "frontier_around"]

USUAL_EPSILONS: Final = (1.0, 3.0, 8.0)
_INTERVAL: Final = 1e-3


@lru_cache(maxsize=256)
def epsilon_of_units(event: Event, rounds: int, units: int, delta: float, *, apart: int = 1) -> float | None:
    """Return the epsilon at ``delta`` of ``units`` units added together; None where no finite one is shown.

    Args:
        event: one round of the plan.
        rounds: planned rounds.
        units: how many records, or clients, are one person's.
        apart: over how many clients with noise of their own the units may lie (``local``); 1 where the noise
            is in one sum.  Their vectors side by side are one vector of ``apart`` times the dimension
            (protocols/report/spec.md, 6.2).

    Raises:
        UsageError: fewer than 1 unit, client or round.

    >>> from fedpriv.dp import PoissonGaussian
    >>> round(epsilon_of_units(PoissonGaussian(1.651, 512 / 10630), 50, 2, 1e-5), 1)
    2.2
    """
    if min(units, rounds, apart) < 1:
        raise UsageError(f"{units} units, {rounds} rounds, {apart} clients: each must be at least 1")
    if units > 1 and isinstance(event, InTurns):
        event = event.event  # the units may be in several cohorts: every round may have all of them
    if apart > 1 and not isinstance(event, PoissonGaussian | BandedMatrixRound | InTurns):
        event = dataclasses.replace(event, dimension=event.dimension * min(apart, units))
    try:
        return _finite(epsilon_group([(event, rounds)], units, delta, interval=_INTERVAL))
    except UnsafeParameters:
        return None


def epsilon_everywhere(rounds: Mapping[str, tuple[Event, int]], delta: float) -> float | None:
    """Return the epsilon of one record at *every* client, each with noise of its own; None: none is shown.

    Args:
        rounds: by client, its event and how many rounds of it count.

    >>> from fedpriv.dp import PoissonGaussian
    >>> once = (PoissonGaussian(1.5, 0.02), 90)
    >>> round(epsilon_everywhere({"a": once, "b": once}, 1e-5), 2)
    0.82
    """
    try:
        counted = {name: [(event, count)] for name, (event, count) in rounds.items()}
        return _finite(epsilon_local(counted, delta, disjoint=False, interval=_INTERVAL))
    except UnsafeParameters:
        return None


@lru_cache(maxsize=64)
def frontier_around(event: Event, rounds: int, epsilon: float, delta: float) -> tuple[FrontierPoint, ...]:
    """Return the noise that half, all and twice the planned rounds need, at usual epsilons and the plan's.

    Rounds are those of the plan, at its sampling rate: several local steps, or cohorts that take turns, are
    counted as the plan counts them.  A noise multiplier is infinite where none is shown to be enough.
    Remembered, as a plan, its report and its verification ask alike.

    >>> from fedpriv.dp import PoissonGaussian
    >>> points = frontier_around(PoissonGaussian(1.0, 0.05), 1, 3.0, 1e-5)
    >>> [(point.rounds, point.epsilon) for point in points]
    [(1, 1.0), (1, 3.0), (1, 8.0), (2, 1.0), (2, 3.0), (2, 8.0)]
    """
    counts = sorted({max(1, rounds // 2), rounds, 2 * rounds})
    releases = {count: charged_rounds(event, count) for count in counts}
    rate = gaussian_and_slack(event)[0].sampling_rate
    epsilons = sorted({*USUAL_EPSILONS, epsilon})
    found = {
        (point.rounds, point.epsilon): point.noise_multiplier
        for point in frontier(epsilons, sorted(set(releases.values())), rate, delta)
    }
    return tuple(
        FrontierPoint(value, count, found[releases[count], value]) for count in counts for value in epsilons
    )


def _finite(epsilon: float) -> float | None:
    return epsilon if math.isfinite(epsilon) else None

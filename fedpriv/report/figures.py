"""Every ε of a report, computed afresh from the ledger's events; no figure of the run is taken over."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from fedpriv import dp
from fedpriv.audit.membership import largest_tpr
from fedpriv.errors import IntegrityError, UnsafeParameters
from fedpriv.report.people import People

__all__ = ["Figures", "advantage", "at_realised_noise", "chosen_counts", "highest_tpr", "recompute"]

DELTA_DECADES = (1.0, 1e-1, 1e-2, 1e-3)
"""The report shows ε at the promised δ times each of these."""

FALSE_POSITIVE_RATES = (0.0001, 0.001, 0.01, 0.1)
_CURVE_INTERVAL = 1e-3
_CURVE_POINTS = 24
_TRADE_OFF_STEPS = 24
_LEAST_DELTA = 1e-10  # below this the numerics of a privacy-loss distribution come into sight


@dataclass(frozen=True, slots=True)
class Figures:
    """Recomputed ε at the run's δ; ``None`` where an accountant finds no finite bound.

    ``curve`` holds ``(rounds, rdp, pld)`` for 1, 2, … spent rounds; ``pld`` is there for at most 24 of them,
    from a coarser (and so larger) discretisation.  ``by_delta`` holds ``(delta, epsilon)``,
    ``trade_off`` pairs ``(epsilon, delta)`` from ε = 0 to twice the planned one, ``against`` such pairs for
    each adversary.  ``frontier`` is the noise that other plans would have needed, empty where nobody asks.
    ``realised`` is the ε of the spent rounds at the noise that their sums had, which is shown and certifies
    nothing; ``None`` where more survivors bring no more noise.
    """

    planned_pld: float | None
    planned_rdp: float | None
    spent_pld: float | None
    spent_rdp: float | None
    curve: tuple[tuple[int, float | None, float | None], ...]
    by_delta: tuple[tuple[float, float], ...]
    trade_off: tuple[tuple[float, float], ...]
    adversaries: tuple[float | None, ...]
    against: tuple[tuple[tuple[float, float], ...], ...]
    people: People = field(default_factory=People)
    frontier: tuple[dp.FrontierPoint, ...] = ()
    realised: float | None = None


def recompute(
    event: dp.Event,
    *,
    planned: int,
    spent: int,
    delta: float,
    against: Sequence[dp.Event | None],
    curve: bool = True,
) -> Figures:
    """ε of ``planned`` and of ``spent`` rounds of ``event``, and of the planned rounds of each event of
    ``against`` (``None``: no bound is claimed, none is computed).  Without ``curve`` the tight ε by round and
    at other δ is left out."""
    planned_pld = _pld(event, planned, delta)
    adversaries = tuple(None if e is None else _pld(e, planned, delta) for e in against)
    return Figures(
        planned_pld=planned_pld,
        planned_rdp=_rdp(event, planned, delta),
        spent_pld=_pld(event, spent, delta),
        spent_rdp=_rdp(event, spent, delta),
        curve=_curve(event, spent, delta, tight=curve),
        by_delta=_by_delta(event, planned, delta) if curve else (),
        trade_off=_trade_off(event, planned, planned_pld) if curve else (),
        adversaries=adversaries,
        against=tuple(
            _trade_off(e, planned, found) if curve else ()
            for e, found in zip(against, adversaries, strict=True)
        ),
    )


def at_realised_noise(event: dp.Event, ratios: Sequence[float], *, spent: int, delta: float) -> float | None:
    """ε of ``spent`` rounds, those with a sum at ``ratios`` times the planned noise multiplier each.

    A spent round without a sum is taken as planned.  Ratios are rounded down to three digits.  ``None`` where
    the event is not that of shares which add up.
    """
    if not isinstance(event, dp.PoissonSkellam):
        return None
    grades = Counter(max(1000, math.floor(1000.0 * ratio + 1e-6)) for ratio in ratios)
    grades[1000] += max(spent - len(ratios), 0)
    counted = [
        (replace(event, noise_variance=event.noise_variance * grade**2 // 10**6), rounds)
        for grade, rounds in sorted(grades.items())
        if rounds
    ]
    try:
        return _finite(dp.epsilon_pld(counted, delta, interval=_CURVE_INTERVAL)) if counted else 0.0
    except UnsafeParameters:
        return None


def chosen_counts(total: int, most: int = _CURVE_POINTS) -> list[int]:
    """At most ``most`` round counts from 1 to ``total``, evenly spread, the last always among them.

    >>> chosen_counts(5)
    [1, 2, 3, 4, 5]
    >>> chosen_counts(40, 5)
    [1, 11, 21, 30, 40]
    """
    if total <= most:
        return list(range(1, total + 1))
    return sorted({1 + round(i * (total - 1) / (most - 1)) for i in range(most)})


def highest_tpr(bounds: Sequence[tuple[float, float]], fpr: float) -> float:
    """The most true positives that any membership test can reach at ``fpr`` under all of ``bounds``.

    ``bounds`` holds pairs ``(epsilon, delta)``; Kairouz, Oh, Viswanath 2015, theorem 2.1.

    >>> round(highest_tpr([(1.0, 1e-5)], 0.01), 4)
    0.0272
    """
    return max(fpr, min([1.0, *(largest_tpr(epsilon, delta, fpr) for epsilon, delta in bounds)]))


def advantage(bounds: Sequence[tuple[float, float]]) -> float:
    """The largest TPR − FPR that any membership test can have: the least of (e^ε − 1 + 2δ)/(e^ε + 1).

    >>> round(advantage([(1.0, 0.0)]), 4)
    0.4621
    """
    return min([1.0] + [(math.expm1(e) + 2 * d) / (math.exp(e) + 1) for e, d in bounds if e < 700])


@lru_cache(maxsize=256)
def _pld(event: dp.Event, rounds: int, delta: float, interval: float = 1e-4) -> float | None:
    """The tight ε, ``None`` where there is none; remembered, as a report and its verification ask alike."""
    try:
        return _finite(dp.epsilon_pld([(event, rounds)], delta, interval=interval)) if rounds else 0.0
    except UnsafeParameters:  # too little noise for any ε at this δ
        return None


def _rdp(event: dp.Event, rounds: int, delta: float) -> float | None:
    try:
        return _finite(dp.epsilon_rdp([(event, rounds)], delta)) if rounds else 0.0
    except UnsafeParameters:  # as above
        return None


def _curve(
    event: dp.Event, spent: int, delta: float, *, tight: bool
) -> tuple[tuple[int, float | None, float | None], ...]:
    drawn = set(chosen_counts(spent)) if tight else set()
    return tuple(
        (
            rounds,
            _rdp(event, rounds, delta),
            _pld(event, rounds, delta, _CURVE_INTERVAL) if rounds in drawn else None,
        )
        for rounds in range(1, spent + 1)
    )


def _by_delta(event: dp.Event, rounds: int, delta: float) -> tuple[tuple[float, float], ...]:
    found = [(delta * factor, _pld(event, rounds, delta * factor)) for factor in DELTA_DECADES]
    return tuple((d, e) for d, e in found if e is not None)


@lru_cache(maxsize=16)
def _trade_off(event: dp.Event | None, rounds: int, planned: float | None) -> tuple[tuple[float, float], ...]:
    """δ(ε) of ``rounds`` rounds at even steps of ε, as far as it falls and is not too small to be trusted.

    What integer noise adds to δ grows with e^ε and at last outweighs the rest; a smaller ε is then as good.
    Empty without an ε to start from."""
    if event is None or not planned:
        return ()
    found: list[tuple[float, float]] = []
    for step in range(_TRADE_OFF_STEPS + 1):
        epsilon = 2.0 * planned * step / _TRADE_OFF_STEPS
        delta = dp.delta_pld([(event, rounds)], epsilon)
        if delta < _LEAST_DELTA or (found and delta >= found[-1][1]):
            break
        found.append((epsilon, delta))
    return tuple(found)


def _finite(epsilon: float) -> float | None:
    if math.isnan(epsilon):
        raise IntegrityError("an ε recomputed from the ledger is not a number")
    return float(epsilon) if math.isfinite(epsilon) else None

"""Epsilon after each round: the same as at once, never falling, and at the same cost for every round."""

from __future__ import annotations

import time

import pytest

from fedpriv.dp import (
    BandedMatrixRound,
    PoissonGaussian,
    PoissonSkellam,
    RunningEpsilon,
    epsilon_pld,
    epsilon_rdp,
)
from fedpriv.errors import UnsafeParameters, UsageError

EVENT = PoissonSkellam(2**42, 2**21, 75_000, 0.05)


def test_nothing_is_spent_before_the_first_round() -> None:
    spent = RunningEpsilon()
    assert spent.rdp(1e-5) == spent.pld(1e-5) == 0.0


def test_both_figures_are_those_of_all_rounds_at_once() -> None:
    spent = RunningEpsilon()
    last = 0.0
    for r in range(1, 13):
        spent.add(EVENT if r % 2 else PoissonGaussian(2.0, 0.1))
        by_pld = spent.pld(1e-5)
        assert last < by_pld < spent.rdp(1e-5)
        last = by_pld
    counted = [(EVENT, 6), (PoissonGaussian(2.0, 0.1), 6)]
    assert spent.rdp(1e-5) == pytest.approx(epsilon_rdp(counted, 1e-5), rel=1e-9)
    assert last == pytest.approx(epsilon_pld(counted, 1e-5, interval=1e-3), rel=1e-5)


def test_rounds_of_a_banded_mechanism_are_charged_once_in_a_window() -> None:
    spent = RunningEpsilon()
    figures = []
    for _ in range(7):
        spent.add(BandedMatrixRound(4.0, bands=3))
        figures.append(spent.pld(1e-5))
    assert figures[0] == figures[2] < figures[3] == figures[5] < figures[6]
    assert figures[6] == pytest.approx(epsilon_pld([(PoissonGaussian(4.0, 1.0), 3)], 1e-5), rel=1e-3)
    assert spent.rdp(1e-5) == pytest.approx(epsilon_rdp([(PoissonGaussian(4.0, 1.0), 3)], 1e-5), rel=1e-9)


def test_two_hundred_distinct_rounds_take_seconds_and_are_never_below_the_truth() -> None:
    events = [PoissonGaussian(1.0 + 0.003 * i, 0.05 + 1e-5 * i) for i in range(200)]
    start = time.process_time()
    spent = RunningEpsilon(interval=5e-3)
    figures = []
    for event in events:
        spent.add(event)
        figures.append((spent.rdp(1e-5), spent.pld(1e-5)))
    assert time.process_time() - start < 10.0
    assert figures == sorted(figures)
    # All rounds as good as the best one, and all as bad as the worst one.
    best, worst = PoissonGaussian(1.6, 0.05), PoissonGaussian(1.0, 0.052)
    assert epsilon_pld([(best, 200)], 1e-5, interval=1e-3) < figures[-1][1] < figures[-1][0]
    assert figures[-1][1] < epsilon_pld([(worst, 200)], 1e-5, interval=5e-3)


def test_a_late_round_costs_what_an_early_one_costs() -> None:
    spent = RunningEpsilon(interval=5e-3)
    spent.add(PoissonGaussian(1.0, 0.01), 10_000)
    spent.pld(1e-5)
    late = time.process_time()
    for _ in range(20):
        spent.add(PoissonGaussian(1.0, 0.01))
        spent.pld(1e-5)
        spent.rdp(1e-5)
    assert (time.process_time() - late) / 20 < 0.1  # milliseconds on an idle machine


def test_nonsense_is_refused() -> None:
    with pytest.raises(UsageError, match="interval"):
        RunningEpsilon(interval=0.0)
    spent = RunningEpsilon()
    with pytest.raises(UsageError, match="negative"):
        spent.add(EVENT, -1)
    with pytest.raises(UsageError, match="1e-12"):
        spent.pld(1e-13)
    spent.add(PoissonSkellam(2**20, 2**10, 75_000, 0.05), 50)
    for figure in (spent.pld, spent.rdp):
        with pytest.raises(UnsafeParameters, match="too coarse"):
            figure(1e-5)

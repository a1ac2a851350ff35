"""Rounds of a banded matrix mechanism in the ledger: charged by window, and each run has its own windows."""

from __future__ import annotations

import pytest

from fedpriv.dp import BandedMatrixRound, PoissonGaussian, epsilon_pld, epsilon_rdp
from fedpriv.errors import BudgetExceeded
from fedpriv.ledger import Ledger

DELTA = 1e-5
BANDED = BandedMatrixRound(6.0, bands=4)
ONE = PoissonGaussian(6.0, 1.0)  # what one window costs


def test_a_run_pays_for_each_window_that_it_began(ledger: Ledger, dataset: str) -> None:
    ledger.set_budget(dataset, "reviews", epsilon_pld([(ONE, 2)], DELTA) + 1e-6, DELTA)
    with pytest.raises(BudgetExceeded):
        ledger.plan("a", dataset, event=BANDED, rounds=9, details={})
    ledger.plan("a", dataset, event=BANDED, rounds=8, details={})
    for number in range(8):
        ledger.reserve("a", number)
        ledger.release("a", number, {})
        windows = number // 4 + 1
        assert ledger.spent(dataset).epsilon_rdp == epsilon_rdp([(ONE, windows)], DELTA)


def test_two_runs_do_not_share_a_window(ledger: Ledger, dataset: str) -> None:
    ledger.set_budget(dataset, "reviews", 10.0, DELTA)
    for run in ("a", "b"):
        ledger.plan(run, dataset, event=BANDED, rounds=2, details={})
        for number in range(2):
            ledger.reserve(run, number)
            ledger.release(run, number, {})
    spent = ledger.spent(dataset)
    assert spent.epsilon_rdp == epsilon_rdp([(ONE, 2)], DELTA)  # four rounds of one run would be one window
    assert spent.planned_epsilon == spent.epsilon_filter


def test_a_shared_data_set_lets_a_window_finish(ledger: Ledger, dataset: str) -> None:
    """The filter counts a further round in the run's own window: it does not begin another one."""
    ledger.set_budget(dataset, "reviews", 10.0, DELTA)
    ledger.plan("a", dataset, event=BANDED, rounds=4, details={})
    ledger.plan("b", dataset, event=BANDED, rounds=4, details={})
    full = ledger.spent(dataset).planned_epsilon
    ledger.set_budget(dataset, "reviews", full + 1e-9, DELTA)
    for run in ("a", "b"):
        for number in range(4):
            ledger.reserve(run, number)
            ledger.release(run, number, {})
    assert ledger.spent(dataset).epsilon_filter == pytest.approx(full)

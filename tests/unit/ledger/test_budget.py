"""The budget rule: one committed plan by PLD, several by the filter, and never more than is allowed."""

from __future__ import annotations

import math
from itertools import count

import dp_accounting
import pytest
from dp_accounting import pld, rdp

from fedpriv.dp import PoissonGaussian, PoissonSkellam, epsilon_pld, epsilon_rdp
from fedpriv.errors import BudgetExceeded, UsageError
from fedpriv.ledger import Ledger
from fedpriv.ledger.order import best_order, filter_epsilon

DELTA = 1e-5


def reserve_all(ledger: Ledger, run_id: str) -> int:
    """Reserve and release rounds until the ledger refuses; returns how many were granted."""
    for number in count():
        try:
            ledger.reserve(run_id, number)
        except BudgetExceeded:
            return number
        ledger.release(run_id, number, {})
    raise AssertionError


def test_a_single_plan_may_use_the_whole_budget_by_the_tight_bound(
    ledger: Ledger, dataset: str, heavy: PoissonGaussian
) -> None:
    assert epsilon_pld([(heavy, 23)], DELTA) <= 6.0 < epsilon_rdp([(heavy, 23)], DELTA)
    ledger.set_budget(dataset, "reviews", 6.0, DELTA)
    row = ledger.plan("a", dataset, event=heavy, rounds=23, details={})
    assert row.body["rule"] == "committed-plan PLD"
    assert reserve_all(ledger, "a") == 23
    spent = ledger.spent(dataset)
    assert spent.rule == "committed-plan PLD"
    assert spent.epsilon == spent.epsilon_pld == spent.planned_epsilon == epsilon_pld([(heavy, 23)], DELTA)
    assert (spent.reserved, spent.released, spent.voided) == (23, 23, 0)


def test_a_plan_over_the_budget_is_refused_with_the_figures(
    ledger: Ledger, dataset: str, heavy: PoissonGaussian
) -> None:
    ledger.set_budget(dataset, "reviews", 6.0, DELTA)
    with pytest.raises(BudgetExceeded, match=r"24 rounds costs epsilon = 6\.05.*allows 6 ") as caught:
        ledger.plan("a", dataset, event=heavy, rounds=24, details={})
    assert caught.value.hint
    assert [row.kind for row in ledger.rows(dataset)] == ["BUDGET"]
    ledger.plan("a", dataset, event=heavy, rounds=1, details={})  # the name was not used up


def test_no_plan_without_a_budget(ledger: Ledger, dataset: str, event: PoissonGaussian) -> None:
    with pytest.raises(UsageError, match="no privacy budget"):
        ledger.plan("a", dataset, event=event, rounds=1, details={})
    with pytest.raises(UsageError, match="no privacy budget"):
        ledger.spent(dataset)
    assert ledger.budget(dataset) is None


def test_a_first_plan_that_fits_only_by_pld_leaves_no_room_even_when_stopped_early(
    ledger: Ledger, dataset: str, heavy: PoissonGaussian, event: PoissonGaussian
) -> None:
    # One round and a tiny second plan would fit easily, but whether to stop early may depend on results.
    ledger.set_budget(dataset, "reviews", 6.0, DELTA)
    ledger.plan("a", dataset, event=heavy, rounds=15, details={})
    ledger.reserve("a", 0)
    ledger.release("a", 0, {})
    ledger.finish("a", {})
    with pytest.raises(BudgetExceeded, match="run a takes the whole budget"):
        ledger.plan("b", dataset, event=event, rounds=1, details={})


def test_a_first_plan_that_fits_the_filter_leaves_the_rest_to_others(
    ledger: Ledger, dataset: str, heavy: PoissonGaussian
) -> None:
    ledger.set_budget(dataset, "reviews", 6.0, DELTA)
    ledger.plan("a", dataset, event=heavy, rounds=9, details={})
    for number in range(9):
        ledger.reserve("a", number)
    with pytest.raises(BudgetExceeded, match="6 rounds would bring"):
        ledger.plan("b", dataset, event=heavy, rounds=6, details={})
    row = ledger.plan("b", dataset, event=heavy, rounds=5, details={})
    assert row.body["rule"] == "RDP filter"
    assert reserve_all(ledger, "b") == 5
    order = best_order(heavy, 6.0, DELTA)
    spent = ledger.spent(dataset)
    assert (
        spent.epsilon == spent.epsilon_filter == filter_epsilon(order, [(heavy, 14)], budget=6.0, delta=DELTA)
    )
    assert 5.9 < spent.epsilon <= 6.0
    assert [(run.run_id, run.rounds) for run in spent.runs] == [("a", 9), ("b", 5)]
    with pytest.raises(BudgetExceeded):
        ledger.plan("c", dataset, event=heavy, rounds=1, details={})


def test_two_open_runs_share_what_is_left_round_by_round(
    ledger: Ledger, dataset: str, heavy: PoissonGaussian
) -> None:
    ledger.set_budget(dataset, "reviews", 6.0, DELTA)
    ledger.plan("a", dataset, event=heavy, rounds=10, details={})
    ledger.plan("b", dataset, event=heavy, rounds=10, details={})
    assert reserve_all(ledger, "b") == 10
    assert reserve_all(ledger, "a") == 4
    with pytest.raises(BudgetExceeded, match="One more round of run a"):
        ledger.reserve("a", 4)
    assert ledger.reserved_rounds("a") == (0, 1, 2, 3)


def test_a_voided_round_gives_its_share_back(ledger: Ledger, dataset: str, heavy: PoissonGaussian) -> None:
    ledger.set_budget(dataset, "reviews", 6.0, DELTA)
    ledger.plan("a", dataset, event=heavy, rounds=10, details={})
    ledger.plan("b", dataset, event=heavy, rounds=10, details={})
    assert reserve_all(ledger, "a") == 10
    for number in range(4):
        ledger.reserve("b", number)
    with pytest.raises(BudgetExceeded):
        ledger.reserve("b", 4)
    ledger.void("b", 3, "the server stopped before it asked any client")
    ledger.reserve("b", 4)
    assert ledger.reserved_rounds("b") == (0, 1, 2, 4)


def test_a_run_given_up_before_its_first_round_costs_nothing(
    ledger: Ledger, dataset: str, heavy: PoissonGaussian
) -> None:
    ledger.set_budget(dataset, "reviews", 6.0, DELTA)
    ledger.plan("a", dataset, event=heavy, rounds=23, details={})
    with pytest.raises(BudgetExceeded) as caught:
        ledger.plan("b", dataset, event=heavy, rounds=23, details={})
    assert "finish it" in caught.value.hint
    ledger.reserve("a", 0)
    ledger.void("a", 0, "no client was reachable")
    ledger.finish("a", {"given_up": True})
    row = ledger.plan("b", dataset, event=heavy, rounds=23, details={})
    assert row.body["rule"] == "committed-plan PLD"
    assert ledger.spent(dataset).epsilon == 0.0


def test_a_raised_budget_lets_a_second_plan_in_and_stays_visible(
    ledger: Ledger, dataset: str, heavy: PoissonGaussian
) -> None:
    ledger.set_budget(dataset, "reviews", 6.0, DELTA)
    ledger.plan("a", dataset, event=heavy, rounds=23, details={})
    assert reserve_all(ledger, "a") == 23
    ledger.set_budget(dataset, "reviews", "9", DELTA)
    ledger.plan("b", dataset, event=heavy, rounds=3, details={})
    assert reserve_all(ledger, "b") == 3
    spent = ledger.spent(dataset)
    assert spent.budget == 9.0
    assert spent.epsilon == filter_epsilon(  # at the order of the first budget: a raise does not move it
        best_order(heavy, 6.0, DELTA), [(heavy, 26)], budget=9.0, delta=DELTA
    )
    budgets = [row.body["epsilon"] for row in ledger.rows(dataset) if row.kind == "BUDGET"]
    assert budgets == ["6.0", "9.0"]


def test_a_budget_lowered_below_what_is_spent_stops_every_round(
    ledger: Ledger, dataset: str, heavy: PoissonGaussian
) -> None:
    ledger.set_budget(dataset, "reviews", 6.0, DELTA)
    ledger.plan("a", dataset, event=heavy, rounds=14, details={})
    for number in range(3):
        ledger.reserve("a", number)
    ledger.set_budget(dataset, "reviews", 1.0, DELTA)
    with pytest.raises(BudgetExceeded, match="One more round"):
        ledger.reserve("a", 3)
    ledger.release("a", 2, {})  # what was reserved may still end
    with pytest.raises(BudgetExceeded):
        ledger.plan("b", dataset, event=heavy, rounds=1, details={})
    ledger.set_budget(dataset, "reviews", 0, DELTA)
    assert ledger.budget(dataset).epsilon == 0.0  # type: ignore[union-attr]


def test_a_budget_lowered_to_what_still_fits_goes_on_by_the_filter(
    ledger: Ledger, dataset: str, heavy: PoissonGaussian
) -> None:
    ledger.set_budget(dataset, "reviews", 6.0, DELTA)
    ledger.plan("a", dataset, event=heavy, rounds=23, details={})
    ledger.set_budget(dataset, "reviews", 5.0, DELTA)
    granted = reserve_all(ledger, "a")
    assert 0 < granted < 23
    assert ledger.spent(dataset).epsilon_filter <= 5.0


def test_one_delta_for_a_data_set(ledger: Ledger, dataset: str, event: PoissonGaussian) -> None:
    ledger.set_budget(dataset, "reviews", 6.0, 1e-3)
    ledger.set_budget(dataset, "reviews", 6.0, 1e-5)
    ledger.plan("a", dataset, event=event, rounds=1, details={})
    with pytest.raises(UsageError, match="delta = 1e-05, which cannot change"):
        ledger.set_budget(dataset, "reviews", 6.0, 1e-6)
    assert ledger.budget(dataset).delta == 1e-5  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("epsilon", "delta"),
    [(-1.0, 1e-5), (math.inf, 1e-5), (math.nan, 1e-5), ("much", 1e-5), (1.0, 0.0), (1.0, 1.0), (1.0, 1e-13)],
)
def test_budgets_that_mean_nothing(ledger: Ledger, dataset: str, epsilon: float, delta: float) -> None:
    with pytest.raises(UsageError, match="of a budget must be"):
        ledger.set_budget(dataset, "reviews", epsilon, delta)
    assert ledger.rows(dataset) == []


@pytest.mark.parametrize("dataset_", ["", "reviews", "AB" * 16, "ab" * 7, "ab" * 65, None])
def test_names_that_are_no_fingerprint(ledger: Ledger, dataset_: str) -> None:
    with pytest.raises(UsageError, match="fingerprint"):
        ledger.set_budget(dataset_, "reviews", 1.0, DELTA)


def test_data_sets_do_not_pay_for_each_other(ledger: Ledger, dataset: str, heavy: PoissonGaussian) -> None:
    other = "0a" * 32
    for name in (dataset, other):
        ledger.set_budget(name, name[:4], 6.0, DELTA)
    ledger.plan("a", dataset, event=heavy, rounds=23, details={})
    assert reserve_all(ledger, "a") == 23
    ledger.plan("b", other, event=heavy, rounds=23, details={})
    assert ledger.spent(other).epsilon == 0.0
    assert [budget.name for budget in ledger.datasets()] == ["0a0a", "d5d5"]


def test_integer_noise_too_coarse_for_its_share_of_delta_is_not_shared(
    ledger: Ledger, dataset: str, event: PoissonGaussian
) -> None:
    # Distance 0.13 sqrt(d) / variance = 1.3e-9 a round: ten of them times 1 + e^6 are half of delta.
    coarse = PoissonSkellam(noise_variance=10**9, sensitivity=10**4, dimension=100, sampling_rate=0.02)
    ledger.set_budget(dataset, "reviews", 6.0, DELTA)
    ledger.plan("a", dataset, event=coarse, rounds=10, details={})
    ledger.reserve("a", 0)
    with pytest.raises(BudgetExceeded, match="integer noise is too coarse"):
        ledger.plan("b", dataset, event=event, rounds=1, details={})
    assert ledger.spent(dataset).epsilon < 1.0


def test_the_figures_are_those_of_dp_accounting(ledger: Ledger, dataset: str, heavy: PoissonGaussian) -> None:
    ledger.set_budget(dataset, "reviews", 8.0, DELTA)
    light = PoissonGaussian(noise_multiplier=1.1, sampling_rate=0.05)
    ledger.plan("a", dataset, event=heavy, rounds=5, details={})
    ledger.plan("b", dataset, event=light, rounds=7, details={})
    for number in range(5):
        ledger.reserve("a", number)
    for number in range(7):
        ledger.reserve("b", number)
    composed = dp_accounting.ComposedDpEvent(
        [
            dp_accounting.SelfComposedDpEvent(
                dp_accounting.PoissonSampledDpEvent(
                    event.sampling_rate, dp_accounting.GaussianDpEvent(event.noise_multiplier)
                ),
                times,
            )
            for event, times in ((heavy, 5), (light, 7))
        ]
    )
    spent = ledger.spent(dataset)
    assert spent.epsilon_rdp == pytest.approx(
        rdp.RdpAccountant().compose(composed).get_epsilon(DELTA), abs=1e-9
    )
    assert spent.epsilon_pld == pytest.approx(
        pld.PLDAccountant().compose(composed).get_epsilon(DELTA), abs=1e-6
    )
    assert spent.epsilon_pld < spent.epsilon_rdp <= spent.epsilon_filter == spent.epsilon


def test_the_filter_meets_the_best_order_where_the_budget_ends(heavy: PoissonGaussian) -> None:
    order = best_order(heavy, 6.0, DELTA)
    at_the_end = filter_epsilon(order, [(heavy, 14)], budget=6.0, delta=DELTA)
    best = epsilon_rdp([(heavy, 14)], DELTA)
    assert best <= at_the_end < best + 0.01
    for rounds in (1, 3, 7, 14, 30):
        assert filter_epsilon(order, [(heavy, rounds)], budget=6.0, delta=DELTA) >= epsilon_rdp(
            [(heavy, rounds)], DELTA
        )


def test_a_shared_budget_is_not_raised_beyond_what_integer_noise_can_keep(
    ledger: Ledger, dataset: str, event: PoissonGaussian
) -> None:
    coarse = PoissonSkellam(noise_variance=10**9, sensitivity=10**4, dimension=100, sampling_rate=0.02)
    ledger.set_budget(dataset, "reviews", 2.0, DELTA)
    ledger.plan("a", dataset, event=coarse, rounds=10, details={})
    ledger.plan("b", dataset, event=event, rounds=1, details={})
    for number in range(10):
        ledger.reserve("a", number)
    before = ledger.rows(dataset)
    with pytest.raises(UsageError, match="too coarse") as refused:
        ledger.set_budget(dataset, "reviews", 6.0, DELTA)
    assert ledger.rows(dataset) == before
    largest = float(str(refused.value.hint).split()[3].rstrip(","))
    ledger.set_budget(dataset, "reviews", largest, DELTA)
    ledger.reserve("b", 0)  # what it says can be set can be spent

"""What a plan says beyond its own epsilon: against the accountant, exact laws and a slower search."""

from __future__ import annotations

import pytest

from fedpriv import dp
from fedpriv.errors import UsageError

DELTA = 1e-5
RUN = dp.PoissonGaussian(1.651, 512 / 10630)


@pytest.mark.parametrize("units", [1, 2, 3])
def test_units_in_one_sum_are_the_group_of_the_accountant(units: int) -> None:
    fine = dp.epsilon_group([(RUN, 20)], units, DELTA, interval=5e-4)
    coarse = dp.epsilon_of_units(RUN, 20, units, DELTA)
    assert coarse is not None
    assert fine <= coarse <= fine * 1.002


def test_units_at_one_client_each_cost_no_more_than_the_bound_for_units_apart() -> None:
    # 6.2 of the report's specification covers every split; one record at each of k clients is one of them,
    # and what it costs is known exactly: k compositions.
    for event in (dp.PoissonSkellam(2**40, 2**20, 500, 0.05), dp.PoissonSkellam(2**44, 2**20, 500, 1.0)):
        for units in (2, 3):
            split = dp.epsilon_everywhere({str(c): (event, 5) for c in range(units)}, DELTA)
            bound = dp.epsilon_of_units(event, 5, units, DELTA, apart=8)
            assert split is not None
            assert bound is not None
            assert split <= bound


def test_noise_in_several_vectors_is_off_in_all_of_their_coordinates() -> None:
    coarse = dp.PoissonSkellam(20**2, 10, 4, 0.05)  # so coarse that its distance from Gaussian noise shows
    wide = dp.PoissonSkellam(20**2, 10, 12, 0.05)
    one, three = (dp.epsilon_of_units(coarse, 1, 3, 0.02, apart=apart) for apart in (1, 8))
    assert one is not None
    assert three is not None
    assert one < three
    assert three == dp.epsilon_of_units(wide, 1, 3, 0.02)
    assert dp.epsilon_of_units(coarse, 1, 3, 0.02, apart=2) < three  # type: ignore[operator]


def test_where_no_bound_is_shown_none_is_given() -> None:
    thin = dp.PoissonSkellam(20**2, 10, 1000, 1.0)
    assert dp.epsilon_of_units(thin, 10, 2, 1e-6) is None
    assert dp.epsilon_everywhere({"a": (thin, 10)}, 1e-6) is None


@pytest.mark.parametrize(("rounds", "units", "apart"), [(0, 2, 1), (1, 0, 1), (1, 2, 0)])
def test_counts_below_one_are_refused(rounds: int, units: int, apart: int) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        dp.epsilon_of_units(RUN, rounds, units, DELTA, apart=apart)


def test_clients_are_composed_each_at_its_own_rate() -> None:
    north, south = dp.PoissonGaussian(2.0, 0.02), dp.PoissonGaussian(2.0, 0.05)
    found = dp.epsilon_everywhere({"n": (north, 9), "s": (south, 4), "idle": (south, 0)}, DELTA)
    exact = dp.epsilon_pld([(north, 9), (south, 4)], DELTA)
    assert found is not None
    assert exact <= found <= exact * 1.01


@pytest.mark.slow
def test_the_frontier_is_inside_its_epsilon_and_a_little_less_noise_is_not() -> None:
    for point in dp.frontier_around(RUN, 9, 2.0, DELTA):
        enough = dp.epsilon_for(point.noise_multiplier, RUN.sampling_rate, point.rounds, DELTA, interval=3e-4)
        less = dp.epsilon_for(
            point.noise_multiplier * 0.975, RUN.sampling_rate, point.rounds, DELTA, interval=3e-4
        )
        assert enough <= point.epsilon * 1.0005 < less


def test_the_frontier_has_the_plans_own_epsilon_and_rounds_once() -> None:
    points = dp.frontier_around(dp.PoissonGaussian(1.0, 1.0), 1, 3.0, DELTA)
    assert [(p.rounds, p.epsilon) for p in points] == [(r, e) for r in (1, 2) for e in (1.0, 3.0, 8.0)]


def test_rounds_of_the_frontier_are_the_plans_whatever_one_round_costs() -> None:
    steps = dp.PoissonSkellamSteps(2**40, 2**20, 10, 0.1, steps=4)
    bands = dp.BandedMatrixRound(3.0, bands=4)
    for event, releases in ((steps, {3: 12, 6: 24, 12: 48}), (bands, {3: 1, 6: 2, 12: 3})):
        rate = 0.1 if event is steps else 1.0
        plain = {
            (p.rounds, p.epsilon): p.noise_multiplier
            for p in dp.frontier([1.0, 3.0, 8.0], sorted(releases.values()), rate, DELTA)
        }
        points = dp.frontier_around(event, 6, 8.0, DELTA)
        assert {p.rounds for p in points} == set(releases)
        for point in points:
            assert point.noise_multiplier == plain[releases[point.rounds], point.epsilon]

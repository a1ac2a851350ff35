"""Clients that take turns in cohorts: a unit pays for the rounds of its own cohort, and for no fewer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reference.dp import rounds_of_one_unit

from fedpriv import dp
from fedpriv.errors import IntegrityError, UsageError
from fedpriv.federation.planning.cohorts import cohort

DELTA = 1e-5
ONE = dp.PoissonSkellam(2**50, 2**24, 1000, 0.04)
STEPS = dp.PoissonSkellamSteps(2**50, 2**24, 1000, 0.04, steps=3)


@pytest.mark.parametrize("cohorts", [2, 3, 4])
@pytest.mark.parametrize("clients", [12, 13])
def test_after_every_round_no_client_was_in_more_rounds_than_are_charged(clients: int, cohorts: int) -> None:
    event = dp.InTurns(ONE, cohorts)
    taken = dict.fromkeys(range(1, clients + 1), 0)
    for round_ in range(1, 30):
        for client in cohort(round_, clients=clients, cohorts=cohorts, seed=5):
            taken[client] += 1
        assert max(taken.values()) == event.turns(round_) == rounds_of_one_unit(round_, cohorts)
        assert event.turns(1, after=round_ - 1) == event.turns(round_) - event.turns(round_ - 1)


@pytest.mark.parametrize("one", [ONE, STEPS, dp.PoissonGaussian(2.0, 1.0)])
def test_rounds_in_turns_cost_what_the_rounds_of_one_cohort_cost(one: dp.OneTurn) -> None:
    event = dp.InTurns(one, 4)
    for rounds, own in ((1, 1), (4, 1), (5, 2), (19, 5)):
        assert dp.epsilon_rdp([(event, rounds)], DELTA) == dp.epsilon_rdp([(one, own)], DELTA)
        assert dp.of_one_client(event, rounds) == (one, own)
    assert dp.epsilon_pld([(event, 19)], DELTA) == dp.epsilon_pld([(one, 5)], DELTA)
    running = dp.RunningEpsilon()
    for _ in range(19):
        running.add(event)
    assert running.rdp(DELTA) == pytest.approx(dp.epsilon_rdp([(one, 5)], DELTA))
    assert dp.epsilon_rdp([(event, 3), (replace(event, cohorts=2), 3)], DELTA) == pytest.approx(
        dp.epsilon_rdp([(one, 3)], DELTA)
    )


def test_a_person_in_several_cohorts_is_charged_in_every_round() -> None:
    event = dp.InTurns(ONE, 4)
    assert dp.epsilon_of_units(event, 12, 2, DELTA) == dp.epsilon_of_units(ONE, 12, 2, DELTA)
    assert dp.epsilon_of_units(event, 12, 1, DELTA) == dp.epsilon_of_units(ONE, 3, 1, DELTA)


def test_every_adversary_sees_turns() -> None:
    noise = dp.NoisePlan(
        trust="distributed",
        clients=4,
        min_survivors=3,
        max_colluders=1,
        noise_multiplier=1.0,
        sensitivity=2**20,
        dimension=10,
        sampling_rate=0.1,
    )
    alone, turns = dp.RoundEvents(noise), dp.RoundEvents(noise, cohorts=3)
    for who in ("server", "recipient", "peer", "unmasked"):
        one = alone.against(who)
        assert not isinstance(one, dp.BandedMatrixRound | dp.InTurns | None)
        assert turns.against(who) == dp.InTurns(one, 3)


@pytest.mark.parametrize(
    "change",
    [
        {"of": "in-turns"},
        {"of": "banded-matrix-round"},
        {"of": None},
        {"cohorts": "0"},
        {"cohorts": 4},
        {"sampling_rate": "2.0"},
        {"extra": "1"},
    ],
)
def test_a_stored_event_in_turns_that_is_not_canonical_is_refused(change: dict[str, object]) -> None:
    stored = dp.event_to_dict(dp.InTurns(ONE, 4))
    assert dp.event_from_dict(stored) == dp.InTurns(ONE, 4)
    with pytest.raises(IntegrityError):
        dp.event_from_dict({**stored, **change})
    for missing in ("of", "cohorts", "dimension"):
        with pytest.raises(IntegrityError):
            dp.event_from_dict({key: value for key, value in stored.items() if key != missing})


def test_there_are_no_turns_of_rounds_that_are_charged_by_their_place() -> None:
    for inside in (dp.BandedMatrixRound(2.0, 3), dp.InTurns(ONE, 2)):
        with pytest.raises(UsageError):
            dp.InTurns(inside, 2)  # type: ignore[arg-type]

"""What a round of more, or less, than one noisy sum is to each adversary, and what it costs."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from fedpriv import dp
from fedpriv.errors import IntegrityError, UsageError

NOISE = dp.NoisePlan(
    trust="local",
    clients=6,
    min_survivors=4,
    max_colluders=1,
    noise_multiplier=1.5,
    sensitivity=2**20,
    dimension=100,
    sampling_rate=0.05,
)
DELTA = 1e-5


def test_one_step_without_bands_is_what_the_noise_plan_says() -> None:
    events = dp.RoundEvents(NOISE)
    assert events.event() == NOISE.event()
    for who in get_args(dp.Adversary):
        assert events.against(who) == NOISE.event_against(who)


@pytest.mark.parametrize("steps", [2, 7])
def test_local_steps_cost_as_many_rounds_of_one_clients_noise_to_anyone(steps: int) -> None:
    events = dp.RoundEvents(NOISE, steps=steps)
    own = NOISE.event_against("unmasked")
    assert own is not None
    for who in get_args(dp.Adversary):
        event = events.against(who)
        assert isinstance(event, dp.PoissonSkellamSteps)
        assert event.step == own  # and not the larger noise of the whole sum
    event = events.event()
    assert dp.epsilon_rdp([(event, 3)], DELTA) == dp.epsilon_rdp([(own, 3 * steps)], DELTA)
    assert dp.epsilon_pld([(event, 3)], DELTA) == dp.epsilon_pld([(own, 3 * steps)], DELTA)
    assert dp.event_from_dict(dp.event_to_dict(event)) == event


def test_a_row_of_a_matrix_mechanism_is_charged_once_in_as_many_rounds_as_bands() -> None:
    central = replace(NOISE, trust="central", sampling_rate=1.0)
    events = dp.RoundEvents(central, bands=4)
    event, whole = events.event(), central.event()
    assert isinstance(event, dp.BandedMatrixRound)
    assert event.noise_multiplier == whole.noise_multiplier
    assert events.against("server") is None
    assert events.against("unmasked") is None
    for rounds, charged in ((1, 1), (4, 1), (5, 2), (12, 3)):
        gaussian = dp.PoissonGaussian(event.noise_multiplier, 1.0)
        assert dp.epsilon_rdp([(event, rounds)], DELTA) == dp.epsilon_rdp([(gaussian, charged)], DELTA)


@pytest.mark.parametrize(
    ("noise", "options"),
    [
        (NOISE, {"steps": 0}),
        (replace(NOISE, trust="distributed"), {"steps": 2}),
        (replace(NOISE, trust="central"), {"steps": 2}),
        (replace(NOISE, trust="distributed", sampling_rate=1.0), {"bands": 2}),
        (replace(NOISE, sampling_rate=1.0), {"bands": 2}),
        (replace(NOISE, trust="central"), {"bands": 2}),  # sampled records keep no distance
        (replace(NOISE, trust="central", sampling_rate=1.0), {"bands": 0}),
        (NOISE, {"cohorts": 1}),
        (replace(NOISE, trust="central", sampling_rate=1.0), {"bands": 2, "cohorts": 2}),
    ],
)
def test_rounds_whose_noise_does_not_cover_them_are_refused(
    noise: dp.NoisePlan, options: dict[str, int]
) -> None:
    with pytest.raises(UsageError):
        dp.RoundEvents(noise, **options)


@pytest.mark.parametrize(
    "change", [{"steps": "0"}, {"steps": "1.5"}, {"steps": 2}, {"bands": "2"}, {"sensitivity": "0"}]
)
def test_a_stored_event_of_local_steps_that_is_not_canonical_is_refused(change: dict[str, object]) -> None:
    stored = dp.event_to_dict(dp.RoundEvents(NOISE, steps=3).event())
    with pytest.raises(IntegrityError):
        dp.event_from_dict({**stored, **change})

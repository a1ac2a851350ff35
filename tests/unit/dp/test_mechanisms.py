"""Who adds how much noise, and what each adversary is left with."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from fedpriv.dp import NoisePlan, PoissonSkellam, share_excess
from fedpriv.errors import UnsafeParameters, UsageError

Z, S = 0.9351, 2**21 - 3


def plan(trust: str = "distributed", **changes: object) -> NoisePlan:
    fields: dict[str, object] = {
        "trust": trust, "clients": 8, "min_survivors": 6, "max_colluders": 1, "noise_multiplier": Z,
        "sensitivity": S, "dimension": 1000, "sampling_rate": 0.05,
    }  # fmt: skip
    return NoisePlan(**(fields | changes))  # type: ignore[arg-type]


NEEDED = (Fraction(Z) * S) ** 2


@pytest.mark.parametrize("colluders", [0, 1, 2, 5])
def test_the_fewest_honest_survivors_carry_just_enough(colluders: int) -> None:
    p = plan(max_colluders=colluders)
    honest = 6 - colluders
    assert (p.share_variance - 1) * honest < NEEDED <= p.share_variance * honest
    assert p.event().noise_variance == p.share_variance * honest
    assert p.event().noise_multiplier >= Z * (1 - 1e-15)
    assert p.server_variance == 0


def test_local_noise_is_enough_for_each_client_alone() -> None:
    p = plan("local")
    assert p.share_variance == math.ceil(NEEDED)
    assert p.event() == PoissonSkellam(p.share_variance, S, 1000, 0.05)
    assert p.event_against("unmasked") == p.event()
    assert p.share_excess == pytest.approx(8.0)


def test_central_noise_is_the_servers_and_it_sees_the_sum_without() -> None:
    p = plan("central")
    assert (p.share_variance, p.server_variance) == (0, math.ceil(NEEDED))
    assert p.event_against("server") is None
    assert p.event_against("unmasked") is None
    assert p.event() == p.event_against("recipient") == PoissonSkellam(p.server_variance, S, 1000, 0.05)
    assert p.share_excess == pytest.approx(1.0)


def test_each_adversary_faces_the_noise_that_it_does_not_know() -> None:
    p = plan()
    share = p.share_variance

    def unknown(adversary: str, **given: int) -> int:
        event = p.event_against(adversary, **given)  # type: ignore[arg-type]
        return 0 if event is None else event.noise_variance

    assert unknown("server") == 5 * share
    assert unknown("server", survivors=8) == 7 * share
    assert unknown("server", colluders=0) == 6 * share
    assert unknown("server", colluders=6) == 0
    assert unknown("peer") == 5 * share
    assert unknown("peer", colluders=0) == 5 * share  # it always knows its own
    assert unknown("recipient") == 6 * share
    assert unknown("unmasked") == share


def test_realised_noise_grows_with_the_survivors_and_starts_at_the_plan() -> None:
    p = plan()
    realised = [p.realised_multiplier(n) for n in (6, 7, 8)]
    assert realised == pytest.approx([Z, Z * math.sqrt(6 / 5), Z * math.sqrt(7 / 5)], rel=1e-9)
    assert p.excess(6) == pytest.approx(6 / 5)
    assert p.share_excess == pytest.approx(8 / 5)
    assert p.sum_variance(7) == 7 * p.share_variance
    for trust in ("local", "central"):
        assert plan(trust).realised_multiplier(8) == pytest.approx(Z)


@pytest.mark.parametrize("trust", ["local", "distributed", "central"])
def test_the_excess_for_planning_is_the_excess_of_the_plan(trust: str) -> None:
    ahead = share_excess(trust, clients=8, min_survivors=6, max_colluders=1)  # type: ignore[arg-type]
    assert plan(trust).share_excess == pytest.approx(ahead, rel=1e-9)


@pytest.mark.parametrize("survivors", [0, 5, 9])
def test_survivors_outside_the_plan_are_refused(survivors: int) -> None:
    with pytest.raises(UsageError, match="survivors"):
        plan().realised_multiplier(survivors)
    with pytest.raises(UsageError, match="survivors"):
        plan().event_against("server", survivors=survivors)


def test_colluders_as_many_as_survivors_leave_no_plan() -> None:
    with pytest.raises(UnsafeParameters, match="honest"):
        plan(max_colluders=6)


@pytest.mark.parametrize(
    "changes",
    [
        {"trust": "nobody"},
        {"min_survivors": 9},
        {"min_survivors": 0},
        {"max_colluders": -1},
        {"noise_multiplier": 0.0},
        {"noise_multiplier": math.inf},
        {"sensitivity": 0},
        {"dimension": 0},
        {"sampling_rate": 0.0},
        {"sensitivity": 2**33},
    ],
)
def test_a_plan_is_checked_when_it_is_made(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        plan(**changes)  # type: ignore[arg-type]


def test_unknown_adversaries_are_refused() -> None:
    with pytest.raises(UsageError, match="recipient"):
        plan().event_against("nobody")  # type: ignore[arg-type]


def test_a_plan_says_its_neighbouring_relation() -> None:
    assert plan().relation == "add-or-remove-one"

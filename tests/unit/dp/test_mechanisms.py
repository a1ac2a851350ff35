"""Who adds how much noise, and what each adversary is left with."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import pytest

from fedpriv.dp import NoisePlan, PoissonSkellam, removal_levels, share_excess
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


SHAPES = [(8, 6, 1), (3, 2, 0), (3, 2, 1), (10, 6, 0), (40, 25, 8), (100, 51, 0), (338, 200, 20), (30, 30, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_left_is_enough_and_within_a_twentieth_of_it_at_every_number_of_survivors(
    shape: tuple[int, int, int],
) -> None:
    n, t, c = shape
    levels = removal_levels(clients=n, min_survivors=t, max_colluders=c)
    p = plan(clients=n, min_survivors=t, max_colluders=c, levels=levels)
    for u in range(t, n + 1):
        honest = (u - c) * p.kept_variance(u)
        # A variance is rounded up by less than one a client.
        assert NEEDED <= honest <= NEEDED * Fraction(21, 20) + (u - c)
        assert p.sum_variance(u) == u * p.kept_variance(u)
        assert Z * (1 - 1e-12) <= p.realised_multiplier(u) <= Z * math.sqrt(1.05) * (1 + 1e-9)
        assert p.level(u) == sum(level <= u for level in levels)
    without = plan(clients=n, min_survivors=t, max_colluders=c)
    assert p.share_variance == without.share_variance
    assert p.share_excess == pytest.approx(without.share_excess)
    assert p.event().noise_variance >= NEEDED


def _covers(levels: tuple[int, ...], n: int, t: int, c: int) -> bool:
    """Whether no number of survivors leaves more than a twentieth too much, tried one by one."""
    return all(20 * (u - c) <= 21 * (max(x for x in (t, *levels) if x <= u) - c) for u in range(t, n + 1))


@pytest.mark.parametrize("shape", [(8, 6, 1), (26, 20, 0), (45, 40, 10), (49, 42, 0), (60, 50, 5)])
def test_no_fewer_levels_would_do(shape: tuple[int, int, int]) -> None:
    n, t, c = shape
    levels = removal_levels(clients=n, min_survivors=t, max_colluders=c)
    assert _covers(levels, n, t, c)
    assert len(levels) < 5
    fewer = len(levels) - 1
    assert fewer < 0 or not any(
        _covers(chosen, n, t, c) for chosen in combinations(range(t + 1, n + 1), fewer)
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_the_components_add_up_to_what_each_level_keeps(shape: tuple[int, int, int]) -> None:
    n, t, c = shape
    levels = removal_levels(clients=n, min_survivors=t, max_colluders=c)
    p = plan(clients=n, min_survivors=t, max_colluders=c, levels=levels)
    assert len(p.components) == len(levels) + 1
    assert min(p.components) >= 1
    assert sum(p.components) == p.share_variance == p.kept_variance(t)
    for k, level in enumerate(levels, start=1):
        removed = sum(p.components[1 : k + 1])
        assert p.share_variance - removed == p.kept_variance(level) == math.ceil(NEEDED / (level - c))
    assert plan(clients=n, min_survivors=t, max_colluders=c).components == (p.share_variance,)


@pytest.mark.parametrize("adversary", ["server", "peer", "recipient", "unmasked"])
@pytest.mark.parametrize("colluders", [0, 1, 2, 4])
def test_the_certified_noise_is_the_least_that_any_number_of_survivors_leaves(
    adversary: str, colluders: int
) -> None:
    p = plan(clients=12, max_colluders=2, levels=(7, 9, 11))

    def unknown(**given: int) -> int:
        event = p.event_against(adversary, colluders=colluders, **given)  # type: ignore[arg-type]
        return 0 if event is None else event.noise_variance

    by_hand = []
    for u in range(6, 13):
        kept = math.ceil(NEEDED / (max(x for x in (6, 7, 9, 11) if x <= u) - 2))
        known = {"server": colluders, "peer": max(1, colluders), "recipient": 0, "unmasked": u - 1}[adversary]
        by_hand.append((u - known) * kept)
        assert unknown(survivors=u) == by_hand[-1]
    assert unknown() == min(by_hand)
    if adversary in ("server", "peer") and colluders <= 2:
        assert min(by_hand) >= NEEDED


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"levels": (6,)}, "ascend"),
        ({"levels": (7, 7)}, "ascend"),
        ({"levels": (8, 7)}, "ascend"),
        ({"levels": (9,)}, "ascend"),
        ({"levels": (7,), "trust": "local"}, "distributed"),
        ({"levels": (7,), "trust": "central"}, "distributed"),
    ],
)
def test_levels_that_are_none_are_refused(changes: dict[str, object], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        plan(**changes)  # type: ignore[arg-type]


def test_levels_need_a_plan_and_a_tolerance_that_is_one() -> None:
    assert removal_levels(clients=8, min_survivors=6, max_colluders=0, tolerance=Fraction(1, 3)) == ()
    with pytest.raises(UsageError, match="tolerance"):
        removal_levels(clients=8, min_survivors=6, max_colluders=0, tolerance=Fraction(-1, 9))
    with pytest.raises(UnsafeParameters, match="honest"):
        removal_levels(clients=8, min_survivors=6, max_colluders=6)


def test_the_table_in_the_spec() -> None:
    spec = (Path(__file__).resolve().parents[3] / "protocols" / "dp" / "spec.md").read_text(encoding="utf-8")
    section = spec.split("**10.1 ")[1].split("**10.2 ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if re.match(r"\| \d", line)]
    assert len(rows) == 8
    for row in rows:
        n, t, c = map(int, row[:3])
        levels = removal_levels(clients=n, min_survivors=t, max_colluders=c)
        reached = {u: max(level for level in (t, *levels) if level <= u) for u in range(t, n + 1)}
        left = max(Fraction(u - c, level - c) for u, level in reached.items())
        whole = Fraction(n - c, t - c)
        found = [str(len(levels)), *(f"{float((ratio - 1) * 100):.1f}%" for ratio in (whole, left))]
        assert found == row[3:]

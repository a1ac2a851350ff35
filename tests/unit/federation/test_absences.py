"""Clients that are slow or away: known beforehand, and so are the rounds that are lost for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parties.client_run import client_config

from fedpriv.federation.planning.absences import Absences
from fedpriv.federation.planning.make import plan_of
from fedpriv.federation.planning.subject import Subject

CLIENTS = 20
SUBJECT = Subject(dataset="0" * 64, clients=CLIENTS, records=400, unit_key="client:0", parameters=50)


def absences(folder: Path, **simulation: Any) -> Absences:
    config = client_config(
        folder,
        aggregator=simulation.pop("aggregator", "masked"),
        run__rounds=simulation.pop("rounds", 30),
        run__seed=simulation.pop("seed", 0),
        partition__clients=CLIENTS,
        privacy__epsilon=8.0,
        privacy__noise_multiplier=6.0,
        simulation=simulation,
    )
    return Absences(config, plan_of(config, SUBJECT))


def by_round(found: Absences) -> list[dict[int, str]]:
    return [found.in_round(round_) for round_ in range(1, found.plan.rounds + 1)]


def test_nobody_is_missing_unless_it_is_asked_for(tmp_path: Path) -> None:
    found = absences(tmp_path)
    assert not any(by_round(found))
    assert found.lost_rounds() == []


def test_the_same_few_are_late_each_time_and_only_their_uploads(tmp_path: Path) -> None:
    rounds = by_round(absences(tmp_path, stragglers=0.2, straggler_misses=0.5))
    late = [client for gone in rounds for client in gone]
    assert len(set(late)) == 0.2 * CLIENTS
    assert {stage for gone in rounds for stage in gone.values()} == {"upload"}
    assert abs(len(late) / (30 * 0.2 * CLIENTS) - 0.5) < 0.15
    always = by_round(absences(tmp_path, stragglers=0.2, straggler_misses=1.0))
    assert {frozenset(gone) for gone in always} == {frozenset(late)}


def test_who_leaves_is_away_for_so_many_rounds_and_comes_back(tmp_path: Path) -> None:
    found = absences(tmp_path, away=0.05, away_rounds=4)
    rounds = by_round(found)
    assert {stage for gone in rounds for stage in gone.values()} == {found.plan.aggregator.stages[0]}
    for client in range(1, CLIENTS + 1):
        away = [client in gone for gone in rounds]
        changes = np.flatnonzero(np.diff([False, *away, False]))
        for left, back in zip(changes[::2], changes[1::2], strict=True):
            assert back - left >= 4 or back == len(rounds)
    assert any(rounds)


def test_the_public_seed_decides(tmp_path: Path) -> None:
    options = {"stragglers": 0.4, "away": 0.1, "dropout": 0.5}
    assert by_round(absences(tmp_path, **options)) == by_round(absences(tmp_path, **options))
    assert by_round(absences(tmp_path, **options)) != by_round(absences(tmp_path, seed=1, **options))


@pytest.mark.parametrize("aggregator", ["masked", "plain"])
def test_a_round_is_lost_where_fewer_stay_than_a_sum_needs(tmp_path: Path, aggregator: str) -> None:
    found = absences(tmp_path, aggregator=aggregator, stragglers=0.6, straggler_misses=0.7)
    needed = found.plan.noise.min_survivors
    expected = [r for r, gone in enumerate(by_round(found), start=1) if CLIENTS - len(gone) < needed]
    assert found.lost_rounds() == expected
    assert 0 < len(expected) < 30

"""Runs in which the clients take turns: who is asked, what it costs, and that the evidence says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from parties.client_run import client_config
from parties.small_run import small_config

from fedpriv import dp
from fedpriv.errors import ConfigError
from fedpriv.federation.planning.make import plan_of
from fedpriv.federation.planning.subject import Subject
from fedpriv.federation.run import run
from fedpriv.report import verify, write
from fedpriv.report.checks.rounds import _turn_faults
from fedpriv.report.rundir import RunDirectory

TURNS: dict[str, Any] = {
    "run__rounds": 3,
    "run__participation": 0.5,
    "partition__clients": 6,
    "privacy__noise_multiplier": 1.5,
}


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"trust": "central", "aggregator": "plain"},
        {"trust": "local", "local": {"steps": 2, "learning_rate": 0.05}, "aggregator": "plain"},
    ],
    ids=["distributed", "central", "local steps"],
)
def test_disjoint_cohorts_take_turns_and_a_record_pays_for_its_own(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    config = small_config(tmp_path, **TURNS, **changes)
    result = run(config, tmp_path / "run")
    lines = lines_of(result.run_dir)
    assert [len(line["survivors"]) for line in lines] == [3] * 3
    odd, even = set(lines[0]["survivors"]), set(lines[1]["survivors"])
    assert odd | even == set(range(1, 7))
    assert all(set(line["survivors"]) == (odd, even)[place % 2] for place, line in enumerate(lines))
    plan = json.loads((result.run_dir / "plan.json").read_text())
    event = dp.event_from_dict(plan["event"])
    assert isinstance(event, dp.InTurns)
    # Half of the records make the same expected batch, and a record is in two of three rounds at most.
    assert plan["sampling_rate"] == pytest.approx(2 * 24 / 192)
    assert plan["epsilon_pld"] == dp.epsilon_pld([(event.event, 2)], plan["delta"])
    assert result.epsilon_spent == pytest.approx(plan["epsilon_pld"], rel=1e-3)
    write(result.run_dir)
    checked = verify(result.run_dir)
    assert checked.ok, [str(check) for check in checked.failures]
    rundir = RunDirectory.open(result.run_dir)
    assert not list(_turn_faults(rundir))
    late = {**rundir.rounds[2], "round": 4}  # the first cohort once more, where it is the other's turn
    assert len(list(_turn_faults(replace(rundir, rounds=(*rundir.rounds, late))))) == 3
    page = (result.run_dir / "report.html").read_text()
    assert "of one of 2 cohorts, which take turns," in page
    if config.trust == "local":
        report = json.loads((result.run_dir / "report.json").read_text())
        assert sorted(one["rounds"] for one in report["unit"]["clients"]) == [1, 1, 1, 2, 2, 2]


@pytest.mark.slow
def test_a_lost_round_stays_in_its_place_and_clients_count_their_own(tmp_path: Path) -> None:
    config = client_config(
        tmp_path,
        **TURNS | {"run__rounds": 6, "privacy__noise_multiplier": 3.0},
        simulation={"away": 0.25, "away_rounds": 1},
    )
    result = run(config, tmp_path / "run")
    assert 0 < result.rounds_done < 6
    rows = [row["kind"] for row in json.loads((result.run_dir / "ledger.json").read_text())["rows"]]
    assert rows.count("RESERVE") == 6
    assert "VOID" not in rows
    write(result.run_dir)
    checked = verify(result.run_dir)
    assert checked.ok, [str(check) for check in checked.failures]


def test_the_plan_says_in_how_many_rounds_a_record_can_be(tmp_path: Path) -> None:
    subject = Subject(dataset="0" * 64, clients=6, records=192, unit_key="record", parameters=100)
    said = dict(plan_of(small_config(tmp_path, **TURNS), subject).lines())["rounds"]
    assert "its client takes part in 2 of them at most, as clients take turns in 2 cohorts" in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"run__participation": 0.4}, "not one over a whole number"),
        ({"run__participation": 0.8}, "not one over a whole number"),
        ({"run__participation": 0.25}, "6 clients do not divide into them"),
        ({"run__participation": 0.333}, "fewer than the 3"),
        ({"peft": {"method": "hetlora"}}, "the share of all clients that have a rank"),
        (
            {
                "unit": "client",
                "trust": "central",
                "privacy": {"epsilon": 8.0, "delta": 1e-3, "mechanism": "banded-matrix", "bands": 2},
            },
            "whose bands are the cohorts",
        ),
    ],
)
def test_shares_that_make_no_cohorts_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    values = {key: value for key, value in TURNS.items() if not ("privacy" in changes and "privacy" in key)}
    with pytest.raises(ConfigError) as caught:
        small_config(tmp_path, **values | changes)
    assert words in str(caught.value)
    assert caught.value.hint

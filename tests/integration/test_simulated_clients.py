"""Whole runs of simulated clients: some slow, some away, unlike one another, and looked at by group."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from parties.client_run import client_config

from fedpriv.federation.config import Config
from fedpriv.federation.planning.absences import Absences
from fedpriv.federation.planning.make import make_plan
from fedpriv.federation.planning.simulated import simulated_lines
from fedpriv.federation.run import run
from fedpriv.federation.workplace import load_data, prepare
from fedpriv.report import verify, write

FILMS = 8
LORA = {"peft": {"method": "lora", "rank": 2, "layers": [-1]}}


def film_config(folder: Path, **changes: Any) -> Config:
    """Reviews of eight films, of which one is liked by nobody."""
    words = ("a fine warm film", "a poor dull film")
    rows = []
    for k in range(240):
        film, good = k % FILMS, (k // FILMS) % 2 == 0 and k % FILMS != 3
        rows.append(f"{words[not good]} number {k},{('bad', 'good')[good]},film {film}")
    (folder / "reviews.csv").write_text("\n".join(["text,label,film", *rows]) + "\n")
    return client_config(
        folder, **{"partition": {"method": "groups", "clients": 6, "column": "film"}, **LORA, **changes}
    )


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]


def checked(run_dir: Path) -> dict[str, Any]:
    """The report of a run that verifies."""
    write(run_dir)
    found = verify(run_dir)
    assert found.ok, [str(check) for check in found.failures]
    report: dict[str, Any] = json.loads((run_dir / "report.json").read_text())
    return report


@pytest.mark.slow
def test_lora_has_a_gap_that_is_within_its_bound_and_the_run_is_judged_by_film(tmp_path: Path) -> None:
    clip = 0.5
    config = film_config(
        tmp_path, privacy__clip=clip, simulation__measure_gap=True, training__groups="film", run__rounds=2
    )
    folder = run(config, tmp_path / "run").run_dir
    gaps = [line["gap"] for line in lines_of(folder)]
    # With updates clipped to C the gap is at most C^2 / 2: the mean of (B - mean(B)) (A - mean(A)).
    assert all(0 < gap["norm"] <= clip**2 / 2 and 0 < gap["relative"] <= 1.0 for gap in gaps)
    report = checked(folder)
    assert report["utility"]["gap"]["largest"] == max(gap["relative"] for gap in gaps)
    groups = report["utility"]["groups"]
    assert groups["values"] == FILMS
    assert sum(row["n"] for row in groups["rows"]) == sum(row["n"] for row in groups["clients"]) == 48
    accuracy = json.loads((folder / "result.json").read_text())["accuracy"]
    assert sum(row["n"] * row["accuracy"] for row in groups["rows"]) / 48 == pytest.approx(accuracy)
    declared = " ".join(report["accesses_not_accounted"])
    for words in ("every client's update before noise", "the held-out records by film", "looks at labels"):
        assert words in declared


@pytest.mark.slow
def test_where_one_half_is_frozen_the_measured_gap_is_zero(tmp_path: Path) -> None:
    config = film_config(
        tmp_path,
        peft={"method": "ffa-lora", "rank": 2, "layers": [-1]},
        simulation__measure_gap=True,
        run__rounds=1,
    )
    (line,) = lines_of(run(config, tmp_path / "run").run_dir)
    assert line["gap"]["relative"] < 1e-12


@pytest.mark.slow
def test_the_rounds_that_the_plan_gives_up_are_those_that_are_lost(tmp_path: Path) -> None:
    config = film_config(
        tmp_path,
        peft={"method": "head"},
        partition={"method": "quantity", "alpha": 0.5, "clients": 6},
        run__rounds=6,
        simulation={"stragglers": 0.5, "straggler_misses": 0.6, "away": 0.1, "away_rounds": 2},
    )
    work = prepare(config)
    plan = make_plan(config, work)
    absences = Absences(config, plan)
    lost = absences.lost_rounds()
    assert 0 < len(lost) < 6
    said = dict(simulated_lines(work.dataset, absences))
    sizes = sorted(map(len, load_data(config).shards))
    assert f"6 simulated clients with {sizes[0]} to {sizes[-1]} records" in said["partition"]
    assert f"{len(lost)} of 6" in said["LOST ROUNDS"]
    result = run(config, tmp_path / "run")
    finished = lines_of(result.run_dir)
    assert [line["round"] for line in finished] == [r for r in range(1, 7) if r not in lost]
    for line in finished:
        assert dict(line["dropped"]) == absences.in_round(line["round"])
    checked(result.run_dir)

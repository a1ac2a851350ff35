"""Ledgers of single clients, people with several records, and a budget that protects nobody."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from sample_run import DELTA, edit, make_run, report_of

from fedpriv import dp
from fedpriv.errors import IntegrityError
from fedpriv.report import verify, write
from fedpriv.report.history import History
from fedpriv.report.people import rounds_taken
from fedpriv.report.rundir import RunDirectory

LOCAL: dict[str, Any] = {"trust": "local", "rounds": 3, "multiplier": 1.5, "shape": (8, 6, 1)}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rounds with noise at each client; one client vanishes before the update of the third."""
    run_dir = make_run(tmp_path_factory.mktemp("local"), people=(2, "unknown"), stage="share", **LOCAL)
    write(run_dir)
    return run_dir


@pytest.fixture
def copy(local: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(local, tmp_path / "run"))


def taken(run_dir: Path) -> dict[int, int]:
    rundir = RunDirectory.open(run_dir)
    return rounds_taken(rundir, History.of(rundir.ledger, rundir.run["run_id"]), rundir.plan["clients"])


def event_of(run_dir: Path) -> dp.Event:
    return dp.event_from_dict(json.loads((run_dir / "plan.json").read_text())["event"])


def change_line(run_dir: Path, number: int, **changes: Any) -> None:
    path = run_dir / "rounds.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[number - 1].update(changes)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_each_client_pays_for_the_rounds_that_it_took_part_in(local: Path) -> None:
    unit, event = report_of(local)["unit"], event_of(local)
    assert [(row["client"], row["rounds"]) for row in unit["clients"]] == [
        (c, 2 if c == 8 else 3) for c in range(1, 9)
    ]
    for row in unit["clients"]:
        exact = dp.epsilon_pld([(event, row["rounds"])], DELTA)
        assert exact <= row["epsilon"] <= exact * 1.001
    ledgers = {str(row["client"]): [(event, row["rounds"])] for row in unit["clients"]}
    spent = dp.epsilon_local(ledgers, DELTA, disjoint=False)
    assert spent <= unit["everywhere"]["epsilon_spent"] <= spent * 1.001
    planned = dp.epsilon_pld([(event, 24)], DELTA)
    assert planned <= unit["everywhere"]["epsilon_planned"] <= planned * 1.001
    page = (local / "report.html").read_text()
    assert "The ledger of each client" in page
    assert "Somebody with one record at each of the 8 clients" in page


def test_only_a_client_that_vanished_before_the_update_is_spared(copy: Path) -> None:
    survivors = list(range(1, 8))
    cases: list[tuple[dict[str, Any], int]] = [
        ({"dropped": [[8, "share"]]}, 2),
        ({"dropped": [[8, "advertise"]]}, 2),
        ({"dropped": [[8, "upload"]]}, 3),  # what it would have sent existed
        ({"dropped": [[8, "unmask"]]}, 3),
        ({"dropped": [[8, "never heard of"]]}, 3),
        ({"dropped": []}, 3),  # absent from the sum without a reason
        ({"dropped": [[8, "share"]], "survivors": [*survivors, 8]}, 3),
    ]
    for changes, rounds in cases:
        change_line(copy, 3, **{"survivors": survivors, **changes})
        assert taken(copy)[8] == rounds, changes
    # A signed survivor cannot be made absent by a file that no signature covers.
    change_line(copy, 3, survivors=survivors, dropped=[[1, "share"], [8, "share"]])
    assert (taken(copy)[1], taken(copy)[8]) == (3, 2)
    # Nor can a line be left out.
    (copy / "rounds.jsonl").write_text("")
    assert set(taken(copy).values()) == {3}


def test_a_lost_round_counts_for_everybody_and_a_voided_one_for_nobody(tmp_path: Path) -> None:
    changes: dict[str, Any] = {**LOCAL, "stage": "share"}
    assert set(taken(make_run(tmp_path, lost=(3,), name="lost", **changes)).values()) == {3}
    assert set(taken(make_run(tmp_path, voided=(3,), name="voided", **changes)).values()) == {2}


def test_a_person_with_several_records_is_a_group_over_all_clients(local: Path) -> None:
    unit = report_of(local)["unit"]
    expected = dp.epsilon_of_units(event_of(local), 3, 2, DELTA, apart=8)
    assert unit["person"] == {"records": 2, "epsilon": expected, "delta": DELTA}
    assert unit["group"][0] == {"size": 2, "epsilon": expected, "delta": DELTA}
    rows = {row["assumption"]: row["status"] for row in report_of(local)["assumptions"]}
    assert rows["Nobody has records at more than one client."] == "unknown"
    assert rows["Nobody has more than 2 records in all."] == "asserted"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epsilon_person", 1.0),
        ("epsilon_person", None),
        ("epsilon_everywhere", 1.0),
        ("epsilon_everywhere", None),
        ("person_records", 1),
        ("disjointness", "asserted"),
    ],
)
def test_a_wrong_figure_of_the_plan_is_named(copy: Path, key: str, value: object) -> None:
    (copy / "report.json").unlink()
    assert verify(copy).ok
    edit(copy / "plan.json", **{key: value})
    failed = [check for check in verify(copy).failures if check.name == "ε planned"]
    assert failed
    named = {"person_records": "epsilon_person", "disjointness": "epsilon_everywhere"}.get(key, key)
    assert named in failed[0].where


@pytest.mark.parametrize(
    "path",
    [
        ("unit", "clients", 7, "rounds"),
        ("unit", "clients", 7, "epsilon"),
        ("unit", "everywhere", "epsilon_spent"),
        ("unit", "person", "epsilon"),
        ("unit", "group", 1, "epsilon"),
        ("accounting", "frontier", 4, "noise_multiplier"),
    ],
)
def test_a_wrong_figure_of_the_report_is_found(copy: Path, path: tuple[str | int, ...]) -> None:
    report = report_of(copy)
    place: Any = report
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] -= 1 if path[-1] == "rounds" else 0.01
    (copy / "report.json").write_text(json.dumps(report))
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)[1:]
    assert any(where in check.where for check in verify(copy).failures)


def test_where_nobody_is_at_two_clients_the_largest_ledger_covers_all(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, people=(1, "asserted"), **LOCAL)
    write(run_dir)
    unit = report_of(run_dir)["unit"]
    assert (unit["people_apart"], unit["everywhere"], unit["person"]) == ("asserted", None, None)
    assert len(unit["clients"]) == 8
    rows = {row["assumption"]: row["status"] for row in report_of(run_dir)["assumptions"]}
    assert rows["Nobody has records at more than one client."] == "asserted"
    assert verify(run_dir).ok


@pytest.mark.slow
def test_a_plan_of_before_people_were_asked_about_is_read_as_unknown(copy: Path) -> None:
    plan = json.loads((copy / "plan.json").read_text())
    for key in ("disjointness", "person_records", "epsilon_person", "epsilon_everywhere"):
        del plan[key]
    (copy / "plan.json").write_text(json.dumps(plan))
    write(copy)
    assert report_of(copy)["unit"]["people_apart"] == "unknown"
    assert report_of(copy)["unit"]["everywhere"]["epsilon_planned"] is not None
    assert verify(copy).ok


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("clients", 10**9),
        ("clients_in_all", "8"),
        ("person_records", 0),
        ("person_records", 1001),
        ("person_records", True),
        ("person_records", "2"),
        ("disjointness", "verified"),
        ("disjointness", None),
        ("allow_large_epsilon", 1),
        ("epsilon_person", "3"),
        ("epsilon_everywhere", True),
    ],
)
def test_odd_values_are_refused_by_name(copy: Path, key: str, value: object) -> None:
    edit(copy / "plan.json", **{key: value})
    with pytest.raises(IntegrityError, match=key):
        verify(copy)


@pytest.mark.slow
def test_a_large_budget_is_said_first_and_must_be_meant(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, rounds=2, epsilon=25.0)
    write(run_dir)
    first = report_of(run_dir)["warnings"][0]
    assert (first["level"], first["title"]) == ("danger", "A budget of ε = 25 protects next to nothing")
    assert "is meant (privacy.allow_large_epsilon)" in first["text"]
    page = (run_dir / "report.html").read_text()
    body = page[page.index("<body") :]
    assert body.index(first["title"]) < body.index('class="keys"')
    assert report_of(run_dir)["accounting"]["large_epsilon_allowed"] is True
    assert verify(run_dir).ok
    edit(run_dir / "plan.json", allow_large_epsilon=False)
    assert any("allow_large_epsilon" in check.where for check in verify(run_dir).failures)

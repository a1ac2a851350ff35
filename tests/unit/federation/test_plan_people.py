"""What a plan states of people and of other plans: the accountant's figures, in the file and in words."""

from __future__ import annotations

import pytest
from parties.small_run import small_config

from fedpriv import dp
from fedpriv.cli.tables import print_frontier
from fedpriv.federation.planning.make import make_plan
from fedpriv.federation.workplace import Workplace, prepare


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return prepare(small_config(tmp_path_factory.mktemp("people")))


NOISY = {"privacy__epsilon": 2.0, "privacy__noise_multiplier": 2.0, "run__rounds": 2}


def test_local_noise_states_the_price_of_records_at_every_client(work: Workplace) -> None:
    config = small_config(work.config.base, trust="local", privacy__person_records=2, **NOISY)
    plan = make_plan(config, work)
    stated = plan.to_dict()
    assert stated["epsilon_everywhere"] == pytest.approx(
        dp.epsilon_pld([(plan.event, 2 * 5)], 1e-4), rel=1e-3
    )
    assert stated["epsilon_person"] == dp.epsilon_of_units(plan.event, 2, 2, 1e-4, apart=5)
    assert (stated["disjointness"], stated["person_records"]) == ("unknown", 2)
    lines = dict(plan.lines())
    assert "one record at each of the 5 clients" in lines["ε over all clients"]
    assert "somebody with up to 2 records" in lines["ε of a person"]


def test_where_nobody_is_said_to_be_at_two_clients_nothing_is_composed(work: Workplace) -> None:
    plan = make_plan(
        small_config(work.config.base, trust="local", data__disjointness="asserted", **NOISY), work
    )
    assert plan.to_dict()["epsilon_everywhere"] is None
    assert "nobody is said to have records at two clients" in dict(plan.lines())["ε over all clients"]


@pytest.mark.slow
def test_in_one_sum_a_group_is_one_wherever_its_records_lie(
    work: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_config(work.config.base, privacy__person_records=3, privacy__epsilon=2.0, run__rounds=2)
    plan = make_plan(config, work)
    stated = plan.to_dict()
    assert stated["epsilon_person"] == dp.epsilon_of_units(plan.event, 2, 3, 1e-4)
    assert stated["epsilon_everywhere"] is None
    assert "ε over all clients" not in dict(plan.lines())
    # The frontier: a table whose own plan is marked, and the same figures as JSON values.
    print_frontier(plan)
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown[2:]] == ["rounds", "1", "2", "4"]
    assert "ε = 2 *" in shown[2]
    assert shown[4].startswith("2 *")
    points = [point.to_dict() for point in plan.frontier()]
    values = {(v["rounds"], v["epsilon"]): v["noise_multiplier"] for v in points}
    assert shown[4].split()[2:] == [f"{values[2, e]:.3g}" for e in (1.0, 2.0, 3.0, 8.0)]
    assert values[2, 2.0] == pytest.approx(plan.noise.noise_multiplier, rel=0.01)


def test_of_clients_a_person_is_behind_no_more_than_there_are(work: Workplace) -> None:
    config = small_config(
        work.config.base,
        unit="client",
        privacy={"epsilon": 2.0, "delta": 1e-4, "person_records": 40, "noise_multiplier": 5.0},
        run__rounds=2,
    )
    plan = make_plan(config, work)
    assert plan.epsilon_person == dp.epsilon_of_units(plan.event, 2, 5, 1e-4)


def test_a_large_budget_is_a_line_of_the_plan(work: Workplace) -> None:
    changes = {
        "privacy__epsilon": 25.0,
        "privacy__allow_large_epsilon": True,
        "privacy__noise_multiplier": 10.0,
    }
    plan = make_plan(small_config(work.config.base, run__rounds=2, **changes), work)
    assert "25 is allowed by privacy.allow_large_epsilon" in dict(plan.lines())["LARGE ε"]
    assert plan.to_dict()["allow_large_epsilon"] is True

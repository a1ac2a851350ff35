"""Whole runs whose unit is the client, or in which a client takes several steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parties.client_run import client_config
from parties.small_run import small_config
from parties.stopping import StopAfter, StoppedError

from fedpriv import dp
from fedpriv.errors import BudgetExceeded
from fedpriv.federation.run import run
from fedpriv.report import verify, write


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("aggregator", ["masked", "plain"])
@pytest.mark.parametrize("trust", ["local", "distributed", "central"])
def test_every_trust_model_runs_reports_and_verifies(tmp_path: Path, trust: str, aggregator: str) -> None:
    config = client_config(
        tmp_path,
        trust=trust,
        aggregator=aggregator,
        privacy__adaptive_clip={"learning_rate": 0.3} if aggregator == "masked" else None,
        simulation__dropout=0.5,
        secagg__min_survivors=5,
    )
    result = run(config, tmp_path / "run")
    assert result.rounds_done == 3
    assert 0 < result.epsilon_spent <= 8.0
    write(result.run_dir)
    checked = verify(result.run_dir)
    assert checked.ok, [str(check) for check in checked.failures]
    report = json.loads((result.run_dir / "report.json").read_text())
    assert report["unit"]["unit"] == report["guarantee"]["unit"] == "client"
    assert report["unit"]["relation"] == "zero-out-one-client"
    assert report["mechanism"]["work"] == "update"
    assert "any one client's" in report["summary"]["headline"]
    clips = [line["clip"] for line in lines_of(result.run_dir)]
    assert clips[0] == 0.25
    assert (len(set(clips)) > 1) == (aggregator == "masked")  # once up and once down, it is back where it was
    page = (result.run_dir / "report.html").read_text()
    assert "trains on its own records" in page
    assert "independent coin flips" not in page


@pytest.mark.slow
def test_a_resumed_run_is_the_run_that_was_not_interrupted(tmp_path: Path) -> None:
    # The clip moves, so that the resumed run goes wrong unless it is kept with the model.
    changes = {"privacy__adaptive_clip": {}, "privacy__insecure_seed": 4, "run__rounds": 4}
    whole = client_config(tmp_path, budget__ledger="a.sqlite", **changes)
    run(whole, tmp_path / "whole")
    broken = client_config(tmp_path, budget__ledger="b.sqlite", **changes)
    with pytest.raises(StoppedError):
        run(broken, tmp_path / "broken", observer=StopAfter(2))
    run(broken, tmp_path / "broken", resume=True)
    kept = ("round", "clip", "aggregate_digest", "survivors", "epsilon_rdp")
    found = [
        [{key: line[key] for key in kept} for line in lines_of(tmp_path / n)] for n in ("whole", "broken")
    ]
    # The digest of the configuration is in no sum, so the two ledgers' names make no difference.
    assert found[0] == found[1]
    assert len({line["clip"] for line in found[0]}) == 4


@pytest.mark.slow
def test_on_a_sparse_graph_many_clients_give_the_integers_that_they_give_in_the_clear(tmp_path: Path) -> None:
    found = []
    for aggregator in ("masked", "plain"):
        config = client_config(
            tmp_path,
            aggregator=aggregator,
            run__rounds=2,
            partition__clients=150,
            local={"steps": 1, "batch": 2},
            privacy__noise_multiplier=3.0,
            privacy__insecure_seed=9,
            secagg={"graph": "sparse", "min_survivors": 140, "remove_excess": False},
            simulation__dropout=0.0,
            budget__ledger=f"{aggregator}.sqlite",
        )
        result = run(config, tmp_path / aggregator)
        assert result.rounds_done == 2
        found.append([line["aggregate_digest"] for line in lines_of(tmp_path / aggregator)])
    assert found[0] == found[1]
    plan = json.loads((tmp_path / "masked" / "plan.json").read_text())
    assert plan["levels"] == []
    assert plan["masks_per_client"] < 100
    assert plan["graph"] == "sparse"
    assert "the server (if it follows the protocol) together with" in plan["guarantee"]
    assert "follows the protocol" in plan["adversaries"][0]["description"]


@pytest.mark.slow
def test_one_data_set_is_not_spent_in_two_units(tmp_path: Path) -> None:
    run(
        client_config(tmp_path, run__rounds=1, privacy__noise_multiplier=3.0, budget__epsilon=4.0),
        tmp_path / "a",
    )
    with pytest.raises(BudgetExceeded, match="another unit"):
        run(small_config(tmp_path, run__rounds=1), tmp_path / "b")
    assert not (tmp_path / "b" / "run.json").exists()
    other = client_config(tmp_path, run__rounds=1, privacy__noise_multiplier=3.0, partition__clients=7)
    with pytest.raises(BudgetExceeded, match="another unit"):
        run(other, tmp_path / "c")
    again = client_config(tmp_path, run__rounds=1, privacy__noise_multiplier=3.0, run__name="again")
    assert run(again, tmp_path / "d").rounds_done == 1


@pytest.mark.slow
def test_a_matrix_mechanism_runs_is_interrupted_and_verifies(tmp_path: Path) -> None:
    config = client_config(
        tmp_path,
        trust="central",
        run__rounds=5,
        partition__clients=11,
        privacy__mechanism="banded-matrix",
        privacy__bands=3,
        simulation__dropout=1.0,
    )
    with pytest.raises(StoppedError):
        run(config, tmp_path / "run", observer=StopAfter(2))
    result = run(config, tmp_path / "run", resume=True)
    write(result.run_dir)
    checked = verify(result.run_dir)
    assert checked.ok, [str(check) for check in checked.failures]
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    assert plan["event"]["kind"] == "banded-matrix-round"
    assert (plan["clients"], plan["clients_in_all"]) == (4, 11)
    seen = [set(line["survivors"]) for line in lines_of(result.run_dir)]
    assert not seen[0] & seen[1]
    for stored in (tmp_path / "run").rglob("*.npz"):  # no exact sum rests on the disk
        with np.load(stored) as arrays:
            assert {name for name in arrays if not name.startswith("optimizer.")} <= {
                "round",
                "parameters",
                "head",
                "local.clip",
            }


@pytest.mark.slow
def test_noisy_local_steps_are_each_charged(tmp_path: Path) -> None:
    few = small_config(tmp_path, trust="local", local={"steps": 3, "learning_rate": 0.05}, run__rounds=2)
    result = run(few, tmp_path / "run")
    write(result.run_dir)
    checked = verify(result.run_dir)
    assert checked.ok, [str(check) for check in checked.failures]
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    assert plan["event"]["kind"] == "poisson-skellam-steps"
    one = dp.PoissonGaussian(plan["noise_multiplier"], plan["sampling_rate"])
    assert plan["epsilon_pld"] == pytest.approx(dp.epsilon_pld([(one, 6)], plan["delta"]), rel=1e-2)
    # Nobody's noise but the client's own covers its steps, whoever looks on.
    assert len({str(adversary["event"]) for adversary in plan["adversaries"]}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("trust", ["distributed", "central"])
def test_several_local_steps_on_records_double_the_sensitivity(tmp_path: Path, trust: str) -> None:
    config = client_config(tmp_path, unit="record", trust=trust, privacy__epsilon=8.0)
    result = run(config, tmp_path / "run")
    write(result.run_dir)
    checked = verify(result.run_dir)
    assert checked.ok, [str(check) for check in checked.failures]
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    assert plan["sensitivity"] == 2 * int(plan["clip"] * 2 ** plan["scale_log2"])
    assert plan["sampling_rate"] == 1.0
    assert plan["relation"] == "add-or-remove-one"
    assert "any one record" in plan["guarantee"]

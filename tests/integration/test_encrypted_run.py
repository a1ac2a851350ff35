"""Runs whose sums are encrypted: the same to the bit as masked ones, with clients that vanish, reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from parties.small_run import small_config

from fedpriv.crypto import SigningKey
from fedpriv.entropy import Entropy
from fedpriv.federation.outcome import RoundLost, RoundOutcome
from fedpriv.federation.planning.make import make_plan
from fedpriv.federation.round import RoundRunner
from fedpriv.federation.run import run
from fedpriv.federation.workplace import Workplace, prepare
from fedpriv.report import verify, write
from fedpriv.training import RecordGradients

pytestmark = pytest.mark.slow

COMMITTEE = {"aggregator": "ckks", "ckks__mode": "threshold"}
SEEDED = {"privacy__insecure_seed": 5, "secagg__bits": 32, "privacy__noise_multiplier": 0.6}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return prepare(small_config(tmp_path_factory.mktemp("work"), **SEEDED))


def runner(work: Workplace, **changes: Any) -> RoundRunner:
    config = small_config(work.config.base, **SEEDED, secagg__remove_excess=False, **changes)
    return RoundRunner(
        work=work,
        plan=make_plan(config, work),
        entropy=Entropy(5),
        gradients=RecordGradients(work.model, work.task, work.manifest, clip=1.0),
        run_id=bytes(16),
        keys={party: SigningKey.from_seed(bytes([party]) * 32) for party in range(6)},
    )


def parameters(folder: Path) -> NDArray[np.float32]:
    with np.load(folder / "checkpoint" / "state.npz") as stored:
        found: NDArray[np.float32] = stored["parameters"]
        return found


def test_the_same_seed_gives_the_same_model_masked_or_encrypted(tmp_path: Path) -> None:
    ways = {
        "masked": {"secagg__remove_excess": False},
        "authority": {"aggregator": "ckks"},
        "threshold": {**COMMITTEE, "ckks__sums_per_key": 1},
    }
    for name, changes in ways.items():
        config = small_config(tmp_path, **SEEDED, **changes, run__rounds=2, budget__ledger=f"{name}.sqlite")
        run(config, tmp_path / name)
    first = parameters(tmp_path / "masked")
    for name in ways:
        assert np.array_equal(parameters(tmp_path / name), first)


@pytest.mark.parametrize("changes", [{"aggregator": "ckks"}, COMMITTEE], ids=["authority", "threshold"])
def test_a_client_may_vanish_at_any_stage_and_the_sum_is_that_of_the_others(
    work: Workplace, changes: dict[str, Any]
) -> None:
    start = work.manifest.flatten(work.model)
    masked, encrypted = runner(work), runner(work, **changes)
    stages = encrypted.plan.aggregator.stages
    for round_, stage in enumerate(stages, start=1):
        late = stage == "open"
        expected = masked.run(round_, start, {2: "consistency" if late else "upload"})
        found = encrypted.run(round_, start, {2: stage})
        assert isinstance(expected, RoundOutcome)
        assert isinstance(found, RoundOutcome)
        assert found.survivors == expected.survivors == ((1, 2, 3, 4, 5) if late else (1, 3, 4, 5))
        assert found.aggregate_digest == expected.aggregate_digest
        assert found.dropped == ((2, stage),)


def test_too_few_clients_give_no_sum_and_the_round_after_it_has_one(work: Workplace) -> None:
    start, encrypted = work.manifest.flatten(work.model), runner(work, **COMMITTEE)
    lost = encrypted.run(1, start, {2: "deal", 3: "deal"})
    assert isinstance(lost, RoundLost)
    assert not lost.uploaded
    assert isinstance(encrypted.run(2, start, {}), RoundOutcome)
    lost = encrypted.run(3, start, {2: "open", 3: "open"})
    assert isinstance(lost, RoundLost)
    assert lost.uploaded
    assert isinstance(encrypted.run(4, start, {}), RoundOutcome)


@pytest.mark.parametrize(
    ("changes", "assumption", "status"),
    [
        ({}, "The key authority and the server do not work together.", "asserted"),
        (
            {**COMMITTEE, "secagg__max_colluders": 0},
            "Of the 5 holders of the key fewer than 3 work with the server.",
            "asserted",
        ),
        ({"ckks__mode": "shared-key"}, "No client works with the server.", "violated"),
    ],
    ids=["authority", "threshold", "shared-key"],
)
def test_a_run_with_dropouts_reports_and_verifies(
    tmp_path: Path, changes: dict[str, Any], assumption: str, status: str
) -> None:
    values = {"aggregator": "ckks", "run__rounds": 2, "simulation__dropout": 1.0, **changes}
    values["privacy__noise_multiplier"] = 0.6
    result = run(small_config(tmp_path, **values), tmp_path / "run")
    assert result.rounds_done == 2
    write(result.run_dir)
    checked = verify(result.run_dir)
    assert checked.ok, checked.failures
    report = json.loads((result.run_dir / "report.json").read_text())
    assert "tenseal" in report["identity"]["versions"]
    stated = {entry["assumption"]: entry["status"] for entry in report["assumptions"]}
    assert stated[assumption] == status
    shared = changes.get("ckks__mode") == "shared-key"
    assert report["summary"]["holds"] is not shared
    titles = {warning["title"]: warning["level"] for warning in report["warnings"]}
    assert titles.get("The key was shared by all clients") == ("danger" if shared else None)
    server = next(seen for seen in report["adversaries"] if seen["adversary"] == "server")
    assert (server["epsilon_pld"] is None) == shared
    page = (result.run_dir / "report.html").read_text()
    assert f"ckks.mode = {values.get('ckks__mode', 'authority')}" in page
    assert ("Key authority" in page) == ("ckks__mode" not in changes)

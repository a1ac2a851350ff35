"""Canaries that are whole clients, in runs whose unit is a client: sound, without noise, without a clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from parties.broken_builds import WithoutNoise
from parties.client_run import client_config

from fedpriv.audit import ClaimAudit
from fedpriv.entropy import Entropy
from fedpriv.errors import UsageError
from fedpriv.federation.auditing.audit import audit_run, judge
from fedpriv.federation.auditing.listening import Heard, listen
from fedpriv.federation.planning.make import make_plan
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.round import RoundRunner
from fedpriv.federation.work.client_work import ClientWork
from fedpriv.federation.workplace import Workplace, prepare

pytestmark = pytest.mark.slow

CANARIES = 180
SEED = 17


def planned(folder: Path, **changes: Any) -> tuple[Workplace, Plan]:
    work = prepare(client_config(folder, **changes))
    return work, make_plan(work.config, work)


def tried(work: Workplace, plan: Plan, build: type[RoundRunner] = RoundRunner) -> tuple[Heard, ClaimAudit]:
    found = listen(work, plan, canaries=CANARIES, rounds=plan.rounds, entropy=Entropy(SEED), build=build)
    return found, judge(plan, found)


@pytest.mark.parametrize(
    "changes",
    [
        {"privacy__epsilon": 2.0},
        {"privacy__epsilon": 2.0, "privacy__adaptive_clip": {"quantile": 0.5}},
        {"privacy__epsilon": 2.0, "trust": "central", "aggregator": "plain"},
        {"privacy__epsilon": 2.0, "compression": {"rotate": True}},
        {
            "privacy__epsilon": 2.0,
            "privacy__adaptive_clip": {"quantile": 0.5},
            "compression": {"rotate": True},
        },
    ],
)
def test_a_sound_build_is_not_refuted_and_one_without_noise_is(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    work, plan = planned(tmp_path, secagg={"min_survivors": 6}, **changes)
    heard, found = tried(work, plan)
    assert found.refutable
    assert not found.refuted
    # Each canary that is in adds one clip a round, for certain.  Twelve standard errors of the mean.
    inside, scores = heard.canaries.included, heard.by_name["total"]
    gap = float(scores[inside].mean() - scores[~inside].mean())
    assert abs(gap - plan.rounds) < 12 * float(scores[inside].std()) / np.sqrt(inside.sum())
    if plan.noise.share_variance:
        assert tried(work, plan, WithoutNoise)[1].refuted


def test_an_update_that_is_not_clipped_is_refuted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unclipped(self: ClientWork, update: NDArray[np.float64], round_: int) -> NDArray[np.int64]:
        return np.rint(np.ldexp(update, self.plan.grid.scale_log2)).astype(np.int64)

    monkeypatch.setattr(ClientWork, "_quantise", unclipped)  # the fault under test
    assert tried(*planned(tmp_path, privacy__epsilon=2.0))[1].refuted


def test_the_command_audits_whole_clients_and_says_so(tmp_path: Path) -> None:
    config = client_config(tmp_path)
    facts = audit_run(config, canaries=100).facts
    assert "whole updates of clients" in facts["method"]
    assert facts["verdict"] == "PASS"
    assert facts["rounds"] == facts["rounds_planned"]
    assert facts["server_view"] is None
    assert "whole updates" in facts["server_view_not_made"]


def test_more_canaries_than_the_vectors_have_room_for_are_refused(tmp_path: Path) -> None:
    work, plan = planned(tmp_path, partition__clients=3, privacy__delta=1e-4)
    with pytest.raises(UsageError, match="do not fit"):
        listen(work, plan, canaries=4000, rounds=1, entropy=Entropy(SEED))


def test_beside_turned_vectors_the_modulus_must_have_room_for_all_canaries(tmp_path: Path) -> None:
    work, plan = planned(tmp_path, compression={"rotate": True})
    assert plan.rotated
    assert plan.grid.client_bound < plan.grid.sensitivity
    with pytest.raises(UsageError, match="do not fit"):
        listen(work, plan, canaries=100_000, rounds=1, entropy=Entropy(SEED))


def test_what_the_other_units_put_in_is_known_in_the_models_coordinates(tmp_path: Path) -> None:
    """Without noise the sums less the other units are the canaries' alone, to rounding."""
    heard = {}
    for rotate in (False, True):
        changes: dict[str, Any] = {"secagg": {"bits": 40, "remove_excess": False}}
        if rotate:
            changes["compression"] = {"rotate": True}
        work, plan = planned(tmp_path, privacy__noise_multiplier=3.0, **changes)
        found = listen(work, plan, canaries=60, rounds=2, entropy=Entropy(SEED), build=WithoutNoise)
        heard[rotate] = found
        own = found.moved - found.background
        included = found.canaries.rows(np.flatnonzero(found.canaries.included)).sum(axis=0)
        assert np.linalg.norm(own - 2 * included) < 1e-4 * np.linalg.norm(own)
        assert np.linalg.norm(found.background) > 0.05 * np.linalg.norm(own)
    assert np.allclose(heard[True].background, heard[False].background, atol=1e-5)

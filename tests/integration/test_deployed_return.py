"""A node that is killed, and comes back while the run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from parties.deployment_faults import OTHERS, VICTIM, Faults, deployed
from parties.replayed_run import check_sums, finished_rounds

pytest.importorskip("flwr", reason="needs fedpriv[flower]")

from fedpriv.deployment.local import LocalDeployment


@pytest.mark.slow
def test_a_node_that_is_killed_when_masks_are_taken_off_comes_back_into_later_sums(tmp_path: Path) -> None:
    config = deployed(tmp_path, rounds=40)
    folder = tmp_path / "deployed"
    with LocalDeployment(folder) as deployment:
        faults = Faults(deployment, folder)
        faults.submit()
        hit = faults.kill(VICTIM, "unmask")
        back = faults.bring_back(VICTIM)
        faults.await_next_message(VICTIM)  # of the round after it: enough was seen
        faults.kill_server_app()
    assert deployment.running() == {}

    assert (hit["round"], hit["survivors"], hit["dropped"]) == (1, [1, 2, 3], [[VICTIM, "unmask"]])
    *without, last = [line["survivors"] for line in finished_rounds(folder)[1:]]
    assert without
    assert all(survivors == OTHERS for survivors in without)
    assert (last, len(without)) == ([1, 2, 3], back["round"] - 2)
    check_sums(config, folder)

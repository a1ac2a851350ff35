"""Faults on real deployments: processes that die, stop and come back, and nodes that do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from parties.deployment_faults import OTHERS, VICTIM, Faults, deployed, put
from parties.replayed_run import check_books, check_sums, finished_rounds

pytest.importorskip("flwr", reason="needs fedpriv[flower]")

from fedpriv.deployment.local import LocalDeployment
from fedpriv.keystore import new_identity
from fedpriv.ledger.home import open_ledger


def replace_identity(node: Path) -> dict[Path, bytes]:
    """Put another key in a node's place; the files as they were."""
    own = {path: path.read_bytes() for path in node.glob("identity.pem*")}
    for path in own:
        path.unlink()
    new_identity(node / "identity.pem", name="stranger")
    return own


@pytest.mark.slow
def test_a_node_and_then_the_superlink_are_killed_and_the_node_comes_back(tmp_path: Path) -> None:
    config = deployed(tmp_path, rounds=3)
    folder = tmp_path / "deployed"
    with LocalDeployment(folder) as deployment:
        faults = Faults(deployment, folder)
        faults.submit()
        hit = [faults.kill(VICTIM, "advertise")]
        faults.await_next_message(OTHERS[0])  # of round 2
        faults.kill_superlink(with_nodes=True)
        faults.submit()
        hit.append(faults.kill(VICTIM, "share"))
        assert deployment.wait().status == "completed", deployment.log("run")
    assert deployment.running() == {}

    assert [(round_["round"], round_["survivors"]) for round_ in hit] == [(1, OTHERS), (3, OTHERS)]
    assert [round_["dropped"] for round_ in hit] == [[[VICTIM, "advertise"]], [[VICTIM, "share"]]]
    check_sums(config, folder)
    check_books(config, folder, lost={2})


@pytest.mark.slow
def test_the_server_app_is_killed_and_in_the_next_round_a_node_that_trains(tmp_path: Path) -> None:
    config = deployed(tmp_path, rounds=2)
    folder = tmp_path / "deployed"
    with LocalDeployment(folder) as deployment:
        faults = Faults(deployment, folder)
        faults.submit()
        faults.await_message(VICTIM, "upload")
        faults.kill_server_app()
        faults.submit()
        hit = faults.kill(VICTIM, "upload")
        assert deployment.wait().status == "completed", deployment.log("run")
    assert deployment.running() == {}

    assert (hit["round"], hit["survivors"], hit["dropped"]) == (2, OTHERS, [[VICTIM, "upload"]])
    check_sums(config, folder)
    check_books(config, folder, lost={1})


@pytest.mark.slow
def test_a_node_is_paused_and_killed_after_its_upload_and_the_superlink_in_between(tmp_path: Path) -> None:
    config = deployed(tmp_path, rounds=4)
    folder = tmp_path / "deployed"
    with LocalDeployment(folder, durable=True) as deployment:
        faults = Faults(deployment, folder)
        faults.submit()
        hit = [faults.pause(VICTIM, "unmask")]
        faults.await_next_message(VICTIM)  # who it is: nothing of this run is left to answer
        # Round 2, or 3 if it was silent for a minute: then Flower gives it up until its next heartbeat.
        lost = len(finished_rounds(folder)) + 1
        faults.kill_superlink(with_nodes=False)
        faults.submit()
        hit.append(faults.kill(VICTIM, "consistency"))
        assert deployment.wait().status == "completed", deployment.log("run")
    assert deployment.running() == {}

    # A vector that came is in the sum, whatever becomes of its sender.
    assert [round_["round"] for round_ in hit] == [1, lost + 1]
    assert [round_["survivors"] for round_ in hit] == [[1, 2, 3]] * 2
    assert [round_["dropped"] for round_ in hit] == [[[VICTIM, "unmask"]], [[VICTIM, "consistency"]]]
    assert lost in (2, 3)
    check_sums(config, folder)
    check_books(config, folder, lost={lost})


TRUNCATING = """\
import json, os
from pathlib import Path
import numpy as np
from flwr.serverapp import ServerApp
from fedpriv.deployment.bundle import Bundle
from fedpriv.deployment.messages import Prepare, Step, Upload, encode_request
from fedpriv.deployment.transport import Parts
from fedpriv.flower.transport import FlowerTransport

app = ServerApp()

@app.main()
def main(grid, context):
    agreement = Bundle.read(Path(__file__).parent).agreement
    asked = encode_request(Prepare(agreement.digest(), os.urandom(32), (), True))
    upload = Upload((), np.zeros(agreement.dimension, np.float32), {})
    step = encode_request(Step(agreement.digest(), bytes(16), 1, True, bytes(32), b"", upload))
    cut = [
        Parts(asked.values, (asked.blobs[0][:-1],)),
        Parts({**asked.values, "nonce": asked.values["nonce"][:-1]}, asked.blobs),
        Parts(step.values, (step.blobs[0], step.blobs[1][: len(step.blobs[1]) // 2])),
    ]
    transport = FlowerTransport(grid)
    answers = dict(transport.exchange(dict(zip(transport.nodes(), cut)), 60))
    Path(context.run_config["server"], "found.json").write_text(
        json.dumps([dict(answer.values) for answer in answers.values()])
    )
"""


def refusals_of_cut_messages(deployment: LocalDeployment, folder: Path) -> list[dict[str, str]]:
    """What nodes say to messages that were cut off, sent by a server app in the place of the run's."""
    path = folder / "app" / "fedpriv_run" / "server_app.py"
    own = path.read_text()
    path.write_text(TRUNCATING)
    deployment.submit()
    end = deployment.wait()
    assert end.status == "completed", end.details
    path.write_text(own)
    answers: list[dict[str, str]] = json.loads((folder / "server" / "found.json").read_text())
    return answers


@pytest.mark.slow
def test_cut_messages_are_refused_and_nodes_that_all_differ_spend_nothing(tmp_path: Path) -> None:
    deployed(tmp_path, rounds=3)
    folder = tmp_path / "deployed"
    with LocalDeployment(folder) as deployment:
        refused = refusals_of_cut_messages(deployment, folder)
        put(folder / "nodes" / "1" / "policy.toml", "models", f'["{"ab" * 32}"]')
        put(folder / "nodes" / "2" / "policy.toml", "max_epsilon", "0.05")
        replace_identity(folder / "nodes" / "3")
        deployment.submit()
        end = deployment.wait()
        said = deployment.log("run")
    assert deployment.running() == {}

    assert [answer["error"] for answer in refused] == ["DecodeError"] * 3, refused
    assert end.status == "failed"
    for why in (
        "0 parties take part, and 2 are needed.",
        "which this node's policy does not list",
        "this node allows 0.05",
        "The roster does not list this identity",
    ):
        assert why in end.details
        assert why in said
    with open_ledger(folder / "server" / "ledger.sqlite") as ledger:
        assert ledger.datasets() == []
    assert not list(folder.glob("nodes/*/ledger.sqlite"))


@pytest.mark.slow
def test_a_wrong_key_and_half_a_state_are_left_out_while_enough_others_go_on(tmp_path: Path) -> None:
    config = deployed(tmp_path, rounds=3)
    folder = tmp_path / "deployed"
    stranger = replace_identity(folder / "nodes" / "3")
    with LocalDeployment(folder) as deployment:
        faults = Faults(deployment, folder)
        faults.submit()
        first = faults.await_round()
        assert "takes no part: The roster does not list this identity." in deployment.log("run")
        faults.await_next_message(1)  # of round 2
        faults.kill_server_app()
        faults.await_rest(2, like=1)
        for path, content in stranger.items():
            path.write_bytes(content)
        (state,) = (folder / "nodes" / "2" / "state").glob("*.state")
        state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
        faults.submit()
        assert deployment.wait().status == "completed", deployment.log("run")
        assert "Client 2 left round 3 at advertise: The state" in deployment.log("run")
    assert deployment.running() == {}

    assert (first["survivors"], first["dropped"]) == ([1, 2], [[3, "advertise"]])
    last = finished_rounds(folder)[-1]
    assert (last["round"], last["survivors"], last["dropped"]) == (3, [1, 3], [[2, "advertise"]])
    check_sums(config, folder)
    check_books(config, folder, lost={2})

"""Faults on real deployments: processes that die, stop and come back, and nodes that do not fit."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from parties.replayed_run import check_books, check_sums, finished_rounds
from parties.small_run import small_config

pytest.importorskip("flwr", reason="needs fedpriv[flower]")

from fedpriv.deployment.files import write_deployment
from fedpriv.deployment.local import LocalDeployment
from fedpriv.federation.config import Config
from fedpriv.keystore import new_identity
from fedpriv.ledger.home import open_ledger

NODES = (1, 2, 3)
VICTIM, OTHERS = 1, [2, 3]
MESSAGES = ("prepare", "advertise", "share", "upload", "consistency", "unmask")
"""What a node is asked from when it is met to the end of its first round."""
PATIENCE = {"timeout": 20, "training_timeout": 45}
PAUSE = 0.05


def deployed(folder: Path, *, rounds: int) -> Config:
    """Write a deployment of three clients, two of whom have a sum, with noise that can be drawn again."""
    config = small_config(
        folder,
        run__rounds=rounds,
        partition__clients=3,
        secagg__max_colluders=0,
        privacy__noise_multiplier=3.0,
        privacy__insecure_seed=5,
    )
    write_deployment(config, folder / "deployed")
    settings = folder / "deployed" / "server" / "server.toml"
    for name, seconds in PATIENCE.items():
        put(settings, name, str(seconds))
    return config


def put(path: Path, field: str, value: str) -> None:
    """Set a field of a settings file."""
    text, count = re.subn(rf"(?m)^{field} = .*$", f"{field} = {value}", path.read_text())
    assert count == 1
    path.write_text(text)


def replace_identity(node: Path) -> dict[Path, bytes]:
    """Put another key in a node's place; the files as they were."""
    own = {path: path.read_bytes() for path in node.glob("identity.pem*")}
    for path in own:
        path.unlink()
    new_identity(node / "identity.pem", name="stranger")
    return own


class Faults:
    """A deployment whose processes are hit while its run goes on."""

    def __init__(self, deployment: LocalDeployment, folder: Path) -> None:
        self.deployment = deployment
        self.folder = folder
        self._before: dict[int, int] = {}

    def submit(self) -> None:
        """Start the run, or go on with it; every node is asked who it is."""
        for node in NODES:
            self._before[node] = self._received(node)
        self.deployment.submit()

    def await_message(self, node: int, what: str) -> None:
        """Wait until a node has been given this message, and has not answered it yet."""
        number = self._before[node] + 1 + MESSAGES.index(what)
        self._await(lambda: self._received(node) >= number)

    def await_next_message(self, node: int) -> None:
        """Wait until a node has been given one more message than now."""
        number = self._received(node) + 1
        self._await(lambda: self._received(node) >= number)

    def await_round(self) -> dict[str, Any]:
        """Wait for one more sum than there is now."""
        before = len(finished_rounds(self.folder))
        self._await(lambda: len(finished_rounds(self.folder)) > before)
        return finished_rounds(self.folder)[before]

    def kill(self, node: int, what: str) -> dict[str, Any]:
        """Kill a node while it is asked this; the round that went on without it."""
        self.await_message(node, what)
        self.deployment.stop(f"node-{node}", signal.SIGKILL)
        return self.await_round()

    def bring_back(self, node: int) -> dict[str, Any]:
        """Start a killed node again, as often as Flower sends it away, until it is in a sum.

        Flower takes it for two missed heartbeats, up to a minute, for a stranger with a known key.
        """
        while True:
            if self.deployment.status(f"node-{node}") is not None:
                self.deployment.restart(f"node-{node}")
            round_ = self.await_round()
            if node in round_["survivors"]:
                return round_

    def pause(self, node: int, what: str) -> dict[str, Any]:
        """Pause a node while it is asked this, and let it go on once the round is over without it."""
        self.await_message(node, what)
        self.deployment.stop(f"node-{node}", signal.SIGSTOP)
        round_ = self.await_round()
        self.deployment.stop(f"node-{node}", signal.SIGCONT)
        return round_

    def kill_superlink(self, *, with_nodes: bool) -> None:
        """Kill it, and start it again; without a file of its own it knows no node any more."""
        names = ["superlink", *(f"node-{node}" for node in NODES if with_nodes)]
        for name in names:
            self.deployment.stop(name, signal.SIGKILL)
        for name in names:
            self.deployment.restart(name)
        self._end_log()

    def kill_server_app(self) -> None:
        """Kill the process that drives the rounds, and nothing else."""
        apps = [
            number for number, command in self.deployment.running().items() if "flwr-serverapp" in command
        ]
        assert len(apps) == 1
        os.kill(apps[0], signal.SIGKILL)
        self._end_log()

    def _end_log(self) -> None:
        """Follow no longer what a run says that was cut off: the SuperLink takes a minute to miss its app."""
        self.deployment.stop("run", signal.SIGKILL)
        while self.deployment.status("run") is None:
            time.sleep(PAUSE)

    def _received(self, node: int) -> int:
        return self.deployment.log(f"node-{node}").count("Received successfully")

    def _await(self, reached: Callable[[], bool]) -> None:
        while not reached():
            assert self.deployment.status("run") is None, self.deployment.log("run")
            time.sleep(PAUSE)


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
        assert deployment.wait().status == "completed"
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
        assert deployment.wait().status == "completed"
    assert deployment.running() == {}

    assert (hit["round"], hit["survivors"], hit["dropped"]) == (2, OTHERS, [[VICTIM, "upload"]])
    check_sums(config, folder)
    check_books(config, folder, lost={1})


@pytest.mark.slow
def test_a_node_is_paused_and_killed_after_its_upload_and_the_superlink_in_between(tmp_path: Path) -> None:
    config = deployed(tmp_path, rounds=3)
    folder = tmp_path / "deployed"
    with LocalDeployment(folder, durable=True) as deployment:
        faults = Faults(deployment, folder)
        faults.submit()
        hit = [faults.pause(VICTIM, "unmask")]
        faults.await_next_message(VICTIM)  # who it is, in round 2: nothing of this run is left to answer
        faults.kill_superlink(with_nodes=False)
        faults.submit()
        hit.append(faults.kill(VICTIM, "consistency"))
        assert deployment.wait().status == "completed"
    assert deployment.running() == {}

    # A vector that came is in the sum, whatever becomes of its sender.
    assert [(round_["round"], round_["survivors"]) for round_ in hit] == [(1, [1, 2, 3]), (3, [1, 2, 3])]
    assert [round_["dropped"] for round_ in hit] == [[[VICTIM, "unmask"]], [[VICTIM, "consistency"]]]
    check_sums(config, folder)
    check_books(config, folder, lost={2})


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
        for path, content in stranger.items():
            path.write_bytes(content)
        (state,) = (folder / "nodes" / "2" / "state").glob("*.state")
        state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
        faults.submit()
        assert deployment.wait().status == "completed"
        assert "Client 2 left round 3 at advertise: The state" in deployment.log("run")
    assert deployment.running() == {}

    assert (first["survivors"], first["dropped"]) == ([1, 2], [[3, "advertise"]])
    last = finished_rounds(folder)[-1]
    assert (last["round"], last["survivors"], last["dropped"]) == (3, [1, 3], [[2, "advertise"]])
    check_sums(config, folder)
    check_books(config, folder, lost={2})

"""A deployment of three clients whose processes are killed, paused and started again during its run."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from parties.replayed_run import finished_rounds
from parties.small_run import small_config

from fedpriv.deployment.files import write_deployment
from fedpriv.deployment.local import LocalDeployment
from fedpriv.federation.config import Config

NODES = (1, 2, 3)
VICTIM, OTHERS = 1, [2, 3]
MESSAGES = ("prepare", "advertise", "share", "upload", "consistency", "unmask")
"""What a node is asked from when it is met to the end of its first round."""
PATIENCE = {"timeout": 40, "training_timeout": 120}
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

    def await_rest(self, node: int, like: int) -> None:
        """Wait until a node has answered all that it and another one were given: it writes nothing more."""
        asked = self._received(like)
        while not asked <= self._received(node) == self._answered(node):
            assert self.deployment.status(f"node-{node}") is None, self.deployment.log(f"node-{node}")
            time.sleep(PAUSE)

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

    def _answered(self, node: int) -> int:
        return self.deployment.log(f"node-{node}").count("Sent successfully")

    def _await(self, reached: Callable[[], bool]) -> None:
        while not reached():
            assert self.deployment.status("run") is None, self.deployment.log("run")
            time.sleep(PAUSE)

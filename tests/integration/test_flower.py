"""The example app on a real deployment: a SuperLink and four SuperNodes, each a process, on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flwr", reason="needs fedpriv[flower]")

from fedpriv import keystore, secagg
from fedpriv.deployment.processes import Processes
from fedpriv.entropy import Entropy
from fedpriv.flower import PrivateSumPlan

APP = Path(__file__).parents[2] / "examples" / "flower"
BIN = Path(sys.executable).parent
CLIENTS = (1, 2, 3, 4)
VICTIM = 3
TIMEOUT = 45

# The noise is from known seeds, so that the sum can be computed again: the nodes' logs say INSECURE.
POLICY = """\
session = "private mean"
identity = "identity.pem"
roster = "../roster.toml"
state = "session.state"
min_survivors = 3
max_colluders = 1
max_epsilon = 2.0
delta = 1e-5
insecure_seed = {client}
"""


@dataclass
class Deployment:
    """Files and processes of one deployment."""

    home: Path
    environment: dict[str, str] = field(init=False)
    processes: Processes = field(init=False)

    def __post_init__(self) -> None:
        publics = []
        for client in CLIENTS:
            folder = self.folder(client)
            folder.mkdir()
            keystore.new_identity(folder / "identity.pem", name=folder.name)
            publics.append(keystore.load_public(folder / "identity.pem.pub"))
            (folder / "policy.toml").write_text(POLICY.format(client=client))
        keystore.write_roster(self.home / "roster.toml", publics)
        quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "OMP_NUM_THREADS": "1"}
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        self.environment = os.environ | quiet | {"FLWR_HOME": str(self.home / "flwr"), "PATH": path}
        self.processes = Processes(self.home, self.home, self.environment)

    def folder(self, client: int) -> Path:
        return self.home / f"node-{client}"

    def start(self, name: str, command: str, *arguments: str) -> None:
        self.processes.start(name, [str(BIN / command), *arguments])


@contextmanager
def deployment(home: Path) -> Iterator[Deployment]:
    """A SuperLink with four SuperNodes, all of which are stopped at the end, whatever happens."""
    made = Deployment(home)
    port, *ports = free_ports(1 + len(CLIENTS))
    (home / "flwr").mkdir()
    (home / "flwr" / "config.toml").write_text(
        f'[superlink]\ndefault = "loopback"\n\n[superlink.loopback]\naddress = "127.0.0.1:{port}"\n'
        "insecure = true\n"
    )
    link = ("--insecure", "--host", "127.0.0.1", "--port", str(port))
    try:
        made.start("superlink", "flower-superlink", *link, "--disable-runtime-dependency-installation")
        wait_for_port(port)
        for client, own in zip(CLIENTS, ports, strict=True):
            folder = made.folder(client)
            config = f'fedpriv-policy="{folder / "policy.toml"}" values="{folder / "values.txt"}"'
            node = ("--insecure", "--superlink", f"127.0.0.1:{port}", "--port", str(own))
            made.start(folder.name, "flower-supernode", *node, "--node-config", config)
        yield made
    finally:
        made.processes.close()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, found all at once so that they differ."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def wait_for_port(port: int, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
        else:
            return


def values_of(client: int) -> np.ndarray:
    return np.random.default_rng(client).normal(0.05, 0.05, 50)


def feed(made: Deployment, values: Path) -> None:
    """Give the victim's training its values in round 1, and kill the node while it waits for them in round 2.

    Its values are a named pipe, which cannot be opened for writing before the training opens it for reading.
    """
    text = "\n".join(map(str, values_of(VICTIM).tolist()))
    values.write_text(text)
    while not (made.home / "round-1.npz").exists():
        if made.processes.status("superlink") is not None:
            return
        time.sleep(0.1)
    with values.open("w"):
        made.processes.stop(made.folder(VICTIM).name, signal.SIGKILL)


def in_process(
    plan: PrivateSumPlan, made: Deployment, round_: int, centre: np.ndarray, clients: tuple[int, ...]
) -> np.ndarray:
    """The same integers through the protocol in this process."""
    roster = keystore.load_roster(made.home / "roster.toml")
    server = secagg.Server(plan.params, plan.run_id, roster.keys)
    server.open_round(round_, bytes(32))
    parties = {}
    for client in clients:
        identity = keystore.load_identity(made.folder(client) / "identity.pem")
        party = secagg.Client(plan.params, plan.run_id, client, identity, roster.keys, os.urandom)
        party.open_round(round_, bytes(32))
        values = np.array([float(str(value)) for value in values_of(client).tolist()]) - centre
        words = Entropy(client).stream("noise", round_, client).words
        party.set_vectors(plan.encode({"values": values, "squares": values**2}, round_, words))
        parties[client] = party
    total = secagg.run_in_process(server, parties)
    return plan.grid.fixed.centre(total.vectors[secagg.UPDATE])


@pytest.mark.slow
def test_two_rounds_with_a_node_killed_in_the_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(APP))
    from private_mean.plan import PLAN

    with deployment(tmp_path) as made:
        for client in CLIENTS:
            values = made.folder(client) / "values.txt"
            if client == VICTIM:
                os.mkfifo(values)
                threading.Thread(target=feed, args=(made, values), daemon=True).start()
            else:
                values.write_text("\n".join(map(str, values_of(client).tolist())))
        config = f'roster="{tmp_path / "roster.toml"}" output="{tmp_path}" timeout={TIMEOUT}'
        done = subprocess.run(
            [BIN / "flwr", "run", APP, "loopback", "--stream", "--run-config", config],
            env=made.environment,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    assert "round 1: 4 of 4 nodes in the sum, epsilon 0.93" in done.stdout
    assert "round 2: 3 of 4 nodes in the sum, epsilon 1.36" in done.stdout
    centre = np.zeros(50)
    for round_, survivors in ((1, CLIENTS), (2, (1, 2, 4))):
        with np.load(tmp_path / f"round-{round_}.npz") as found:
            assert tuple(found["survivors"]) == survivors
            expected = in_process(PLAN, made, round_, centre, survivors)
            np.testing.assert_array_equal(found["integers"], expected)
            centre = found["centre"]
    assert made.processes.status(f"node-{VICTIM}") == -signal.SIGKILL
    assert "INSECURE" in made.processes.log("node-1")
    assert made.processes.running() == {}


def fail_in_a_run(home: Path) -> None:
    """Fail as soon as the server app runs."""
    with deployment(home) as made:
        config = f'roster="{home / "roster.toml"}"'
        subprocess.run(
            [BIN / "flwr", "run", APP, "loopback", "--run-config", config],
            env=made.environment,
            capture_output=True,
            timeout=60,
            check=True,
        )
        while not any("flwr-serverapp" in command for command in made.processes.running().values()):
            time.sleep(0.2)
        raise ZeroDivisionError


@pytest.mark.slow
def test_what_was_started_is_stopped_when_something_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        fail_in_a_run(tmp_path)
    assert Processes(tmp_path, tmp_path, {}).running() == {}

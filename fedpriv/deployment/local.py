"""A deployment on one machine: a SuperLink and a SuperNode for each party, as processes on loopback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final

from fedpriv.deployment.processes import Processes
from fedpriv.deployment.tls import node_key
from fedpriv.errors import UsageError
from fedpriv.keystore import public_path

__all__ = ["LocalDeployment", "RunEnd", "flower_commands"]

_HOST: Final = "127.0.0.1"
_CONNECTION: Final = "loopback"
_START_SECONDS: Final = 120.0
_PAUSE: Final = 0.1

_ENVIRONMENT: Final = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2",  # its default of a second is waited in every exchange
}


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended, in Flower's words.

    Attributes:
        status: ``completed``, ``failed`` or ``stopped``.
        details: of a failure; empty otherwise.
    """

    status: str
    details: str


def flower_commands() -> Path:
    """The folder of Flower's commands, beside this Python.

    Raises:
        UsageError: they are not installed.
    """
    folder = Path(sys.executable).parent
    if not (folder / "flower-superlink").exists():
        raise UsageError(
            "A deployment on this machine needs fedpriv[flower].", hint="pip install 'fedpriv[flower]'"
        )
    return folder


class LocalDeployment:
    """What `fedpriv deploy` wrote, running; a context manager that leaves no process behind.

    All connections to the SuperLink are under TLS, and it knows each node by its key.  Flower's own files lie
    in ``DIR/flower``, and what each process says in ``DIR/logs/NAME.log``.

    Args:
        folder: the folder that `fedpriv deploy` wrote.
        nodes: names of folders in ``DIR/nodes``; default: all of them.
        durable: the SuperLink keeps in a file what it knows, and finds its nodes again after a restart; large
            messages take some seconds longer.

    Raises:
        UsageError: Flower is not installed beside this Python, or the folder is none of a deployment.
    """

    def __init__(self, folder: Path, *, nodes: list[str] | None = None, durable: bool = False) -> None:
        self._folder = folder.resolve()
        self._bin = flower_commands()
        policies = self._folder.glob("nodes/*/policy.toml")
        self.nodes = sorted(path.parent.name for path in policies) if nodes is None else nodes
        if not self.nodes:
            raise UsageError(f"{folder} holds no nodes.", hint="`fedpriv deploy CONFIG DIR` writes them.")
        path = f"{self._bin}{os.pathsep}{os.environ.get('PATH', '')}"
        environment = {**os.environ, **_ENVIRONMENT, "FLWR_HOME": str(self._home("client")), "PATH": path}
        self._processes = Processes(self._folder, self._folder / "logs", environment)
        self._port, *ports = _free_ports(1 + len(self.nodes))
        self._ports = dict(zip(self.nodes, ports, strict=True))
        self._durable = durable
        self._run = 0

    def __enter__(self) -> LocalDeployment:
        """Start everything, and wait until all nodes are connected.

        Raises:
            UsageError: a process ended by itself, a node whose key is not the registered one among them.
        """
        self._before = signal.signal(signal.SIGTERM, _leave)
        try:
            self._connect()
            self._start_link()
            for node in self.nodes:
                self._start_node(node)
            self._await_nodes()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def submit(self) -> int:
        """Start the run, and follow what its server app says in ``DIR/logs/run.log``.

        Returns:
            Flower's number of the run.

        Raises:
            UsageError: Flower does not take the app.
        """
        self._processes.end("run")  # the log of one that was cut off
        config = f'server="{self._folder / "server"}"'
        started = self._flwr("run", str(self._folder / "app"), _CONNECTION, "--run-config", config)
        self._run = int(str(started["run-id"]))
        self._processes.start("run", [self._command("flwr"), "log", str(self._run), _CONNECTION, "--stream"])
        return self._run

    def end(self) -> RunEnd | None:
        """How the run ended, or nothing while it goes on.

        A node that is lost is the run's own affair.

        Raises:
            UsageError: the SuperLink has ended by itself.
        """
        self._processes.check("superlink")
        if self.status("run") is None:
            return None  # its log has not ended, nor was it cut off with the SuperLink
        (run,) = self._flwr("list", _CONNECTION, "--run-id", str(self._run))["runs"]
        stage, _, status = str(run["status"]).partition(":")
        return RunEnd(status, str(run["status-details"])) if stage == "finished" else None

    def wait(self) -> RunEnd:
        """Wait for the run to end; raises what `end` raises."""
        while (end := self.end()) is None:
            time.sleep(_PAUSE)
        return end

    def stop(self, name: str, signal_: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal to ``superlink`` or ``node-NAME``, and to the apps of a node."""
        self._processes.stop(name, signal_)

    def restart(self, name: str) -> None:
        """Start ``superlink`` or ``node-NAME`` again, after it was stopped.

        The run that a SuperLink was in failed.  If it is durable, the nodes connect again by themselves; if
        not, they end as soon as it does not know them, and have to be started again, too.
        """
        self._processes.restart(name)
        if name == "superlink":
            self._await_link()
            if not self._durable:
                self._register()

    def status(self, name: str) -> int | None:
        """The exit status of a process, or nothing while it runs."""
        return self._processes.status(name)

    def log(self, name: str) -> str:
        """What ``superlink``, ``node-NAME`` or ``run``, the server app, has said up to now."""
        return self._processes.log(name)

    def running(self) -> dict[int, str]:
        """The command lines of all processes of this deployment, by process number."""
        return self._processes.running()

    def _connect(self) -> None:
        """Tell Flower's command line where the SuperLink is."""
        home = self._home("client")
        home.mkdir(parents=True, exist_ok=True)
        address = {"address": f"{_HOST}:{self._port}", "root-certificates": str(self._tls("ca.pem"))}
        lines = [f"{key} = {json.dumps(value)}" for key, value in address.items()]
        head = ["[superlink]", f'default = "{_CONNECTION}"', "", f"[superlink.{_CONNECTION}]"]
        (home / "config.toml").write_text("\n".join([*head, *lines, ""]))

    def _start_link(self) -> None:
        home = self._home("superlink")
        shutil.rmtree(home, ignore_errors=True)  # the nodes and runs that it knew the last time
        home.mkdir(parents=True)
        command = [self._command("flower-superlink"), "--host", _HOST, "--port", str(self._port)]
        command += [
            "--ssl-ca-certfile",
            str(self._tls("ca.pem")),
            "--ssl-certfile",
            str(self._tls("server.pem")),
        ]
        command += ["--ssl-keyfile", str(self._tls("server.key")), "--enable-supernode-auth"]
        command += ["--disable-runtime-dependency-installation"]
        if self._durable:
            command += ["--database", str(home / "link.sqlite")]
        self._processes.start("superlink", command, {"FLWR_HOME": str(home)})
        self._await_link()
        self._register()

    def _await_link(self) -> None:
        end = time.monotonic() + _START_SECONDS
        while True:
            self._processes.check("superlink")
            with suppress(OSError):
                socket.create_connection((_HOST, self._port), timeout=1).close()
                return
            if time.monotonic() > end:
                raise UsageError("The SuperLink does not answer.", hint=self._processes.end_of("superlink"))
            time.sleep(_PAUSE)

    def _register(self) -> None:
        for node in self.nodes:
            key = str(public_path(self._key(node)))
            self._flwr("supernode", "register", key, _CONNECTION, "--name", _process(node))

    def _start_node(self, node: str) -> None:
        command = [self._command("flower-supernode"), "--superlink", f"{_HOST}:{self._port}"]
        command += ["--root-certificates", str(self._tls("ca.pem")), "--port", str(self._ports[node])]
        command += ["--auth-supernode-private-key", str(self._key(node))]
        policy = self._folder / "nodes" / node / "policy.toml"
        command += ["--node-config", f'fedpriv-policy="{policy}"']
        self._processes.start(_process(node), command, {"FLWR_HOME": str(self._home(_process(node)))})

    def _await_nodes(self) -> None:
        end = time.monotonic() + _START_SECONDS
        while True:
            listed = self._flwr("supernode", "list", _CONNECTION)["nodes"]
            self._processes.check(*map(_process, self.nodes))
            missing = len(self.nodes) - sum(node["status"] == "online" for node in listed)
            if missing <= 0:
                return
            if time.monotonic() > end:
                logs = ", ".join(f"logs/{_process(node)}.log" for node in self.nodes)
                raise UsageError(f"{missing} nodes do not connect.", hint=f"See {logs} in {self._folder}.")
            time.sleep(_PAUSE)

    def _flwr(self, *arguments: str) -> Mapping[str, Any]:
        """Run one of Flower's commands to its end, and read what it says as JSON."""
        done = self._processes.run([self._command("flwr"), *arguments, "--format", "json"])
        start = done.find("{")
        with suppress(json.JSONDecodeError):
            answer: Mapping[str, Any] = json.loads(done[start:])
            if answer.get("success"):
                return answer
        raise UsageError(f"`flwr {arguments[0]}` failed.", hint=done.strip()[-2000:])

    def _command(self, name: str) -> str:
        return str(self._bin / name)

    def _home(self, process: str) -> Path:
        """Flower's own folder of a process: each its own, as they install the app there at the same time."""
        return self._folder / "flower" / process

    def _tls(self, name: str) -> Path:
        return self._folder / "tls" / name

    def _key(self, node: str) -> Path:
        return node_key(self._folder / "tls", node)

    def _close(self) -> None:
        try:
            self._processes.close()
        finally:
            signal.signal(signal.SIGTERM, self._before)


def _process(node: str) -> str:
    return f"node-{node}"


def _leave(_number: int, _frame: FrameType | None) -> None:
    """Leave by way of the context manager."""
    sys.exit(128 + signal.SIGTERM)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, found all at once so that they differ."""
    listeners = [socket.create_server((_HOST, 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports

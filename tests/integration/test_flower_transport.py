"""Messages over a real deployment on loopback: TLS, nodes known by their keys, and one that dies."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="needs fedpriv[flower]")

from fedpriv.deployment.local import LocalDeployment
from fedpriv.deployment.tls import node_key, write_tls
from fedpriv.errors import UsageError

NODES = ("1", "2", "3")
VICTIM = "2"
LOST_SECONDS = 150.0
"""Longer than Flower takes to miss two heartbeats of a node."""

PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "echo"
version = "1.0.0"
description = "Nodes that answer what they are asked"
license = { file = "LICENSE" }
dependencies = ["flwr>=1.41", "fedpriv[flower]"]

[tool.flwr.app]
publisher = "example"
fab-format-version = 1
flwr-version-target = "1.41.0"
fab-include = ["echo/*.py", "LICENSE"]

[tool.flwr.app.components]
serverapp = "echo.server_app:app"
clientapp = "echo.client_app:app"

[tool.flwr.app.config]
server = ""
"""

# The node's name is that of its policy's folder; the victim tells that it was asked, and waits for its end.
CLIENT = """\
import time
from pathlib import Path
from flwr.clientapp import ClientApp
from fedpriv.deployment.transport import Parts
from fedpriv.flower.transport import parts_of, reply

app = ClientApp()

@app.train("fedpriv")
def echo(message, context):
    folder = Path(context.node_config["fedpriv-policy"]).parent
    asked = parts_of(message)
    if asked.values["wait"] == folder.name:
        (folder / "asked").touch()
        time.sleep(600)
    return reply(Parts({**asked.values, "name": folder.name}, asked.blobs), message)
"""

SERVER = f"""\
import json, os, time
from pathlib import Path
from flwr.serverapp import ServerApp
from fedpriv.deployment.transport import Lost, Parts
from fedpriv.flower.transport import FlowerTransport

app = ServerApp()

@app.main()
def main(grid, context):
    transport = FlowerTransport(grid)
    nodes = transport.nodes()
    vector = os.urandom(10_000_000)
    exchanges = [("", (), 100), ("", (vector,), 100), ("{VICTIM}", (), {LOST_SECONDS})]
    found = []
    for number, (wait, blobs, timeout) in enumerate(exchanges):
        start = time.monotonic()
        answers = dict(transport.exchange(
            {{node: Parts({{"number": number, "wait": wait}}, blobs) for node in nodes}}, timeout
        ))
        lost = [answers.pop(node).reason for node in list(answers) if isinstance(answers[node], Lost)]
        found.append({{
            "lost": lost,
            "names": sorted(answer.values["name"] for answer in answers.values()),
            "same": all(
                answer.blobs == blobs and answer.values["number"] == number for answer in answers.values()
            ),
            "seconds": time.monotonic() - start,
        }})
    print("the server app says this")
    Path(context.run_config["server"], "found.json").write_text(json.dumps(found))
"""


FAILING = """\
from flwr.serverapp import ServerApp
from fedpriv.errors import UsageError

app = ServerApp()

@app.main()
def main(grid, context):
    raise UsageError("The ledger is another's.")
"""


def write(home: Path, server: str = SERVER) -> Path:
    """The files of a deployment whose app echoes; the paths are those that `fedpriv deploy` writes."""
    app = home / "app" / "echo"
    app.mkdir(parents=True)
    (app.parent / "pyproject.toml").write_text(PROJECT)
    (app.parent / "LICENSE").write_text("Apache-2.0\n")
    for name, text in (("__init__", ""), ("client_app", CLIENT), ("server_app", server)):
        (app / f"{name}.py").write_text(text)
    for node in NODES:
        (home / "nodes" / node).mkdir(parents=True)
        (home / "nodes" / node / "policy.toml").touch()
    (home / "server").mkdir()
    (home / "tls").mkdir()
    write_tls(home / "tls", NODES, now=datetime.now(UTC))
    return home


@pytest.mark.slow
def test_three_exchanges_and_a_node_killed_in_the_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with LocalDeployment(write(tmp_path)) as deployment:
        deployment.submit()
        asked = tmp_path / "nodes" / VICTIM / "asked"
        while not asked.exists():
            assert deployment.status("run") is None, deployment.log("run")
            time.sleep(0.1)
        deployment.stop(f"node-{VICTIM}", signal.SIGKILL)
        assert deployment.wait().status == "completed", deployment.log("run")
        assert "the server app says this" in deployment.log("run")
    assert deployment.running() == {}
    assert deployment.status(f"node-{VICTIM}") == -signal.SIGKILL
    found = json.loads((tmp_path / "server" / "found.json").read_text())
    assert [exchange["names"] for exchange in found] == [["1", "2", "3"], ["1", "2", "3"], ["1", "3"]]
    assert [len(exchange["lost"]) for exchange in found] == [0, 0, 1]
    assert all(exchange["same"] for exchange in found)
    with capsys.disabled():
        print("exchanges:", ", ".join(f"{exchange['seconds']:.1f} s" for exchange in found))  # noqa: T201


@pytest.mark.slow
def test_a_node_with_another_key_than_the_registered_one_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    write_tls(stranger, [VICTIM], now=datetime.now(UTC))
    shutil.copy(node_key(stranger, VICTIM), node_key(tmp_path / "tls", VICTIM))
    deployment = LocalDeployment(tmp_path)
    with pytest.raises(UsageError, match=f"'node-{VICTIM}' ended with exit status 1") as refused, deployment:
        pytest.fail("the stranger was let in")
    assert f"node-{VICTIM}.log" in refused.value.hint
    assert "Failed to initialize the connection to the SuperLink" in refused.value.hint
    assert deployment.running() == {}


@pytest.mark.slow
def test_the_sentence_of_a_server_app_that_fails_is_the_run_s_end(tmp_path: Path) -> None:
    with LocalDeployment(write(tmp_path, FAILING), nodes=["1"]) as deployment:
        deployment.submit()
        end = deployment.wait()
        assert "UsageError: The ledger is another's." in deployment.log("run")
    assert end.status == "failed"
    assert "The ledger is another's." in end.details
    assert deployment.running() == {}


@pytest.mark.slow
def test_a_superlink_that_is_killed_fails_its_run_and_takes_the_next(tmp_path: Path) -> None:
    write(tmp_path, SERVER.replace(f'"{VICTIM}", (), {LOST_SECONDS}', '"", (), 100'))
    with LocalDeployment(tmp_path, durable=True) as deployment:
        deployment.submit()
        while "Received successfully" not in deployment.log("node-1"):
            assert deployment.status("run") is None, deployment.log("run")
            time.sleep(0.1)
        deployment.stop("superlink", signal.SIGKILL)
        deployment.restart("superlink")
        assert deployment.wait().status == "failed"
        deployment.submit()
        assert deployment.wait().status == "completed", deployment.log("run")
        assert [deployment.status(f"node-{node}") for node in NODES] == [None, None, None]
    assert deployment.running() == {}
    found = json.loads((tmp_path / "server" / "found.json").read_text())
    assert [exchange["names"] for exchange in found] == [["1", "2", "3"]] * 3


SCRIPT = """
import sys, time
from pathlib import Path
from fedpriv.deployment.local import LocalDeployment

with LocalDeployment(Path(sys.argv[1]), nodes=["1"]):
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_whoever_is_asked_to_end_ends_its_deployment_first(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(write(tmp_path))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        deployment = LocalDeployment(tmp_path)
        assert any("flower-superexec" in command for command in deployment.running().values())
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert deployment.running() == {}

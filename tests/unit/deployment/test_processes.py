"""Processes that end early, are stopped, or start others that nobody would think of."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from fedpriv.deployment.local import LocalDeployment
from fedpriv.deployment.processes import Processes
from fedpriv.errors import UsageError

SLEEPER = "import time; time.sleep(600)"
DETACHED = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {SLEEPER!r}], start_new_session=True)
print("started", flush=True)
time.sleep(600)
"""


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path, tmp_path / "logs", {})
    yield made
    made.close()


def wait_until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def start(processes: Processes, name: str, code: str) -> None:
    processes.start(name, [sys.executable, "-c", code])


def test_one_that_ends_early_is_reported_with_what_it_said_last(processes: Processes) -> None:
    start(processes, "node-1", "print('\\x1b[91mno such key'); raise SystemExit(3)")
    start(processes, "node-2", SLEEPER)
    wait_until(lambda: processes.status("node-1") is not None)
    processes.check("node-2")
    with pytest.raises(UsageError, match="'node-1' ended with exit status 3") as error:
        processes.check("node-2", "node-1")
    assert error.value.hint.splitlines()[1:] == ["no such key"]
    assert "node-1.log" in error.value.hint


def test_one_that_was_stopped_is_no_surprise_and_starts_again(processes: Processes) -> None:
    start(processes, "node-1", "print('here', flush=True); " + SLEEPER)
    wait_until(lambda: "here" in processes.log("node-1"))
    processes.stop("node-1", signal.SIGKILL)
    wait_until(lambda: processes.status("node-1") == -signal.SIGKILL)
    processes.check("node-1")
    processes.restart("node-1")
    wait_until(lambda: processes.log("node-1") == "here\nhere\n")
    assert processes.status("node-1") is None


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the system does not show environments")
@pytest.mark.parametrize("before", [None, signal.SIGKILL, signal.SIGSTOP])
def test_what_one_started_in_a_group_of_its_own_ends_too(
    processes: Processes, before: signal.Signals | None
) -> None:
    start(processes, "superlink", DETACHED)
    wait_until(lambda: "started" in processes.log("superlink"))
    assert len(processes.running()) == 2
    if before is not None:
        processes.stop("superlink", before)
    processes.close()
    assert processes.running() == {}


@pytest.mark.skipif(find_spec("flwr") is not None, reason="Flower is installed")
def test_without_flower_a_deployment_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"needs fedpriv\[flower\]"):
        LocalDeployment(tmp_path)


@pytest.mark.skipif(find_spec("flwr") is None, reason="needs fedpriv[flower]")
def test_a_folder_that_holds_no_nodes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no nodes"):
        LocalDeployment(tmp_path)

"""`fedpriv deploy --local`: the whole way of a user, by the command, with Ctrl-C in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from parties.small_run import small_config

pytest.importorskip("flwr", reason="needs fedpriv[flower]")

from fedpriv.deployment.processes import Processes
from fedpriv.report import verify

CLIENTS = 3
ROUNDS = 2
# A shell's background jobs ignore Ctrl-C, and so does what they start: here it works wherever the tests run.
START = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("fedpriv.cli", run_name="__main__")
"""
FEDPRIV = [sys.executable, "-c", START]


@pytest.mark.slow
def test_a_run_that_was_interrupted_goes_on_and_leaves_no_process(tmp_path: Path) -> None:
    config = small_config(tmp_path, partition__clients=CLIENTS, run__rounds=ROUNDS)
    (tmp_path / "fedpriv.toml").write_text(config.to_toml())
    net = tmp_path / "net"
    command = [*FEDPRIV, "deploy", str(tmp_path / "fedpriv.toml"), str(net), "--local", str(CLIENTS)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "FEDPRIV_HOME": str(tmp_path / "home")}

    started = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    said = []
    for line in started.stdout:
        said.append(line)
        if line.startswith(f"round 1/{ROUNDS}"):
            started.send_signal(signal.SIGINT)
    _, hint = started.communicate(timeout=120)

    assert started.returncode == 130, "".join(said) + hint
    assert any(line.startswith(f"round 1/{ROUNDS}") for line in said)
    assert f"1 of {ROUNDS} rounds are finished and kept in" in hint
    assert "go on with: fedpriv deploy" in hint
    assert "--local 3 --resume" in hint
    assert not Processes(net, net / "logs", {}).running()

    done = subprocess.run(
        [*command, "--resume", "--json"], env=environment, capture_output=True, text=True, check=True
    )
    result = json.loads(done.stdout)
    assert result["rounds_planned"] == ROUNDS
    assert "resuming after round" in done.stderr
    assert verify(net / "server" / "run").failures == ()
    assert Path(result["report"]).exists()
    assert not Processes(net, net / "logs", {}).running()

    again = subprocess.run(
        [*command, "--resume"], env=environment, capture_output=True, text=True, check=False
    )
    assert again.returncode == 2
    assert "has finished" in again.stderr
    assert "Traceback" not in again.stderr
    other = subprocess.run(
        [*command, "--resume", "--set", "run.rounds=9"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert other.returncode == 2
    assert "another configuration" in other.stderr

